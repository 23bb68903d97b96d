"""Where a running job goes when its attempt ends otherwise than completed: decided here, written by an engine. No I/O."""

from typing import Any, NamedTuple

from treadle.model.job import JobId, Micros, Witness, micros
from treadle.model.outcome import (
    UNSETTLED,
    Cancelled,
    Cause,
    Crashed,
    Died,
    Expired,
    Outcome,
    Released,
    Retrying,
    Snoozed,
)
from treadle.model.state import State

PLAIN, TENANT, GATED = 0, 1, 2
"""What a live row says of its job's flow: none, it has a tenant, it is gated (and may have a tenant)."""


class Held(NamedTuple):
    """A running job as it stands before the move."""

    n: int
    id: JobId
    queue: str
    attempt: int
    crashes: int
    max_crashes: int
    cancel_requested: bool
    claimed_at: Micros
    suspect: bool
    due_at: Micros | None
    start_by: Micros | None
    reason: str | None
    flow: int = 0
    priority: int = 0


class Leaver(NamedTuple):
    """A gated job that leaves its worker, or its line as well: `state` is where it has ended, None if it goes on."""

    n: int
    state: State | None


class Ended(NamedTuple):
    """A job that has just ended. `letter_open` is false for a dead one that is closed for good."""

    n: int
    id: JobId
    state: State
    letter_open: bool = True


class Freed(NamedTuple):
    """What followed from a batch of ends: queues with new work, and the children that were cancelled."""

    queues: frozenset[str]
    cancelled: tuple[JobId, ...]


class Finish(NamedTuple):
    """One row for the statement that ends live jobs; the counters are increments."""

    n: int
    state: State
    failures: int = 0
    crashes: int = 0
    snoozes: int = 0
    releases: int = 0
    took: float | None = None
    reason: str | None = None


class Reentry(NamedTuple):
    """One row for the statement that puts running jobs back in line; the counters are increments."""

    n: int
    state: State
    due_at: Micros | None
    start_by: Micros | None
    suspect: bool
    failures: int = 0
    crashes: int = 0
    snoozes: int = 0
    releases: int = 0
    first_failed_at: Micros | None = None


