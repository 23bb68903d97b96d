"""Decides where new jobs belong: their time, their parents, their guards, their keys.

Everything is read before anything is written, but for the jobs that others replace: their end comes first.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from treadle.engine.admission import check_write
from treadle.engine.keying import Holding, Keyring, because_of, names_of
from treadle.engine.plan import Steps
from treadle.engine.rows import to_text
from treadle.engine.session import Wake
from treadle.engine.source import Source
from treadle.engine.sqlite.edges import Ended, Fate, Finish, fate, finish, topics, wake_children
from treadle.engine.sqlite.facts import Ledger, ledger
from treadle.engine.sqlite.leaving import Leaver, call_next
from treadle.engine.sqlite.steps import Ask, Do
from treadle.model.job import Enqueued, JobId, Micros, NewJob, OnDead, Stored, micros
from treadle.model.state import State


class Place(NamedTuple):
    """Where a new job belongs. `edges` holds (parent, policy, still open); `waiting` counts the open ones."""

    state: State
    due_at: Micros | None
    start_by: Micros | None
    waiting: int = 0
    reason: str | None = None
    edges: tuple[tuple[JobId, OnDead, bool], ...] = ()


class Known(NamedTuple):
    """What the store knows of an id."""

    n: int
    state: State
    letter_open: bool


@dataclass(slots=True)
class Judgement:
    """The answers for a whole batch, and what is to be written: the chosen jobs, in batch order, and their guards' facts."""

    answers: list[Enqueued]
    chosen: list[int]
    places: dict[JobId, Place]
    numbers: dict[JobId, int]
    facts: Ledger
    ring: Keyring

    def write(self, sql: Source, now: Micros) -> Steps[None]:
        """Store what the guards of the chosen jobs write, and who has which key."""
        yield from self.facts.store(sql, now)
        keys = [(*name, *holding) for name, holding in self.ring.taken.items()]
        if keys:
            yield Do(sql("flows", "put-keys"), {"rows": to_text(keys)})


def place_alone(job: NewJob, now: Micros) -> Place:
    """Place a job by its time only."""
    due = None
    if job.delay is not None:
        due = now + micros(job.delay)
    elif job.run_at is not None:
        due = job.run_at
    start_by = None if job.start_within is None else (now if due is None else due) + micros(job.start_within)
    return Place(State.SCHEDULED if due is not None and due > now else State.QUEUED, due, start_by)


def judge(sql: Source, jobs: Sequence[NewJob], now: Micros) -> Steps[Judgement]:
    """Judge a batch in which some job carries an edge, a guard or a key."""
    guards = [job.guard.write for job in jobs if job.guard is not None]
    for write in guards:
        check_write(write)
    held = yield from _held_keys(sql, jobs)
    ids = {job.id for job in jobs} | {edge.parent for job in jobs for edge in job.edges} | {each.job for each in held.values()}
    known = yield from _known(sql, ids)
    facts = yield from ledger(sql, guards)
    ring = Keyring(now, held, {job: each.state for job, each in known.items()})
    verdicts = [_verdict(job, known, facts, ring) for job in jobs]
    chosen = [i for i, (verdict, _) in enumerate(verdicts) if verdict is Stored.STORED]
    new = ring.batch
    strangers = {i for i in chosen if any(e.parent not in known and e.parent not in new for e in jobs[i].edges)}
    if strangers:
        refused = [
            (Stored.UNKNOWN_PARENT if i in strangers else Stored.REFUSED, jobs[i].id) if told in new else (verdict, told)
            for i, (verdict, told) in enumerate(verdicts)
        ]
        return Judgement(_answers(refused, known, {}), [], {}, {}, facts, ring)
    replaced = [(known[old].n, old, because_of(new)) for old, new in ring.replaced.items() if old in known]
    if replaced:
        yield from _replace(sql, replaced, now)
        known = yield from _known(sql, ids)
    places = place_together([jobs[i] for i in chosen], known, ring, now)
    numbers = {job: each.n for job, each in known.items()}
    return Judgement(_answers(verdicts, known, places), chosen, places, numbers, facts, ring)


