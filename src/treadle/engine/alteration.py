"""What an operator's change does to each job, by the state it is in: decided here, written by an engine. No I/O."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from treadle.engine.keying import Holding, Kind, Returning, take_back
from treadle.engine.moving import GATED, Ended, Finish, Freed, Leaver
from treadle.engine.plan import Steps
from treadle.engine.rows import to_text
from treadle.engine.session import Wake, topics
from treadle.model.filter import Altered, Annotate, Cancel, Change, Erase, Prioritise, Replay, Resolve
from treadle.model.job import JobId, Micros, micros
from treadle.model.state import BlockedOn, State

_WAITING = (State.SCHEDULED, State.RETRYING)
_PARKED = (BlockedOn.KEY, BlockedOn.LIMIT)
_REPLAYABLE = (State.DEAD, State.CANCELLED, State.EXPIRED)
LINES = 10
"""Lines of the audit that one `prune` removes at most, for each job that it may."""


Values = Mapping[str, Any]
Places = Sequence[tuple[int, int | None]]
"""Jobs by number, each with the seq that it gets; None leaves it where it is."""
Keys = tuple[list[Returning], dict[str, Holding], dict[JobId, State]]
"""The unique keys that jobs want back, who holds those keys, and how the holders stand."""


class Found(NamedTuple):
    """A job as an operator's change finds it."""

    n: int
    id: JobId
    state: State
    queue: str
    letter: str | None
    lease: str | None
    flow: int
    priority: int
    blocked_on: str | None


