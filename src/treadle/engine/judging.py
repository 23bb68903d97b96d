"""Where new jobs belong: their time, their parents, their keys, their guards. Decided from what an engine has read; no I/O."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from treadle.engine.admission import distinct
from treadle.engine.keying import Keyring, because_of
from treadle.engine.ledger import Ledger
from treadle.engine.moving import GATED, PLAIN, TENANT, Ended
from treadle.engine.rows import to_text
from treadle.model.job import Enqueued, JobId, Micros, NewJob, OnDead, Stored, micros
from treadle.model.state import State


class Fate(Enum):
    """What an edge makes of its child, given how its parent stands."""

    WAIT = "wait"
    MET = "met"
    CANCEL = "cancel"


def fate(parent: State, on_dead: OnDead, letter_open: bool) -> Fate:
    """Read one edge: `letter_open` says whether a dead parent's letter may still be replayed."""
    if not parent.final:
        return Fate.WAIT
    if parent is State.COMPLETED or on_dead is OnDead.RUN:
        return Fate.MET
    if parent is State.DEAD and letter_open and on_dead is OnDead.HOLD:
        return Fate.WAIT
    return Fate.CANCEL


def read_edges(
    edges: Iterable[tuple[int, int, str]], ended: Mapping[int, Ended]
) -> tuple[dict[int, list[int]], dict[int, JobId]]:
    """What ends do to the open edges below them, given as (parent, child, policy).

    Returns the parents that count as met, by child, and by which parent each of the other children is cancelled.
    """
    met: dict[int, list[int]] = {}
    lost: dict[int, JobId] = {}
    for parent, child, on_dead in edges:
        end = ended[parent]
        match fate(end.state, OnDead(on_dead), end.letter_open):
            case Fate.MET:
                met.setdefault(child, []).append(parent)
            case Fate.CANCEL:
                lost.setdefault(child, end.id)
            case Fate.WAIT:
                pass
    return {child: parents for child, parents in met.items() if child not in lost}, lost


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
    """What becomes of each job of a batch, and of which job the answer tells; the chosen ones, in batch order.

    `replaced` are the stored jobs that others take the place of: their numbers, their ids and the reason.
    """

    verdicts: list[tuple[Stored, JobId]]
    chosen: list[int]
    replaced: list[tuple[int, JobId, str]]

    def answers(self, known: Mapping[JobId, Known], places: Mapping[JobId, Place]) -> list[Enqueued]:
        """The answers, once it is known where the chosen belong."""
        states = {job: each.state for job, each in known.items()} | {job: place.state for job, place in places.items()}
        return [
            Enqueued(job, verdict, None if verdict is Stored.GUARDED else states.get(job)) for verdict, job in self.verdicts
        ]


def flow_of(job: NewJob) -> int:
    """What a live row is to say of a job's flow."""
    if job.holds or job.ordering is not None:
        return GATED
    return PLAIN if job.fair is None else TENANT


def flow_row(job: NewJob) -> tuple[str | bool | None, ...]:
    """What a job asks of others, as it is stored: holds, line, whether a death stops it, tenant, unique key, its states."""
    line, unique = job.ordering, job.unique
    holds = to_text(distinct(job.holds)) if job.holds else None
    key, during = (None, None) if unique is None else (unique.key, to_text(unique.during))
    return holds, None if line is None else line.key, line is not None and line.stop, job.fair, key, during


def place_alone(job: NewJob, now: Micros) -> Place:
    """Place a job by its time only."""
    due = None
    if job.delay is not None:
        due = now + micros(job.delay)
    elif job.run_at is not None:
        due = job.run_at
    start_by = None if job.start_within is None else (now if due is None else due) + micros(job.start_within)
    return Place(State.SCHEDULED if due is not None and due > now else State.QUEUED, due, start_by)


def judge(jobs: Sequence[NewJob], known: Mapping[JobId, Known], facts: Ledger, ring: Keyring) -> Judgement:
    """Judge a batch in which some job carries an edge, a guard or a key; what is replaced must end before the rest is placed.

    `known` holds the holders of keys as well. `facts` takes the writes of the guards that hold, `ring` the keys taken.
    """
    verdicts = [_verdict(job, known, facts, ring) for job in jobs]
    chosen = [i for i, (verdict, _) in enumerate(verdicts) if verdict is Stored.STORED]
    new = ring.batch
    strangers = {i for i in chosen if any(e.parent not in known and e.parent not in new for e in jobs[i].edges)}
    if strangers:
        refused = [
            (verdict, told)
            if told not in new or verdict is Stored.GUARDED
            else (Stored.UNKNOWN_PARENT if i in strangers else Stored.REFUSED, jobs[i].id)
            for i, (verdict, told) in enumerate(verdicts)
        ]
        return Judgement(refused, [], [])
    replaced = [(known[old].n, old, because_of(by)) for old, by in ring.replaced.items() if old in known]
    return Judgement(verdicts, chosen, replaced)


def _verdict(job: NewJob, known: Mapping[JobId, Known], facts: Ledger, ring: Keyring) -> tuple[Stored, JobId]:
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


def place_together(jobs: Sequence[NewJob], known: Mapping[JobId, Known], ring: Keyring, now: Micros) -> dict[JobId, Place]:
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
    job: NewJob, parents: dict[JobId, OnDead], known: Mapping[JobId, Known], cancelled: dict[JobId, str], now: Micros
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