def _held_keys(sql: Source, jobs: Sequence[NewJob]) -> Steps[dict[tuple[str, str], Holding]]:
    names = [name for job in jobs for name in names_of(job)]
    rows = (yield Ask(sql("flows", "held-keys"), {"names": to_text(names)})) if names else ()
    return {(kind, key): Holding(*holding) for kind, key, *holding in rows}


def _known(sql: Source, ids: set[JobId]) -> Steps[dict[JobId, Known]]:
    rows = yield Ask(sql("enqueue", "known"), {"ids": to_text(list(ids))})
    return {job: Known(n, State(state), letter == "open") for job, n, state, letter in rows}


def _replace(sql: Source, replaced: Sequence[tuple[int, JobId, str]], now: Micros) -> Steps[None]:
    """Cancel waiting jobs whose unique key others take: a new job may have one of their children as its parent."""
    yield from finish(sql, [Finish(n, State.CANCELLED, reason=reason) for n, _, reason in replaced], now)
    yield Wake(topics(jobs=(job for _, job, _ in replaced)))
    yield from wake_children(sql, [Ended(n, job, State.CANCELLED) for n, job, _ in replaced], now)
    yield from call_next(sql, [Leaver(n, State.CANCELLED) for n, _, _ in replaced], now)


def _verdict(job: NewJob, known: dict[JobId, Known], facts: Ledger, ring: Keyring) -> tuple[Stored, JobId]:
    """What becomes of a job, and of which job the answer tells."""
    if job.id in known or job.id in ring.batch:
        return Stored.ALREADY, job.id
    against = ring.judge(job)
    if against is not None:
        return against
    if job.guard is not None and not facts.apply(job.guard.write).done:
        return Stored.GUARDED, job.id
    ring.take(job)
    return Stored.STORED, job.id


def _answers(verdicts: Sequence[tuple[Stored, JobId]], known: dict[JobId, Known], places: dict[JobId, Place]) -> list[Enqueued]:
    states = {job: each.state for job, each in known.items()} | {job: place.state for job, place in places.items()}
    return [Enqueued(job, verdict, states.get(job)) for verdict, job in verdicts]


def place_together(jobs: Sequence[NewJob], known: dict[JobId, Known], ring: Keyring, now: Micros) -> dict[JobId, Place]:
    """Place jobs by their time and their parents, which may stand in the same batch, as those may that replace them."""
    edges = {job.id: {edge.parent: OnDead(edge.on_dead) for edge in reversed(job.edges)} for job in jobs}
    cancelled = {old: because_of(new) for old, new in ring.replaced.items() if old in ring.batch}
    children: dict[JobId, list[tuple[JobId, OnDead]]] = {}
    for job, parents in edges.items():
        for parent, on_dead in parents.items():
            stored = known.get(parent)
            if stored is None:
                children.setdefault(parent, []).append((job, on_dead))
            elif fate(stored.state, on_dead, stored.letter_open) is Fate.CANCEL:
                cancelled.setdefault(job, f"parent {parent}")
    falling = deque(cancelled)
    while falling:
        parent = falling.popleft()
        for child, on_dead in children.get(parent, ()):
            if on_dead is not OnDead.RUN and child not in cancelled:
                cancelled[child] = f"parent {parent}"
                falling.append(child)
    return {job.id: _place(job, edges[job.id], known, cancelled, now) for job in jobs}


def _place(
    job: NewJob, parents: dict[JobId, OnDead], known: dict[JobId, Known], cancelled: dict[JobId, str], now: Micros
) -> Place:
    alone = place_alone(job, now)
    reason = cancelled.get(job.id)
    if reason is not None:
        closed = tuple((parent, on_dead, False) for parent, on_dead in parents.items())
        return alone._replace(state=State.CANCELLED, reason=reason, edges=closed)
    edges: list[tuple[JobId, OnDead, bool]] = []
    for parent, on_dead in parents.items():
        stored = known.get(parent)
        alive = parent not in cancelled
        waits = alive if stored is None else fate(stored.state, on_dead, stored.letter_open) is Fate.WAIT
        edges.append((parent, on_dead, waits))
    waiting = sum(waits for _, _, waits in edges)
    return alone._replace(state=State.BLOCKED if waiting else alone.state, waiting=waiting, edges=tuple(edges))
