"""What a running job knows about itself, and the few things it may say and do while it runs."""

from datetime import UTC, datetime
from functools import cached_property, partial
from typing import Any, NamedTuple, Protocol

import msgspec

from treadle.app.after_commit import after_commit
from treadle.app.slot import Slot, read_slot
from treadle.engine.plan import Plan
from treadle.engine.session import Session
from treadle.model.errors import InvalidArguments, InvalidDuration, LeaseLost, Misuse
from treadle.model.job import Claimed, JobId
from treadle.model.kind import is_a
from treadle.model.outcome import NoteKind, Verdict, throttle_name
from treadle.model.raised import CancelJob, Snooze
from treadle.policy.duration import Duration, seconds


class Reporter(Protocol):
    """The worker behind a running job. Its methods may be called from any thread and never block."""

    def report(self, kind: NoteKind, name: str, value: str) -> None:
        """Pass a note on to the store; a later one of the same kind and name replaces the earlier."""
        ...

    def cancelled(self) -> bool:
        """True once somebody wants the job to stop: an operator, its timeout, or a worker that shuts down."""
        ...

    def completing(self, connection: Any, result: object) -> "Ending":
        """The end of this attempt, inside the user's transaction."""
        ...


class Ending(NamedTuple):
    """An attempt's completion as a plan, and where to run it: in the user's transaction, or after its commit (None)."""

    plan: Plan[list[Verdict]]
    lent: Session | None
    own: Session


