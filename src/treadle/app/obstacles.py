"""What keeps waiting jobs from starting, and the cure: sentences made of what the engine's verbs show."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from treadle.app.hours import see_opening, until_open
from treadle.app.limitbook import EVER, LimitBook, read_limit
from treadle.app.limits import describe
from treadle.app.pausing import Pause, paused_keys, read_pause
from treadle.app.storetime import here
from treadle.app.twins import see_twins
from treadle.app.typed import typed
from treadle.app.upgrading import TOO_NEW
from treadle.app.view import Attempt, Job, clock, view_attempt
from treadle.engine.contract import Engine
from treadle.engine.plan import Plan, Steps
from treadle.model import job as stored
from treadle.model.filter import Filter, Page
from treadle.model.flow import Gate, Parked
from treadle.model.job import JobId, Micros, OnDead, WorkerInfo
from treadle.model.record import Record, Space, paused_task
from treadle.model.state import State

FEW_ATTEMPTS = 100
"""A job that was put off for a day has thousands: more are not read to show one of a list."""


@dataclass(slots=True, frozen=True, kw_only=True)
class Obstacle:
    """What keeps a job from starting, and the cure: empty where it needs nothing but time.

    At a limit, `limit` and `key` say which (`key` None: the limit as a whole, because of its breaker). Where it is not its
    turn, `ordering` is what its order goes by, `behind` the job that is first there, and `state` where that job is. Of a dead
    letter that cannot be replayed because a newer job of its order has its unique key, `behind` is that job.
    """

    why: str
    cure: str = ""
    limit: str | None = None
    key: str | None = None
    ordering: str | None = None
    behind: JobId | None = None
    state: State | None = None


class Hands(NamedTuple):
    """Who could take a job at `now`: what is paused, by whom and why, when what its hours have paused opens, who is alive."""

    paused: Mapping[str, Pause]
    opening: Mapping[str, Micros | None]
    workers: Sequence[WorkerInfo]
    now: Micros


class Rooms(NamedTuple):
    """The limits at which jobs wait: their rules, the pauses of their keys, and how many run and wait there."""

    books: Mapping[str, LimitBook]
    paused: Mapping[tuple[str, str], Pause]
    gates: Mapping[tuple[str, str | None], Gate]


def see_obstacles(engine: Engine, jobs: Sequence[Job], now: Micros) -> Plan[Mapping[JobId, Obstacle]]:
    """What keeps jobs that wait from starting, for those among `jobs` of which that can be said."""
    queued = [job for job in jobs if job.state is State.QUEUED]
    released = [job for job in jobs if job.state is State.SCHEDULED and job.releases]
    held = [job.id for job in jobs if job.state is State.BLOCKED]
    held += [job.id for job in released if not job.attempts and job.attempt <= FEW_ATTEMPTS]
    stopping = [job.id for job in jobs if job.stops]

    def begin() -> Steps[Mapping[JobId, Obstacle]]:
        found: dict[JobId, Obstacle] = {}
        if queued:
            hands = yield from see_hands(engine, now).begin()
            for job in queued:
                obstacle = not_taken(job.queue, job.task, hands)
                if obstacle is None and job.suspect:
                    obstacle = Obstacle(why=_suspected(job.crashes))
                if obstacle is not None:
                    found[job.id] = obstacle
        for job in released:
            told = put_off(job.attempts[-1]) if job.attempts else None
            if told is not None:
                found[job.id] = told
        if held:
            found |= yield from _see_held(engine, held, now).begin()
        if stopping:
            letters = yield from engine.find(Filter(ids=stopping), Page(limit=len(stopping), details=True)).begin()
            twins = yield from see_twins(engine, letters).begin()
            found |= {letter: _by_twin(letter, twin) for letter, twin in twins.items()}
        return found

    return Plan("read", begin)


def _see_held(engine: Engine, ids: Sequence[JobId], now: Micros) -> Plan[dict[JobId, Obstacle]]:
    """What holds these jobs; of one that waits for its turn, also what holds the first in line."""

    def begin() -> Steps[dict[JobId, Obstacle]]:
        jobs = yield from engine.find(Filter(ids=ids), Page(limit=len(ids), details=True)).begin()
        ahead = sorted({job.parked.behind for job in jobs if job.parked is not None and job.parked.behind is not None})
        firsts: list[stored.Job] = []
        if ahead:
            firsts = yield from engine.find(Filter(ids=ahead), Page(limit=len(ahead), details=True)).begin()
        rooms = yield from _see_rooms(engine, [*jobs, *firsts]).begin()
        hands = Hands({}, {}, [], now)
        if any(job.state is State.QUEUED for job in firsts):
            hands = yield from see_hands(engine, now).begin()
        twins = yield from see_twins(engine, firsts).begin()
        before = {job.id: _of_first(job, rooms, hands) for job in firsts}
        found: dict[JobId, Obstacle] = {}
        for job in jobs:
            obstacle = _held(job, rooms, before, twins)
            if obstacle is not None:
                found[job.id] = obstacle
        return found

    return Plan("read", begin)


def _see_rooms(engine: Engine, jobs: Iterable[stored.Job]) -> Plan[Rooms]:
    names = sorted({job.parked.limit for job in jobs if job.parked is not None and job.parked.limit is not None})

    def begin() -> Steps[Rooms]:
        if not names:
            return Rooms({}, {}, {})
        records = yield from engine.read(Space.LIMIT, names).begin()
        paused = yield from engine.read(Space.PAUSED).begin()
        gates = yield from engine.gates(names).begin()
        return read_rooms(records, paused, gates)

    return Plan("read", begin)


def read_rooms(limits: Iterable[Record], paused: Iterable[Record], gates: Iterable[Gate]) -> Rooms:
    """What the store says of limits, by name and key."""
    books = {each.key: read_limit(each) for each in limits}
    return Rooms(books, paused_keys(paused), {(each.limit, each.key): each for each in gates})


def _of_first(job: stored.Job, rooms: Rooms, hands: Hands) -> Obstacle | None:
    """What keeps the first in line, who waits for nobody's turn."""
    if job.state is State.QUEUED:
        return not_taken(job.queue, job.task, hands)
    return _held(job, rooms, {}, {})