class Alteration(ABC):
    """One change to a batch of jobs, with its audit line."""

    def __init__(self, change: Change, actor: str | None, now: Micros) -> None:
        self.change = change
        self.actor = actor
        self.now = now

    def apply(self, rows: Sequence[Sequence[Any]]) -> Steps[list[Altered]]:
        """Change the jobs of `rows` and answer for each."""
        jobs = [Found(n, job, State(state), *others) for n, job, state, *others in rows]
        match self.change:
            case Cancel():
                answers = yield from self._cancel(jobs, self.change)
            case Replay():
                answers = yield from self._replay(jobs, self.change)
            case Resolve():
                answers = yield from self._resolve(jobs, self.change)
            case Annotate():
                answers = yield from self._annotate(jobs, self.change)
            case Prioritise():
                answers = yield from self._prioritise(jobs, self.change)
            case Erase():
                answers = yield from self._erase(jobs)
        changed = [answer.id for answer in answers if answer.done]
        if changed and self.actor is not None:
            values = {
                "now": self.now,
                "actor": self.actor,
                "change": type(self.change).__name__.lower(),
                "note": remark(self.change),
                "jobs": to_text(changed),
            }
            yield from self.audit(values)
        return answers

    def _cancel(self, jobs: list[Found], change: Cancel) -> Steps[list[Altered]]:
        running = [job for job in jobs if job.state is State.RUNNING]
        if running:
            yield from self.mark("request", running, {"reason": change.reason})
            yield Wake(frozenset(f"lease:{job.lease}" for job in running))
        waiting = [job for job in jobs if not job.state.final and job.state is not State.RUNNING]
        if waiting:
            yield from self.finish([Finish(job.n, State.CANCELLED, reason=change.reason) for job in waiting])
            yield from self._settle_children(waiting, State.CANCELLED)
            yield from self._call_next(waiting)
        gone = frozenset(waiting)
        return [Altered(job.id, job.state, State.CANCELLED if job in gone else job.state, not job.state.final) for job in jobs]

    def _replay(self, jobs: list[Found], change: Replay) -> Steps[list[Altered]]:
        later = change.delay > 0
        target = State.SCHEDULED if later else State.QUEUED
        wanted = [job for job in jobs if job.state in _REPLAYABLE or (job.state in _WAITING and not later)]
        holders = yield from self._take_back(wanted, target)
        moved = [job for job in wanted if job.id not in holders]
        hurried = [job for job in moved if job.state in _WAITING]
        revived = [job for job in moved if job.state in _REPLAYABLE]
        if not moved:
            return [Altered(job.id, job.state, job.state, False, holders.get(job.id)) for job in jobs]
        seqs = (yield from self.enter(moved)) if not later else (yield from self.set_aside(moved))
        if hurried:
            yield from self.place("hurry", [(job.n, seqs[job.n]) for job in hurried], {})
        if revived:
            due = self.now + micros(change.delay) if later else None
            yield from self.revive([(job.n, seqs[job.n]) for job in revived], {"state": target, "due_at": due})
            yield from self._close([job for job in revived if job.state is State.DEAD], "replayed", change.note)
        if change.args is not None:
            yield from self.mark("args", moved, {"args": change.args})
        if not later:
            yield Wake(topics({job.queue for job in moved}))
        return [
            Altered(job.id, job.state, target if job.n in seqs else job.state, job.n in seqs, holders.get(job.id))
            for job in jobs
        ]

    def _take_back(self, jobs: list[Found], target: State) -> Steps[dict[JobId, JobId]]:
        """Give jobs that go back their unique keys; those whose key another has, and who that is."""
        returning, before, states = yield from self.returning(jobs)
        held = before.copy()
        refused = take_back(returning, held, states, target)
        taken = [(Kind.UNIQUE, key, *holding) for key, holding in held.items() if before.get(key) != holding]
        if taken:
            yield from self.put_keys(taken)
        return refused

    def _resolve(self, jobs: list[Found], change: Resolve) -> Steps[list[Altered]]:
        closed = [job for job in jobs if job.state is State.DEAD and job.letter == "open"]
        if closed:
            yield from self._close(closed, "resolved", change.note)
            yield from self._settle_children(closed, State.DEAD)
            yield from self._call_next(closed)
        changed = frozenset(closed)
        return [Altered(job.id, job.state, job.state, job in changed) for job in jobs]

    def _annotate(self, jobs: list[Found], change: Annotate) -> Steps[list[Altered]]:
        yield from self.mark("annotate", [job for job in jobs if job.letter is not None], {"note": change.note})
        return [Altered(job.id, job.state, job.state, job.letter is not None) for job in jobs]

    def _prioritise(self, jobs: list[Found], change: Prioritise) -> Steps[list[Altered]]:
        waiting = [job for job in jobs if not job.state.final and job.state is not State.RUNNING]
        moved = [job for job in waiting if job.priority != change.priority]
        entering = [job for job in moved if job.state is State.QUEUED or job.blocked_on in _PARKED]
        seqs: dict[int, int] = {}
        if moved:
            yield from self.mark("priority", moved, {"priority": change.priority})
        if entering:
            seqs = yield from self.enter_anew([job._replace(priority=change.priority) for job in entering])
            yield Wake(topics({job.queue for job in entering}))
        if moved:
            yield from self.place("prioritise", [(job.n, seqs.get(job.n)) for job in moved], {"priority": change.priority})
        permitted = frozenset(waiting)
        return [Altered(job.id, job.state, State.QUEUED if job.n in seqs else job.state, job in permitted) for job in jobs]

    def _erase(self, jobs: list[Found]) -> Steps[list[Altered]]:
        erased = [job for job in jobs if job.state is not State.RUNNING]
        if erased:
            yield from self._settle_children(erased, State.CANCELLED)
            yield from self._call_next(erased)
            yield from self.erase([job.n for job in erased])
        return [
            Altered(job.id, job.state, job.state if job.state is State.RUNNING else None, job.state is not State.RUNNING)
            for job in jobs
        ]

    def _close(self, jobs: list[Found], status: str, note: str | None) -> Steps[None]:
        yield from self.mark("status", jobs, {"status": status, "actor": self.actor, "now": self.now, "note": note})

    def _call_next(self, jobs: list[Found]) -> Steps[None]:
        """Take gated jobs out of their lines for good, and from where they are parked."""
        yield from self.call_next([Leaver(job.n, State.CANCELLED) for job in jobs if job.flow == GATED])

    def _settle_children(self, jobs: list[Found], state: State) -> Steps[None]:
        """Count edges down below jobs that ended for good, and wake whoever waits for any of them."""
        freed = yield from self.count_down([Ended(job.n, job.id, state, letter_open=False) for job in jobs])
        yield Wake(topics(freed.queues, [*(job.id for job in jobs), *freed.cancelled]))

    @abstractmethod
    def mark(self, part: str, jobs: Sequence[Found], values: Values) -> Steps[None]:
        """Run a part of `alter` over these jobs."""

    @abstractmethod
    def place(self, part: str, places: Places, values: Values) -> Steps[None]:
        """Run a part of `alter` over jobs and their seqs."""

    @abstractmethod
    def revive(self, places: Places, values: Values) -> Steps[None]:
        """Make finished jobs live again."""

    @abstractmethod
    def audit(self, values: Values) -> Steps[None]:
        """Write the audit line."""

    @abstractmethod
    def enter(self, jobs: Sequence[Found]) -> Steps[dict[int, int]]:
        """The seqs of jobs that come to their queue now."""

    @abstractmethod
    def enter_anew(self, jobs: Sequence[Found]) -> Steps[dict[int, int]]:
        """The seqs of jobs that wait in their queue already, parked or not, and do so at another priority from now on."""

    @abstractmethod
    def set_aside(self, jobs: Sequence[Found]) -> Steps[dict[int, int]]:
        """The seqs of jobs that come to their queue later."""

    @abstractmethod
    def returning(self, jobs: Sequence[Found]) -> Steps[Keys]:
        """The unique keys that jobs want back."""

    @abstractmethod
    def put_keys(self, taken: Sequence[tuple[Any, ...]]) -> Steps[None]:
        """Store who has which key, as (kind, key, holding)."""

    @abstractmethod
    def finish(self, rows: Sequence[Finish]) -> Steps[None]:
        """Move live jobs to the finished ones."""

    @abstractmethod
    def count_down(self, ended: Sequence[Ended]) -> Steps[Freed]:
        """Settle the edges below jobs that ended."""

    @abstractmethod
    def call_next(self, leavers: Sequence[Leaver]) -> Steps[None]:
        """Call whom the ends of jobs that did not run made room for."""

    @abstractmethod
    def erase(self, ns: Sequence[int]) -> Steps[None]:
        """Remove every trace of jobs."""


def remark(change: Change) -> str | None:
    """What the operator had to say."""
    match change:
        case Cancel(reason):
            return reason or None
        case Replay(note=note) | Resolve(note) | Annotate(note):
            return note
        case Erase() | Prioritise():
            return None
