"""Where a running job goes when its attempt ends otherwise than completed: decided here, written in sets."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from treadle.engine.plan import Steps
from treadle.engine.rows import to_text
from treadle.engine.source import Source
from treadle.engine.sqlite.edges import Ended, Finish, finish
from treadle.engine.sqlite.entering import GATED, Entry, enter
from treadle.engine.sqlite.leaving import Leaver
from treadle.engine.sqlite.steps import Ask, Do
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
    Settlement,
    Snoozed,
)
from treadle.model.state import State


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
    priority: int
    flow: int


class Moves:
    """Collects the moves of one batch, then writes them with one statement per table. `leavers` are the gated jobs of it."""

    def __init__(self, now: Micros, worker: str) -> None:
        self.now = now
        self.worker = worker
        self.ended: list[Ended] = []
        self.queues: set[str] = set()
        self.leavers: list[Leaver] = []
        self._entries: list[tuple[int, Entry]] = []
        self._reentries: list[list[Any]] = []
        self._finishes: list[Finish] = []
        self._attempts: list[tuple[Any, ...]] = []
        self._deaths: list[tuple[Any, ...]] = []

    def read(self, sql: Source, k: int, others: Sequence[tuple[int, Settlement]]) -> Steps[list[int]]:
        """Read the jobs of `others` and decide each; returns the places of those for which the fence does not hold."""
        asked = to_text([(each.ref, each.attempt, each.id) for _, each in others])
        rows = yield Ask(sql("settle", "held"), {"rows": asked, "k": k})
        found: dict[int, Held] = {row[0]: Held(*row[1:]) for row in rows}
        for key, job in found.items():
            _, each = others[key]
            self.decide(job, each.outcome, each.took)
        return [place for key, (place, _) in enumerate(others) if key not in found]

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
            case Released():
                self._release(job, took)
            case Crashed(exit_, delay):
                self.crash(job, "crashed", exit_, delay, took, suspect=bool(job.suspect))
            case Died(cause, reason, fingerprint, error):
                self._attempt(job, "died", None, error=error)
                self._die(job, cause, reason, fingerprint)
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
        return self._release(job, None, witness.exit)

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
            self._die(job, Cause.WORKER_LOST, reason, "")
            self._end(job, State.DEAD, took, reason, crashes=1)
            return State.DEAD
        self._later(job, State.RETRYING, delay, crashes=1, suspect=suspect)
        return State.RETRYING

    def write(self, sql: Source) -> Steps[None]:
        """Write every move decided so far."""
        if self._reentries:
            if self._entries:
                seqs = yield from enter(sql, [entry for _, entry in self._entries])
                for (row, _), seq in zip(self._entries, seqs, strict=True):
                    self._reentries[row][2] = seq
            yield Do(sql("shared", "reenter"), {"rows": to_text(self._reentries)})
        if self._finishes:
            yield from finish(sql, self._finishes, self.now)
        if self._deaths:
            yield Do(sql("shared", "bury"), {"rows": to_text(self._deaths), "now": self.now})
        if self._attempts:
            yield Do(sql("shared", "attempts"), {"rows": to_text(self._attempts), "now": self.now})

    def _later(
        self, job: Held, state: State, delay: float, *, failures: int = 0, crashes: int = 0, snoozes: int = 0,
        suspect: bool = False,
    ) -> None:  # fmt: skip
        self._leave(job, None)
        first_failed = self.now if failures else None
        due = self.now + micros(delay)
        self._reentries.append([job.n, state, 0, due, None, suspect, failures, crashes, snoozes, 0, first_failed])

    def _release(self, job: Held, took: float | None, exit_: str | None = None) -> State:
        self._attempt(job, "released", None, exit_=exit_)
        if job.cancel_requested:
            self._end(job, State.CANCELLED, took, job.reason, releases=1)
            return State.CANCELLED
        self._back(job)
        return State.QUEUED

    def _back(self, job: Held) -> None:
        self._leave(job, None)
        suspect = bool(job.suspect)
        self._entries.append((len(self._reentries), Entry(job.n, job.queue, job.priority, job.flow)))
        self._reentries.append([job.n, State.QUEUED, 0, job.due_at, job.start_by, suspect, 0, 0, 0, 1, None])
        self.queues.add(job.queue)

    def _end(
        self, job: Held, state: State, took: float | None, reason: str | None, *, failures: int = 0, crashes: int = 0,
        snoozes: int = 0, releases: int = 0,
    ) -> None:  # fmt: skip
        self._leave(job, state)
        self._finishes.append(Finish(job.n, state, failures, crashes, snoozes, releases, took, reason))
        self.ended.append(Ended(job.n, job.id, state))

    def _leave(self, job: Held, state: State | None) -> None:
        if job.flow == GATED:
            self.leavers.append(Leaver(job.n, state))

    def _die(self, job: Held, cause: Cause, reason: str, fingerprint: str) -> None:
        self._deaths.append((job.n, cause, reason, fingerprint))

    def _attempt(
        self, job: Held, label: str, delay: float | None, *, error: str | None = None, exit_: str | None = None
    ) -> None:
        self._attempts.append((job.n, job.attempt, label, self.worker, job.claimed_at, delay, error, exit_))