def _held(
    job: stored.Job, rooms: Rooms, before: Mapping[JobId, Obstacle | None], twins: Mapping[JobId, JobId]
) -> Obstacle | None:
    if job.state is State.SCHEDULED:
        return put_off(view_attempt(job.attempts[-1])) if job.attempts else None
    if job.parked is None:
        return _by_parents(job)
    if job.parked.limit is not None:
        return at_limit(job.parked.limit, job.parked.key, rooms)
    ordering = "" if job.ordering is None else job.ordering.key
    return for_its_turn(ordering, job.parked, before, twins)


def for_its_turn(
    ordering: str, parked: Parked, before: Mapping[JobId, Obstacle | None], twins: Mapping[JobId, JobId]
) -> Obstacle:
    """What keeps a job that is not first of its order; `before` says what keeps those that are, `twins` from being replayed."""
    first = parked.behind
    if first is None:
        return Obstacle(why=f"it is first of order {ordering} by now, and comes back to its queue", ordering=ordering)
    told = Obstacle(why="", ordering=ordering, behind=first, state=parked.state)
    if parked.state is State.DEAD:
        cure = f"Replay it (`treadle dead replay {first}`), or resolve it (`treadle dead resolve {first}`) to go on without it."
        if first in twins:
            cure = _past_twin(first, twins[first])
        return replace(told, why=f"behind dead letter {first}, which stops order {ordering}", cure=cure)
    why = f"behind job {first} of order {ordering}, which is {parked.state}"
    held = before.get(first)
    return replace(told, why=why) if held is None else replace(told, why=f"{why}: {held.why}", cure=held.cure)


def _by_twin(letter: JobId, twin: JobId) -> Obstacle:
    """What keeps a dead letter from being replayed."""
    why = f"job {twin}, which stands behind this letter, has its unique key"
    return Obstacle(why=why, cure=_past_twin(letter, twin), behind=twin)


def _past_twin(letter: JobId, twin: JobId) -> str:
    """The ways on where a letter and the newer job that has its unique key wait for each other."""
    return (
        f"Resolve it (`treadle dead resolve {letter}`), and job {twin}, which has its unique key by now, runs in its stead; "
        f"or cancel that one first (`treadle jobs cancel {twin}`)."
    )


