"""Run everything that is due, here and now, without a worker: claimed, run and settled as a worker would."""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from time import monotonic
from typing import Any, NamedTuple

from treadle.app.app import Treadle
from treadle.app.connection import refuse_in_loop
from treadle.app.context import Ending
from treadle.app.ids import new_id
from treadle.app.limitbook import declare_limits
from treadle.app.options import EPOCH, micros
from treadle.model.filter import Axis, Filter
from treadle.model.job import Claimed, JobId, Micros, Want, Witness, WorkerInfo
from treadle.model.outcome import Note, NoteKind, Outcome, Settlement
from treadle.model.state import State
from treadle.policy.duration import Duration, seconds
from treadle.testing.clock import ClockedStore
from treadle.worker.execution import completing, run_async, run_in_thread
from treadle.worker.run import Run
from treadle.worker.scheduler import NEVER, Scheduler

_LEASE = 10 * 365 * 86_400.0
_BATCH = 100


class Ran(NamedTuple):
    """One attempt that a drain ran, and how it ended."""

    id: JobId
    task: str
    attempt: int
    outcome: Outcome


@dataclass(slots=True)
class Drained:
    """What a drain did: every attempt in the order it ended."""

    ran: list[Ran] = field(default_factory=list[Ran])

    def __len__(self) -> int:
        return len(self.ran)

    def of(self, task: object) -> list[Ran]:
        """The attempts of one task, given as the task or its name."""
        name = task if isinstance(task, str) else getattr(task, "name", None)
        return [each for each in self.ran if each.task == name]


class Endless(AssertionError):
    """A drain ran as many attempts as it was allowed and was not done: jobs keep enqueueing jobs."""


def drain(app: Treadle, *, now: datetime | None = None, through: Duration = 0.0, at_most: int = 10_000) -> Drained:
    """Run every job that is due, and those they enqueue, until none is left; then return what ran.

    Time is the store's own, or `now`. With `through`, jobs due within that time from now run as well, each at its moment;
    a virtual clock is turned along. Schedules fire as they do with a worker, from the first drain on. Timeouts are not
    enforced. Raises `Endless` after `at_most` attempts.
    """
    refuse_in_loop("drain()", "adrain(app)")
    return asyncio.run(adrain(app, now=now, through=through, at_most=at_most))


async def adrain(app: Treadle, *, now: datetime | None = None, through: Duration = 0.0, at_most: int = 10_000) -> Drained:
    """The awaitable twin of `drain`. Bodies made of a `def` run in a thread, as they do in a worker."""
    drainer = _Drainer(app, None if now is None else micros(now), at_most)
    await drainer.open()
    try:
        await drainer.run(seconds(through))
    finally:
        await drainer.close()
    return drainer.drained


class _Drainer:
    """A worker of the smallest kind: one lease, one job after the other."""

    def __init__(self, app: Treadle, now: Micros | None, at_most: int) -> None:
        self.drained = Drained()
        self._app = app
        self._connection = app.connection
        self._now = now
        self._at_most = at_most
        self._lease = new_id()
        self._scheduler = Scheduler(app, app.session, self._lease)
        self._notes: list[Note] = []

    async def open(self) -> None:
        """Take a lease."""
        worker = WorkerInfo("drain", "test", os.getpid(), (), self._app.registry.names(), 1)
        engine = self._connection.engine
        await self._connection.arun(declare_limits(engine, self._app.limits.values()))
        await self._connection.arun(engine.renew(self._lease, 0, _LEASE, worker=worker, now=self._now))

    async def close(self) -> None:
        """Give the lease back."""
        await self._connection.arun(self._connection.engine.rescue([Witness(self._lease, "")], now=self._now))

    async def run(self, through: float) -> None:
        """Run what is due, then turn the clock to what is due next, until `through` seconds are over."""
        end: Micros | None = None
        while True:
            slot = await self._scheduler.fire(self._moment())
            if slot <= self._moment():
                continue
            promoted = await self._connection.arun(self._connection.engine.promote(now=self._now))
            if await self._run_ready() or promoted.queued:
                continue
            due = slot if promoted.next_due is None else min(slot, promoted.next_due)
            if due == NEVER or not through:
                return
            end = self._moment() + round(through * 1_000_000) if end is None else end
            if due > end:
                self._turn_to(end)
                return
            self._turn_to(due)

    async def _run_ready(self) -> bool:
        """Run one batch of every queue; False when there was none."""
        queues = await self._queues()
        engine = self._connection.engine
        wants = [Want(queue, _BATCH, _BATCH) for queue in queues]
        names = self._app.registry.names()
        plan = engine.claim(self._lease, wants, names, suspects=1, gated=_BATCH, now=self._now)
        claims = await self._connection.arun(plan)
        for claimed in claims.jobs:
            await self._run_one(claimed)
        return bool(claims.jobs) or claims.more

    async def _queues(self) -> Sequence[str]:
        counts = await self._connection.arun(self._connection.engine.count(Filter(states=(State.QUEUED,)), (Axis.QUEUE,)))
        return sorted(str(each.key[0]) for each in counts)

    async def _run_one(self, claimed: Claimed) -> None:
        task = self._app.registry.expect(claimed.task)
        run = Run(claimed, task, task.settings_for(claimed.options))
        run.started = began = monotonic()
        outcome = await run_async(run, self) if task.is_async else await asyncio.to_thread(run_in_thread, run, self)
        settlement = Settlement(claimed.ref, claimed.id, claimed.attempt, outcome, monotonic() - began)
        engine = self._connection.engine
        notes, self._notes = self._notes, []
        if notes:
            await self._connection.arun(engine.note(self._lease, notes, now=self._now))
        await self._connection.arun(engine.settle(self._lease, [settlement], now=self._now))
        self.drained.ran.append(Ran(claimed.id, claimed.task, claimed.attempt, outcome))
        if len(self.drained) >= self._at_most:
            raise Endless(f"{self._at_most} attempts ran and there is no end in sight: do jobs enqueue each other for ever?")

    def _moment(self) -> Micros:
        if self._now is not None:
            return self._now
        store = self._connection.store
        return store.clock.micros if isinstance(store, ClockedStore) else micros(datetime.now().astimezone())

    def _turn_to(self, moment: Micros) -> None:
        store = self._connection.store
        if self._now is None and isinstance(store, ClockedStore):
            store.clock.advance_to(max(store.clock.now, EPOCH + timedelta(microseconds=moment)))
        else:
            self._now = moment

    def started(self, run: Run) -> None:
        """As a worker's bench would be told; a drain has nothing to do then."""

    def ended(self, run: Run, outcome: Outcome, took: float | None = None) -> None:
        """As above: the outcome is settled where the body is awaited."""

    def report(self, run: Run, kind: NoteKind, name: str, value: str) -> None:
        """Keep a note until the job is settled."""
        self._notes.append(Note(run.claimed.ref, run.claimed.id, run.claimed.attempt, kind, name, value))

    def completing(self, run: Run, connection: Any, result: object) -> Ending:
        """A body completes itself inside its own transaction."""
        took = 0.0 if run.started is None else monotonic() - run.started
        return completing(self._connection, self._lease, run.task, run.claimed, took, connection, result, now=self._now)
