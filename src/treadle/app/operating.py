"""What an operator and a handle ask of the store, as plans put together from the engine's verbs."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import msgspec

from treadle.app.queue import see_words
from treadle.app.view import Job, QueueView, Standstill, moment, view_job
from treadle.engine.contract import Engine
from treadle.engine.plan import Plan, Steps
from treadle.model import job as stored
from treadle.model.errors import InvalidArguments, UnknownJob
from treadle.model.filter import (
    Altered,
    Annotate,
    Axis,
    Cancel,
    Change,
    Erase,
    Filter,
    Order,
    Page,
    Prioritise,
    Replay,
    Resolve,
)
from treadle.model.job import JobId, WorkerInfo
from treadle.model.record import Space, Write, paused_task
from treadle.model.state import LIVE, TRANSITIONS, BlockedOn, Move, State

_CHUNK = 1000


def unknown(job: JobId) -> UnknownJob:
    """The error for an id under which nothing is stored."""
    return UnknownJob(
        job, "no job is stored under this id", "It was never enqueued in this store, or it has been pruned since."
    )


def get_job(engine: Engine, job: JobId) -> Plan[Job]:
    """One job with its details. Raises `UnknownJob`."""

    def begin() -> Steps[Job]:
        found = yield from find_jobs(engine, Filter(ids=[job]), Page(limit=1, details=True)).begin()
        if not found:
            raise unknown(job)
        return found[0]

    return Plan("find", begin)


def see_jobs(engine: Engine, jobs: Sequence[JobId]) -> Plan[Mapping[JobId, stored.Job]]:
    """These jobs as they are stored, by id and without details. Raises `UnknownJob` for the first that is not."""

    def begin() -> Steps[Mapping[JobId, stored.Job]]:
        found = yield from engine.find(Filter(ids=tuple(jobs)), Page(limit=len(jobs))).begin()
        seen = {each.id: each for each in found}
        for job in jobs:
            if job not in seen:
                raise unknown(job)
        return seen

    return Plan("find", begin)


def find_jobs(engine: Engine, where: Filter, page: Page) -> Plan[list[Job]]:
    """Jobs as they may be shown."""

    def begin() -> Steps[list[Job]]:
        found = yield from engine.find(where, page).begin()
        return [view_job(each) for each in found]

    return Plan("find", begin)


def see_obstacles(engine: Engine, jobs: Sequence[Job]) -> Plan[Mapping[JobId, str]]:
    """Why jobs that could run now are not taken, for those among `jobs` of which that can be said."""
    waiting = [job for job in jobs if job.state is State.QUEUED]

    def begin() -> Steps[Mapping[JobId, str]]:
        if not waiting:
            return {}
        hands = yield from _see_hands(engine).begin()
        found = {job.id: _obstacle(job.queue, job.task, hands) for job in waiting}
        suspects = {job.id: _suspected(job.crashes) for job in waiting if job.suspect}
        return suspects | {job: obstacle.why for job, obstacle in found.items() if obstacle is not None}

    return Plan("read", begin)


def _suspected(crashes: int) -> str:
    times = "once" if crashes == 1 else f"{crashes} times"
    return f"suspect: its worker was lost {times}; it runs alone, one such job at a time in each worker"


def see_suspects(engine: Engine, most: int) -> Plan[dict[str, int]]:
    """How many of the `most` oldest queued jobs are suspects, by queue, for queues that have any."""

    def begin() -> Steps[dict[str, int]]:
        found = yield from engine.find(Filter(states=(State.QUEUED,)), Page(limit=most, order=Order.OLDEST)).begin()
        return dict(sorted(Counter(job.queue for job in found if job.suspect).items()))

    return Plan("find", begin)


def see_standstills(engine: Engine) -> Plan[list[Standstill]]:
    """What is queued and not taken, and why, by queue and task."""

    def begin() -> Steps[list[Standstill]]:
        counts = yield from engine.count(Filter(states=(State.QUEUED,)), (Axis.QUEUE, Axis.TASK)).begin()
        hands = yield from _see_hands(engine).begin()
        found: list[Standstill] = []
        for each in counts:
            queue, task = str(each.key[0]), str(each.key[1])
            obstacle = _obstacle(queue, task, hands)
            if obstacle is not None:
                found.append(Standstill(queue, task, each.count, moment(each.oldest), *obstacle))
        return found

    return Plan("count", begin)


class _Hands(NamedTuple):
    """Who could take a job now: the queues that are paused, by whom and why, and the workers alive."""

    paused: Mapping[str, tuple[str | None, str | None]]
    workers: Sequence[WorkerInfo]


class _Obstacle(NamedTuple):
    why: str
    cure: str


def _see_hands(engine: Engine) -> Plan[_Hands]:
    def begin() -> Steps[_Hands]:
        records = yield from engine.read(Space.PAUSED).begin()
        leases = yield from engine.leases().begin()
        paused = {each.key: _words(each.value) for each in records}
        return _Hands(paused, [each.worker for each in leases if each.expires_in > 0])

    return Plan("read", begin)


def _obstacle(queue: str, task: str, hands: _Hands) -> _Obstacle | None:
    """Why jobs of this task in this queue are not taken, and what to do about it."""
    if paused_task(task) in hands.paused:
        by, why = hands.paused[paused_task(task)]
        return _Obstacle(
            f"task {task} is paused by {by}" + (f": {why}" if why else ""), f"End that with `treadle tasks resume {task}`."
        )
    if queue in hands.paused:
        by, why = hands.paused[queue]
        return _Obstacle(
            f"queue {queue} is paused by {by}" + (f": {why}" if why else ""), f"End that with `treadle queues resume {queue}`."
        )
    if not hands.workers:
        return _Obstacle("no worker is alive", f"Start one: `treadle worker MODULE --queue {queue}`.")
    serving = [each for each in hands.workers if queue in each.queues]
    if not serving:
        return _Obstacle(f"no live worker serves queue {queue}", f"Start one with `--queue {queue}`, or add that to one.")
    if not any(task in each.tasks for each in serving):
        return _Obstacle(
            f"no live worker of queue {queue} knows this task",
            "Serve the module that declares it; if it was renamed, give it its old name too with `app.alias`.",
        )
    return None


def cancel_jobs(engine: Engine, job: JobId, reason: str, actor: str = "") -> Plan[bool]:
    """Cancel one job; whether it was permitted. Raises `UnknownJob`."""

    def begin() -> Steps[bool]:
        altered = yield from engine.alter(Filter(ids=[job]), Cancel(reason), actor=actor or "producer", limit=1).begin()
        if not altered:
            raise unknown(job)
        return altered[0].done

    return Plan("alter", begin)


def meant(
    engine: Engine, where: Filter, change: Change, check: Callable[[stored.Job], None] | None = None
) -> Plan[list[Altered]]:
    """Every job that a change would touch, and what would become of it. Raises `UnknownJob` if `where` names an unknown id."""

    def begin() -> Steps[list[Altered]]:
        answers: list[Altered] = []
        after: JobId | None = None
        while True:
            found = yield from engine.find(where, Page(limit=_CHUNK, after=after, order=Order.OLDEST)).begin()
            for each in found:
                if check is not None:
                    check(each)
                answers.append(foresee(each, change))
            if len(found) < _CHUNK:
                break
            after = found[-1].id
        known = {each.id for each in answers}
        for job in where.ids or ():
            if job not in known:
                raise unknown(job)
        return answers

    return Plan("find", begin)


def foresee(job: stored.Job, change: Change) -> Altered:
    """What a change would do to a job, by the table of transitions."""
    match change:
        case Cancel():
            if job.state is State.RUNNING:
                return Altered(job.id, job.state, job.state, done=True)
            return _moved(job, Move.CANCEL, State.CANCELLED)
        case Replay():
            later = change.delay > 0 and job.state.final
            return _moved(job, Move.REPLAY, State.SCHEDULED if later else State.QUEUED)
        case Resolve() | Annotate():
            open_letter = job.state is State.DEAD and (
                isinstance(change, Annotate) or (job.dead is not None and job.dead.status == "open")
            )
            return Altered(job.id, job.state, job.state, open_letter)
        case Prioritise():
            waiting = not job.state.final and job.state is not State.RUNNING
            parked = waiting and job.blocked_on in (BlockedOn.KEY, BlockedOn.LIMIT) and job.priority != change.priority
            return Altered(job.id, job.state, State.QUEUED if parked else job.state, waiting)
        case Erase():
            running = job.state is State.RUNNING
            return Altered(job.id, job.state, job.state if running else None, not running)


def check_object(args: str) -> None:
    """Raise `InvalidArguments` unless the text is a JSON object: all that can be asked when the task is not known here."""
    try:
        msgspec.json.decode(args, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, RecursionError) as error:
        raise InvalidArguments(
            args, f"this is not a JSON object ({error})", 'Write the arguments by name: {"name": "Ada"}.'
        ) from None


def _moved(job: stored.Job, move: Move, target: State) -> Altered:
    permitted = any(
        (each.move, each.verb, each.source, each.target) == (move, "alter", job.state, target) for each in TRANSITIONS
    )
    return Altered(job.id, job.state, target if permitted else job.state, permitted)


def chunks(altered: Sequence[Altered], size: int) -> Iterator[list[JobId]]:
    """The ids, `size` at a time."""
    for start in range(0, len(altered), size):
        yield [each.id for each in altered[start : start + size]]


def alter_these(engine: Engine, where: Filter, ids: Sequence[JobId], change: Change, actor: str) -> Plan[list[Altered]]:
    """Change those of `ids` that still answer to `where`."""
    return engine.alter(replace(where, ids=tuple(ids)), change, actor=actor, limit=len(ids))


def pause_write(what: str, actor: str, reason: str) -> Write:
    """The record that pauses a queue, a task or a key, and says who did it and why."""
    return Write(Space.PAUSED, what, msgspec.json.encode({"by": actor, "why": reason}).decode())


def resume(engine: Engine, what: str) -> Plan[bool]:
    """Remove the record that pauses a queue, a task or a key; whether there was one."""

    def begin() -> Steps[bool]:
        paused = yield from engine.read(Space.PAUSED, [what]).begin()
        if paused:
            yield from engine.write([Write(Space.PAUSED, what, None)]).begin()
        return bool(paused)

    return Plan("write", begin)


def see_queues(engine: Engine) -> Plan[list[QueueView]]:
    """Every queue that holds live jobs, is paused, or of which an operator said something, by name."""

    def begin() -> Steps[list[QueueView]]:
        counts = yield from engine.count(Filter(states=tuple(LIVE)), (Axis.QUEUE, Axis.STATE)).begin()
        records = yield from engine.read(Space.PAUSED).begin()
        now = time.time_ns() // 1000
        depth: dict[str, dict[State, int]] = {}
        oldest: dict[str, float] = {}
        for each in counts:
            queue, state = str(each.key[0]), State(str(each.key[1]))
            depth.setdefault(queue, {})[state] = each.count
            if state is State.QUEUED and each.oldest is not None:
                oldest[queue] = max(0.0, (now - each.oldest) / 1_000_000)
        paused = {each.key: _words(each.value) for each in records if "\n" not in each.key}
        said = yield from see_words(engine).begin()
        names = depth.keys() | paused.keys() | said.keys()
        return [
            QueueView(
                name,
                depth.get(name, {}),
                oldest.get(name),
                name in paused,
                *paused.get(name, (None, None)),
                **said.get(name, {}),
            )
            for name in sorted(names)
        ]

    return Plan("count", begin)


def _words(value: str) -> tuple[str | None, str | None]:
    found: dict[str, str] = msgspec.json.decode(value, type=dict[str, str])
    return found.get("by"), found.get("why")