def at_limit(limit: str, key: str | None, rooms: Rooms) -> Obstacle:
    """What keeps a job that is parked at a key of a limit, or at the limit as a whole."""
    book, gate = rooms.books.get(limit), rooms.gates.get((limit, key))
    told = Obstacle(why="", limit=limit, key=key)
    if key is None:
        return replace(told, why=_closed(limit, book), cure=f"`treadle limits close {limit}` lets jobs start again at once.")
    where = _room(limit, key)
    pause = rooms.paused.get((limit, key))
    if pause is not None:
        return replace(told, why=f"{where} {pause}", cure=_resuming(limit, key))
    if book is None:
        return replace(told, why=f"{where} lets everything through by now, and it comes back to its queue")
    if gate is None:
        return replace(told, why=f"{where}: {describe(book)}")
    if book.concurrency is not None and gate.running >= book.concurrency:
        return replace(told, why=f"{where}: {gate.running:,} run, which is as many as may, and {gate.parked:,} wait")
    soon = "" if gate.wakes_at is None else f"; the next may start at {clock(gate.wakes_at)}"
    return replace(told, why=f"{where}: {describe(book)}, and {gate.parked:,} wait{soon}")


def _closed(limit: str, book: LimitBook | None) -> str:
    if book is None or book.closed_until is None:
        return f"limit {limit} was closed, and jobs come back to their queues"
    if book.closed_until <= here():
        return f"the breaker of limit {limit} is half open: {book.probes:,} at a time may try, until one succeeds"
    until = "it is closed" if book.closed_until >= EVER else clock(book.closed_until)
    who = "" if book.opened_by is None else f", opened by {book.opened_by}"
    return f"the breaker of limit {limit} is open until {until}{who}" + (f": {book.why}" if book.why else "")


def _room(limit: str, key: str) -> str:
    return f"key {key} of limit {limit}" if key else f"limit {limit}"


def _resuming(limit: str, key: str) -> str:
    return f"End that with {typed('limits resume', limit, *([key] if key else []))}."


def _by_parents(job: stored.Job) -> Obstacle | None:
    """Its dead parents hold it until somebody decides; the others will end by themselves."""
    for parent, on_dead, state in job.parents:
        if state is State.DEAD and on_dead is OnDead.HOLD:
            cure = f"Replay it (`treadle dead replay {parent}`), or resolve it, which cancels the jobs that wait for it."
            return Obstacle(why=f"its parent {parent} is a dead letter", cure=cure, behind=parent, state=state)
    return None


def put_off(last: Attempt) -> Obstacle | None:
    """A worker that is too old for a job puts it off, and says so with the attempt."""
    if last.error is None or last.error.error != TOO_NEW:
        return None
    return Obstacle(why=f"put off by worker {last.worker}: {last.error.message}", cure=_NEWER)


_NEWER = "Workers of the newer code take such jobs: start them, and stop those of the old code."


def _suspected(crashes: int) -> str:
    times = "once" if crashes == 1 else f"{crashes} times"
    return f"suspect: its worker was lost {times}; it runs alone, one such job at a time in each worker"


def see_hands(engine: Engine, now: Micros) -> Plan[Hands]:
    """Who could take a job at this moment."""

    def begin() -> Steps[Hands]:
        records = yield from engine.read(Space.PAUSED).begin()
        leases = yield from engine.leases().begin()
        paused = {each.key: read_pause(each) for each in records}
        return Hands(paused, see_opening(records, now), [each.worker for each in leases if each.expires_in > 0], now)

    return Plan("read", begin)


def not_taken(queue: str, task: str, hands: Hands) -> Obstacle | None:
    """Why jobs of this task in this queue are not taken, and what to do about it."""
    if paused_task(task) in hands.paused:
        cure = f"End that with {typed('tasks resume', task)}."
        return Obstacle(why=f"task {task} {hands.paused[paused_task(task)]}", cure=cure)
    if queue in hands.paused:
        cure = f"End that with `treadle queues resume {queue}`."
        if queue in hands.opening:
            cure = until_open(queue, hands.opening[queue], hands.now)
        return Obstacle(why=f"queue {queue} {hands.paused[queue]}", cure=cure)
    if not hands.workers:
        return Obstacle(why="no worker is alive", cure=f"Start one: `treadle worker MODULE --queue {queue}`.")
    serving = [each for each in hands.workers if queue in each.queues]
    if not serving:
        cure = f"Start one with `--queue {queue}`, or add that to one."
        return Obstacle(why=f"no live worker serves queue {queue}", cure=cure)
    if not any(task in each.tasks for each in serving):
        cure = "Serve the module that declares it; if it was renamed, give it its old name too with `app.alias`."
        return Obstacle(why=f"no live worker of queue {queue} knows this task", cure=cure)
    return None