class Moves:
    """Collects the moves of one batch, for an engine to write with one statement per table."""

    def __init__(self, now: Micros, worker: str) -> None:
        self.now = now
        self.worker = worker
        self.ended: list[Ended] = []
        self.queues: set[str] = set()
        self.leavers: list[Leaver] = []
        self.reentries: list[Reentry] = []
        self.back: list[Held] = []
        """Those of the reentries that are in their queue again at once."""
        self.finishes: list[Finish] = []
        self.attempts: list[tuple[Any, ...]] = []
        """(n, attempt, outcome, worker, started_at, delay, error, exit)"""
        self.deaths: list[tuple[Any, ...]] = []
        """(n, cause, reason, fingerprint)"""

    def decide(self, job: Held, outcome: Outcome, took: float | None) -> None:
        """Decide one move. `Completed` is not decided here: it has its own short path."""
        stop = bool(job.cancel_requested)
        match outcome:
            case Retrying(delay, error):
                self._attempt(job, "retrying", None if stop else delay, error=error)
                if stop:
                    self._end(job, State.CANCELLED, took, job.reason, failures=1)
                else:
                    self._later(job, State.RETRYING, delay, failures=1)
            case Snoozed(delay):
                self._attempt(job, "snoozed", None if stop else delay)
                if stop:
                    self._end(job, State.CANCELLED, took, job.reason, snoozes=1)
                else:
                    self._later(job, State.SCHEDULED, delay, snoozes=1)
            case Released(delay, error):
                self._release(job, took, delay, error=error)
            case Crashed(exit_, delay):
                self.crash(job, "crashed", exit_, delay, took, suspect=bool(job.suspect))
            case Died(cause, reason, fingerprint, error):
                self._attempt(job, "died", None, error=error)
                self.deaths.append((job.n, cause, reason, fingerprint))
                self._end(job, State.DEAD, took, reason, failures=1)
            case Cancelled(reason):
                self._attempt(job, "cancelled", None)
                self._end(job, State.CANCELLED, took, reason or job.reason or reason)
            case Expired():
                self._attempt(job, "expired", None)
                self._end(job, State.EXPIRED, took, None)
            case _:
                raise TypeError(f"{outcome!r} is not an outcome that moves a job")

    def lost(self, job: Held, witness: Witness | None, delay: float) -> State:
        """Its lease is over: charged with a crash, or handed back where a witness spares it and it may start again.

        Returns where the job goes.
        """
        if witness is None or not witness.spared or job.max_crashes <= 1:
            return self.crash(job, "rescued", None if witness is None else witness.exit, delay, None, suspect=True)
        return self._release(job, None, 0.0, exit_=witness.exit)

    def crash(self, job: Held, label: str, exit_: str | None, delay: float, took: float | None, *, suspect: bool) -> State:
        """The process under the job died: cancelled if that was asked for, dead when its budget is spent, else later.

        Returns where the job goes.
        """
        spent = job.crashes + 1 >= job.max_crashes
        goes_on = not job.cancel_requested and not spent
        self._attempt(job, label, delay if goes_on else None, exit_=exit_)
        if job.cancel_requested:
            self._end(job, State.CANCELLED, took, job.reason, crashes=1)
            return State.CANCELLED
        if spent:
            reason = exit_ or UNSETTLED
            self.deaths.append((job.n, Cause.WORKER_LOST, reason, ""))
            self._end(job, State.DEAD, took, reason, crashes=1)
            return State.DEAD
        self._later(job, State.RETRYING, delay, crashes=1, suspect=suspect)
        return State.RETRYING

    def _later(
        self, job: Held, state: State, delay: float, *, start_by: Micros | None = None, suspect: bool = False,
        failures: int = 0, crashes: int = 0, snoozes: int = 0, releases: int = 0,
    ) -> None:  # fmt: skip
        self._leave(job, None)
        first_failed = self.now if failures else None
        due = self.now + micros(delay)
        entry = Reentry(job.n, state, due, start_by, suspect, failures, crashes, snoozes, releases, first_failed)
        self.reentries.append(entry)

    def _release(
        self, job: Held, took: float | None, delay: float, *, error: str | None = None, exit_: str | None = None
    ) -> State:
        later = delay > 0 and not job.cancel_requested
        self._attempt(job, "released", delay if later else None, error=error, exit_=exit_)
        if job.cancel_requested:
            self._end(job, State.CANCELLED, took, job.reason, releases=1)
            return State.CANCELLED
        if later:
            self._later(job, State.SCHEDULED, delay, start_by=job.start_by, suspect=bool(job.suspect), releases=1)
            return State.SCHEDULED
        self._back(job)
        return State.QUEUED

    def _back(self, job: Held) -> None:
        self._leave(job, None)
        self.reentries.append(Reentry(job.n, State.QUEUED, job.due_at, job.start_by, bool(job.suspect), releases=1))
        self.back.append(job)
        self.queues.add(job.queue)

    def _end(
        self, job: Held, state: State, took: float | None, reason: str | None, *, failures: int = 0, crashes: int = 0,
        snoozes: int = 0, releases: int = 0,
    ) -> None:  # fmt: skip
        self._leave(job, state)
        self.finishes.append(Finish(job.n, state, failures, crashes, snoozes, releases, took, reason))
        self.ended.append(Ended(job.n, job.id, state))

    def _leave(self, job: Held, state: State | None) -> None:
        if job.flow == GATED:
            self.leavers.append(Leaver(job.n, state))

    def _attempt(
        self, job: Held, label: str, delay: float | None, *, error: str | None = None, exit_: str | None = None
    ) -> None:
        self.attempts.append((job.n, job.attempt, label, self.worker, job.claimed_at, delay, error, exit_))
