"""Run a job's body in place: its arguments and its result take the same way through JSON as in a worker."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from treadle.app.call import Call, Callee
from treadle.app.connection import refuse_in_loop
from treadle.app.context import Context, Ending
from treadle.app.ids import new_id
from treadle.app.options import micros
from treadle.app.slot import SlotKind, write_slot
from treadle.engine.plan import Plan, Steps, drive
from treadle.engine.session import Durability
from treadle.model.job import Claimed
from treadle.model.outcome import NoteKind, Verdict

R = TypeVar("R")


class _Nowhere:
    """Stands in for the user's transaction: runs plans that ask nothing of a store."""

    def run(self, plan: Plan[R], durability: Durability = Durability.DEFAULT) -> R:  # noqa: ARG002 - a session's shape
        return drive(plan, lambda _: None)

    async def arun(self, plan: Plan[R], durability: Durability = Durability.DEFAULT) -> R:
        return self.run(plan, durability)

    def close(self) -> None:
        pass


def _hold() -> Steps[list[Verdict]]:
    """The answer to a completion whose fence holds."""
    yield from ()
    return [Verdict.DONE]


@dataclass(slots=True)
class Recorder:
    """Stands in for the worker: keeps what the body reports, and says whether to stop when it is told to."""

    notes: list[tuple[NoteKind, str, str]] = field(default_factory=list[tuple[NoteKind, str, str]])
    stop: bool = False
    completed: list[tuple[Any, Any]] = field(default_factory=list[tuple[Any, Any]])

    def report(self, kind: NoteKind, name: str, value: str) -> None:
        """Keep a note."""
        self.notes.append((kind, name, value))

    def cancelled(self) -> bool:
        """Whether the body is to stop."""
        return self.stop

    def completing(self, connection: Any, result: object) -> Ending:
        """Keep what the body completes, and where: no store is touched, and the fence holds."""
        self.completed.append((connection, result))
        nowhere = _Nowhere()
        return Ending(Plan("settle", _hold), nowhere, nowhere)


class FakeContext(Context):
    """A context without a worker, to hand to a body: say what it should see, read afterwards what it reported."""

    def __init__(
        self,
        *,
        task: str = "test",
        queue: str = "default",
        attempt: int = 1,
        failures: int = 0,
        crashes: int = 0,
        tags: Sequence[str] = (),
        key: str | None = None,
        limits: Sequence[tuple[str, str]] = (),
        job_id: str | None = None,
        slot: datetime | None = None,
        zone: str = "UTC",
    ) -> None:
        self.recorder: Recorder = Recorder()
        moment = time.time_ns() // 1000
        said: dict[str, Any] = {"tags": tuple(tags)} | ({"key": key} if key else {})
        if limits:
            said["limits"] = tuple(limits)
        if slot is not None:
            said["slot"] = write_slot(task, micros(slot), zone, SlotKind.SLOT)
        headers = msgspec.json.encode(said).decode()
        claimed = Claimed(
            ref=0,
            id=job_id or new_id(),
            task=task,
            version=1,
            codec="json",
            queue=queue,
            priority=0,
            attempt=attempt,
            failures=failures,
            crashes=crashes,
            snoozes=0,
            enqueued_at=moment,
            claimed_at=moment,
            first_failed_at=None,
            start_by=None,
            suspect=False,
            args="{}",
            options=None,
            headers=headers,
        )
        super().__init__(claimed, self.recorder)

    def cancel(self) -> None:
        """From now on the body sees that it should stop."""
        self.recorder.stop = True

    @property
    def reported(self) -> list[dict[str, Any]]:
        """Every progress report so far, oldest first."""
        return [msgspec.json.decode(value) for kind, _, value in self.recorder.notes if kind is NoteKind.PROGRESS]

    @property
    def completed_in(self) -> list[tuple[Any, Any]]:
        """Every completion by `complete_in` so far, as (connection, result)."""
        return list(self.recorder.completed)


def inline(call: Call[R], context: Context | None = None) -> R:
    """Run the body of a call here and return its result; whatever it raises is raised.

    `inline(task.call(7))` checks the arguments, the body and the result without a store. A body that wants a context gets
    the one given, else a `FakeContext`. Raises `WouldBlock` for an `async def` inside a running event loop.
    """
    task = call.task
    if not task.is_async:
        args, kwargs = _arguments(task, call, context)
        return _through_json(task, task.fn(*args, **kwargs))
    refuse_in_loop("inline()", "ainline(call)")
    return asyncio.run(ainline(call, context))


async def ainline(call: Call[R], context: Context | None = None) -> R:
    """The awaitable twin of `inline`; a `def` body blocks the loop while it runs."""
    task = call.task
    args, kwargs = _arguments(task, call, context)
    value = task.fn(*args, **kwargs)
    return _through_json(task, await value if task.is_async else value)


def _arguments(task: Callee[Any], call: Call[Any], context: Context | None) -> tuple[tuple[Any, ...], dict[str, Any]]:
    args, kwargs = task.prepare(call.args)
    if task.wants_context:
        args = (context or FakeContext(task=task.settings.name, job_id=call.id), *args)
    return args, kwargs


def _through_json(task: Callee[R], value: object) -> R:
    return task.decode_result(task.encode_result(value))