class Context:
    """One attempt of one job, as its own body sees it. Name it as the first parameter of a task to receive it."""

    __slots__ = ("__dict__", "_claimed", "_reporter")

    def __init__(self, claimed: Claimed, reporter: Reporter) -> None:
        self._claimed = claimed
        self._reporter = reporter

    def __repr__(self) -> str:
        return f"<Context {self._claimed.task} {self._claimed.id} attempt {self._claimed.attempt}>"

    @property
    def id(self) -> JobId:
        """The job's id."""
        return self._claimed.id

    @property
    def task(self) -> str:
        """The name under which the job was enqueued."""
        return self._claimed.task

    @property
    def queue(self) -> str:
        """The queue it was claimed from."""
        return self._claimed.queue

    @property
    def priority(self) -> int:
        """Its priority: what a child gets that this job waits for, `child.options(priority=ctx.priority)`."""
        return self._claimed.priority

    @property
    def attempt(self) -> int:
        """Which claim of the job this is, from 1; never reduced."""
        return self._claimed.attempt

    @property
    def failures(self) -> int:
        """How many attempts have failed before this one."""
        return self._claimed.failures

    @property
    def crashes(self) -> int:
        """How many times the process under the job has died."""
        return self._claimed.crashes

    @property
    def enqueued_at(self) -> datetime:
        """When the job was stored, by the store's clock, as an aware datetime in UTC."""
        return datetime.fromtimestamp(self._claimed.enqueued_at / 1_000_000, UTC)

    @cached_property
    def headers(self) -> dict[str, Any]:
        """The envelope's headers, its tags among them."""
        found: dict[str, Any] = msgspec.json.decode(self._claimed.headers) if self._claimed.headers else {}
        return found

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags given when the job was enqueued."""
        return tuple(self.headers.get("tags", ()))

    @property
    def key(self) -> str | None:
        """The key given when the job was enqueued."""
        found: str | None = self.headers.get("key")
        return found

    @property
    def slot(self) -> Slot | None:
        """The slot of the schedule that enqueued this job; None for a job that no schedule did."""
        return read_slot(self.headers, self._claimed.claimed_at)

    @property
    def idempotency_key(self) -> str:
        """A text that is the same in every attempt of this job and in no other job, for calls to the outside."""
        return f"treadle-{self._claimed.id}"

    @property
    def cancelled(self) -> bool:
        """True once somebody wants the job to stop. A job in a thread should look at it between pieces of work."""
        return self._reporter.cancelled()

    def check_cancelled(self) -> None:
        """Raise `CancelJob` if somebody wants the job to stop, else do nothing."""
        if self._reporter.cancelled():
            raise CancelJob("asked to stop")

    def progress(self, fraction: float, message: str = "", **data: object) -> None:
        """Say how far the job is, from 0 to 1. Never blocks; only the latest word of each short while is stored.

        Raises `InvalidArguments` for a fraction outside 0..1 or data that is not JSON.
        """
        if not is_a(fraction, (int, float)) or not 0.0 <= fraction <= 1.0:
            raise InvalidArguments(
                fraction, "progress is a fraction from 0 to 1", "Divide what is done by what there is to do."
            )
        value: dict[str, Any] = {"fraction": fraction}
        if message:
            value["message"] = message[:500]
        if data:
            value["data"] = data
        try:
            text = msgspec.json.encode(value).decode()
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidArguments(
                data, f"progress data must be JSON ({error})", "Pass numbers, text, lists and dicts."
            ) from error
        self._reporter.report(NoteKind.PROGRESS, "progress", text)

    def throttled(self, retry_after: Duration, *, limit: str | None = None) -> Snooze:
        """Slow a limit for everybody: nobody starts under this job's key of it until `retry_after` (seconds) is over.

        For a service that answers "too many requests": `raise ctx.throttled(retry_after(response))` ends the attempt as well,
        without counting a failure; what is not raised changes nothing here. Without `limit`, all limits of the job are slowed.
        A limit with a breaker counts it as a failure. Raises `Misuse` for a limit that the job does not hold and for what is
        no duration: let through, that makes the job a dead letter at once, because another attempt would do the same.
        """
        try:
            wait = seconds(retry_after)
        except InvalidDuration as error:
            raise Misuse(f"throttled({retry_after!r})", error.rule, error.cure) from None
        holds = list(self.headers.get("limits", ()))
        held = [(name, key) for name, key in holds if limit in (None, name)]
        if not held:
            cure = f"It holds {', '.join(name for name, _ in holds)}." if holds else "Give its task one: limits=[...]."
            said = f"throttled(limit={limit!r})" if limit is not None else "throttled"
            raise Misuse(said, "this job holds no such limit" if holds else "this job holds no limit", cure)
        for name, key in held:
            self._reporter.report(NoteKind.THROTTLE, throttle_name(name, key), f"{wait:.6f}")
        return Snooze(wait)

    def complete_in(self, connection: Any, result: object = None) -> None:
        """Complete the job inside the transaction that is open on `connection`: it is done if and only if that commits.

        Takes what `Task.enqueue_in` takes. `result` is what the task returns; once this is committed, what the body returns
        or raises afterwards changes nothing. If the transaction is rolled back, the attempt ends as if this had not been
        called. Raises `LeaseLost`, so that the transaction rolls back, when the job belongs to somebody else by now;
        `InvalidResult` and `ResultTooLarge` for the result; `NotTransactional` when the store cannot take part.
        """
        ending = self._reporter.completing(connection, result)
        if ending.lent is None:
            self._complete_after(connection, ending)
        else:
            self._must_hold(ending.lent.run(ending.plan))

    async def acomplete_in(self, connection: Any, result: object = None) -> None:
        """The awaitable twin of `complete_in`."""
        ending = self._reporter.completing(connection, result)
        if ending.lent is None:
            self._complete_after(connection, ending)
        else:
            self._must_hold(await ending.lent.arun(ending.plan))

    def _complete_after(self, connection: Any, ending: Ending) -> None:
        """Where the store cannot take part: too late for a lost lease to roll anything back, so nothing is raised for one."""
        work, awork = partial(ending.own.run, ending.plan), partial(ending.own.arun, ending.plan)
        after_commit(connection, f"complete {self._claimed.task} {self.id}", work, awork)

    def _must_hold(self, verdicts: list[Verdict]) -> None:
        if verdicts[0] is Verdict.LOST:
            raise LeaseLost(
                f"job {self.id} attempt {self.attempt}: somebody else rescued or ended the job while this attempt ran, so it "
                "cannot be completed here. Let this error pass: the transaction must roll back."
            )
