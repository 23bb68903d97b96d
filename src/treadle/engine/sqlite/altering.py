"""What an operator's change does to each job, by the state it is in."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from treadle.engine.keying import Holding, Kind, Returning, take_back
from treadle.engine.moving import Ended, Finish, Leaver
from treadle.engine.plan import Steps
from treadle.engine.rows import to_states, to_text
from treadle.engine.session import Wake, topics
from treadle.engine.source import Source
from treadle.engine.sqlite.edges import count_down, finish
from treadle.engine.sqlite.entering import Entry, enter
from treadle.engine.sqlite.keeping import forget
from treadle.engine.sqlite.leaving import call_next
from treadle.engine.sqlite.steps import Ask, Do
from treadle.model.filter import Altered, Annotate, Cancel, Change, Erase, Prioritise, Replay, Resolve
from treadle.model.job import JobId, Micros, micros
from treadle.model.state import BlockedOn, State

_WAITING = (State.SCHEDULED, State.RETRYING)
_PARKED = (BlockedOn.KEY, BlockedOn.LIMIT)
_REPLAYABLE = (State.DEAD, State.CANCELLED, State.EXPIRED)


class _Found(NamedTuple):
    """A job as an operator's change finds it."""

    n: int
    id: JobId
    state: State
    queue: str
    letter: str | None
    lease: str | None
    priority: int
    flow: int
    blocked_on: str | None


