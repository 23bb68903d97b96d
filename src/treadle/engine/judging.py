"""Where new jobs belong: their time, their parents, their guards. Decided from what an engine has read; no I/O."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from treadle.engine.ledger import Ledger
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
    """The answers for a whole batch, and what is to be written: the chosen jobs, in batch order, and where they belong."""

    answers: list[Enqueued]
    chosen: list[int]
    places: dict[JobId, Place]


def place_alone(job: NewJob, now: Micros) -> Place:
    """Place a job by its time only."""
    due = None
    if job.delay is not None:
        due = now + micros(job.delay)
    elif job.run_at is not None:
        due = job.run_at
    start_by = None if job.start_within is None else (now if due is None else due) + micros(job.start_within)
    return Place(State.SCHEDULED if due is not None and due > now else State.QUEUED, due, start_by)


def judge(jobs: Sequence[NewJob], known: Mapping[JobId, Known], facts: Ledger, now: Micros) -> Judgement:
    """Judge a batch in which some job carries an edge or a guard. `facts` takes the writes of the guards that hold."""
    verdicts: list[Stored] = []
    chosen: list[int] = []
    new: set[JobId] = set()
    for i, job in enumerate(jobs):
        if job.id in known or job.id in new:
            verdicts.append(Stored.ALREADY)
        elif job.guard is not None and not facts.apply(job.guard.write).done:
            verdicts.append(Stored.GUARDED)
        else:
            verdicts.append(Stored.STORED)
            chosen.append(i)
            new.add(job.id)
    strangers = {i for i in chosen if any(e.parent not in known and e.parent not in new for e in jobs[i].edges)}
    states: dict[JobId, State] = {job: each.state for job, each in known.items()}
    if strangers:
        for i in chosen:
            verdicts[i] = Stored.UNKNOWN_PARENT if i in strangers else Stored.REFUSED
        return Judgement(_answers(jobs, verdicts, states), [], {})
    places = place_together([jobs[i] for i in chosen], known, now)
    states |= {job: place.state for job, place in places.items()}
    return Judgement(_answers(jobs, verdicts, states), chosen, places)


def _answers(jobs: Sequence[NewJob], verdicts: Sequence[Stored], states: dict[JobId, State]) -> list[Enqueued]:
    told = (Stored.STORED, Stored.ALREADY)
    return [
        Enqueued(job.id, verdict, states.get(job.id) if verdict in told else None)
        for job, verdict in zip(jobs, verdicts, strict=True)
    ]


def place_together(jobs: Sequence[NewJob], known: Mapping[JobId, Known], now: Micros) -> dict[JobId, Place]:
    """Place jobs by their time and their parents, which may stand in the same batch."""
    edges = {job.id: {edge.parent: OnDead(edge.on_dead) for edge in reversed(job.edges)} for job in jobs}
    cancelled: dict[JobId, str] = {}
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
