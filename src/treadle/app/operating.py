"""What an operator and a handle ask of the store, as plans put together from the engine's verbs."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import msgspec

from treadle.app.pausing import Pause, read_pause
from treadle.app.queue import see_words
from treadle.app.view import Job, QueueView, view_job
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
from treadle.model.job import JobId
from treadle.model.record import Space
from treadle.model.state import LIVE, TRANSITIONS, BlockedOn, Move, State

_CHUNK = 1000


def unknown(job: JobId) -> UnknownJob:
    """The error for an id under which nothing is stored."""
    return UnknownJob(
        job,
        "no job is stored under this id",
        "It was never enqueued in this store, its enqueue_in is not committed yet or was rolled back, or it has been pruned "
        "since.",
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


def see_queues(engine: Engine) -> Plan[list[QueueView]]:
    """Every queue that holds live jobs, is paused, or of which an operator said something, by name."""

    def begin() -> Steps[list[QueueView]]:
        counts = yield from engine.count(Filter(states=tuple(LIVE)), (Axis.QUEUE, Axis.STATE)).begin()
        records = yield from engine.read(Space.PAUSED).begin()
        now = time.time_ns() // 1000
        depth: dict[str, dict[State, int]] = {}
        oldest: dict[tuple[str, State], float] = {}
        for each in counts:
            queue, state = str(each.key[0]), State(str(each.key[1]))
            depth.setdefault(queue, {})[state] = each.count
            if each.oldest is not None:
                oldest[queue, state] = max(0.0, (now - each.oldest) / 1_000_000)
        paused = {each.key: read_pause(each) for each in records if "\n" not in each.key}
        said = yield from see_words(engine).begin()
        names = depth.keys() | paused.keys() | said.keys()
        nobody = Pause(None, None)
        return [
            QueueView(
                name,
                depth.get(name, {}),
                oldest.get((name, State.QUEUED)),
                name in paused,
                paused_by=paused.get(name, nobody).by,
                paused_why=paused.get(name, nobody).why,
                oldest_blocked=oldest.get((name, State.BLOCKED)),
                **said.get(name, {}),
            )
            for name in sorted(names)
        ]

    return Plan("count", begin)