class Alteration:
    """One change to a batch of jobs, with its audit line."""

    def __init__(self, sql: Source, change: Change, actor: str, now: Micros) -> None:
        self.sql = sql
        self.change = change
        self.actor = actor
        self.now = now

    def apply(self, rows: Sequence[Sequence[Any]]) -> Steps[list[Altered]]:
        """Change the jobs of `rows` and answer for each."""
        jobs = [_Found(n, job, State(state), *others) for n, job, state, *others in rows]
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
        if changed:
            values = {
                "now": self.now,
                "actor": self.actor,
                "change": type(self.change).__name__.lower(),
                "note": _remark(self.change),
                "jobs": to_text(changed),
            }
            yield Do(self.sql("alter", "audit"), values)
        return answers

    def _cancel(self, jobs: list[_Found], change: Cancel) -> Steps[list[Altered]]:
        running = [job for job in jobs if job.state is State.RUNNING]
        if running:
            values = {"ns": to_text([job.n for job in running]), "reason": change.reason}
            yield Do(self.sql("alter", "request"), values)
            yield Wake(frozenset(f"lease:{job.lease}" for job in running))
        waiting = [job for job in jobs if not job.state.final and job.state is not State.RUNNING]
        if waiting:
            yield from finish(self.sql, [Finish(j.n, State.CANCELLED, reason=change.reason) for j in waiting], self.now)
            yield from self._settle_children(waiting, State.CANCELLED)
            yield from self._call_next(waiting)
        gone = frozenset(waiting)
        return [Altered(job.id, job.state, State.CANCELLED if job in gone else job.state, not job.state.final) for job in jobs]

    def _replay(self, jobs: list[_Found], change: Replay) -> Steps[list[Altered]]:
        later = change.delay > 0
        target = State.SCHEDULED if later else State.QUEUED
        wanted = [job for job in jobs if job.state in _REPLAYABLE or (job.state in _WAITING and not later)]
        holders = yield from self._take_back(wanted, target)
        moved = [job for job in wanted if job.id not in holders]
        hurried = [job for job in moved if job.state in _WAITING]
        revived = [job for job in moved if job.state in _REPLAYABLE]
        if not moved:
            return [Altered(job.id, job.state, job.state, False, holders.get(job.id)) for job in jobs]
        seqs = dict.fromkeys((job.n for job in moved), 0)
        if not later:
            entries = [Entry(job.n, job.queue, job.priority, job.flow) for job in moved]
            seqs = dict(zip(seqs, (yield from enter(self.sql, entries)), strict=True))
        if hurried:
            yield Do(self.sql("alter", "hurry"), {"rows": to_text([(job.n, seqs[job.n]) for job in hurried])})
        if revived:
            due = self.now + micros(change.delay) if later else None
            rows = to_text([(job.n, seqs[job.n]) for job in revived])
            ns = to_text([job.n for job in revived])
            yield Do(self.sql("alter", "revive"), {"rows": rows, "state": target, "due_at": due})
            yield Do(self.sql("shared", "forget-finished"), {"ns": ns})
            yield from self._close([job for job in revived if job.state is State.DEAD], "replayed", change.note)
        if change.args is not None:
            yield Do(self.sql("alter", "args"), {"ns": to_text([job.n for job in moved]), "args": change.args})
        if not later:
            yield Wake(topics({job.queue for job in moved}))
        return [
            Altered(job.id, job.state, target if job.n in seqs else job.state, job.n in seqs, holders.get(job.id))
            for job in jobs
        ]

    def _take_back(self, jobs: list[_Found], target: State) -> Steps[dict[JobId, JobId]]:
        """Give jobs that go back their unique keys; those whose key another has, and who that is."""
        if not jobs:
            return {}
        asked = yield Ask(self.sql("alter", "returning"), {"ns": to_text([job.n for job in jobs])})
        if not asked:
            return {}
        returning = [Returning(job, key, to_states(during), since) for _, job, key, during, since in asked]
        names = to_text([(Kind.UNIQUE, each.key) for each in returning])
        rows = yield Ask(self.sql("flows", "held-keys"), {"names": names})
        before = {key: Holding(*holding) for _, key, *holding in rows}
        known = yield Ask(self.sql("enqueue", "known"), {"ids": to_text([each.job for each in before.values()])})
        held, states = before.copy(), {job: State(state) for job, _, state, _ in known}
        refused = take_back(returning, held, states, target)
        taken = [(Kind.UNIQUE, key, *holding) for key, holding in held.items() if before.get(key) != holding]
        if taken:
            yield Do(self.sql("flows", "put-keys"), {"rows": to_text(taken)})
        return refused

    def _resolve(self, jobs: list[_Found], change: Resolve) -> Steps[list[Altered]]:
        closed = [job for job in jobs if job.state is State.DEAD and job.letter == "open"]
        if closed:
            yield from self._close(closed, "resolved", change.note)
            yield from self._settle_children(closed, State.DEAD)
            yield from self._call_next(closed)
        changed = frozenset(closed)
        return [Altered(job.id, job.state, job.state, job in changed) for job in jobs]

    def _annotate(self, jobs: list[_Found], change: Annotate) -> Steps[list[Altered]]:
        values = {"ns": to_text([job.n for job in jobs if job.letter is not None]), "note": change.note}
        yield Do(self.sql("alter", "annotate"), values)
        return [Altered(job.id, job.state, job.state, job.letter is not None) for job in jobs]

    def _prioritise(self, jobs: list[_Found], change: Prioritise) -> Steps[list[Altered]]:
        waiting = [job for job in jobs if not job.state.final and job.state is not State.RUNNING]
        moved = [job for job in waiting if job.priority != change.priority]
        entering = [job for job in moved if job.state is State.QUEUED or job.blocked_on in _PARKED]
        seqs: dict[int, int] = {}
        if entering:
            entries = [Entry(job.n, job.queue, change.priority, job.flow) for job in entering]
            seqs = dict(zip((job.n for job in entering), (yield from enter(self.sql, entries)), strict=True))
            yield Do(self.sql("flows", "unpark"), {"ns": to_text(list(seqs))})
            yield Wake(topics({job.queue for job in entering}))
        if moved:
            rows = to_text([(job.n, seqs.get(job.n)) for job in moved])
            yield Do(self.sql("alter", "prioritise"), {"rows": rows, "priority": change.priority})
            yield Do(self.sql("alter", "priority"), {"ns": to_text([job.n for job in moved]), "priority": change.priority})
        permitted = frozenset(waiting)
        return [Altered(job.id, job.state, State.QUEUED if job.n in seqs else job.state, job in permitted) for job in jobs]

    def _erase(self, jobs: list[_Found]) -> Steps[list[Altered]]:
        erased = [job for job in jobs if job.state is not State.RUNNING]
        if erased:
            yield from self._settle_children(erased, State.CANCELLED)
            yield from self._call_next(erased)
            yield from forget(self.sql, [job.n for job in erased], self.now, erase=True)
        return [
            Altered(job.id, job.state, job.state if job.state is State.RUNNING else None, job.state is not State.RUNNING)
            for job in jobs
        ]

    def _close(self, jobs: list[_Found], status: str, note: str | None) -> Steps[None]:
        ns = to_text([job.n for job in jobs])
        values = {"ns": ns, "status": status, "actor": self.actor, "now": self.now, "note": note}
        yield Do(self.sql("alter", "status"), values)

    def _call_next(self, jobs: list[_Found]) -> Steps[None]:
        """Take gated jobs out of their lines for good, and from where they are parked."""
        yield from call_next(self.sql, [Leaver(job.n, State.CANCELLED) for job in jobs if job.flow], self.now)

    def _settle_children(self, jobs: list[_Found], state: State) -> Steps[None]:
        """Count edges down below jobs that ended for good, and wake whoever waits for any of them."""
        freed = yield from count_down(self.sql, [Ended(j.n, j.id, state, letter_open=False) for j in jobs], self.now)
        yield Wake(topics(freed.queues, [*(job.id for job in jobs), *freed.cancelled]))


def _remark(change: Change) -> str | None:
    """What the operator had to say."""
    match change:
        case Cancel(reason):
            return reason or None
        case Replay(note=note) | Resolve(note) | Annotate(note):
            return note
        case Erase() | Prioritise():
            return None
