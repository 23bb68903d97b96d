"""What waits and what runs, as one decides by it how many workers there should be."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from treadle.app.served import Served, read_served, slots_of
from treadle.engine.contract import Engine
from treadle.engine.plan import Plan, Steps
from treadle.model.filter import Axis, Count, Filter
from treadle.model.job import Micros, WorkerInfo
from treadle.model.record import Space, paused_task
from treadle.model.state import State
from treadle.policy.scaling import Kind, Sight


@dataclass(slots=True, frozen=True)
class Load:
    """What was seen: by executor what waits and runs, and the jobs that no process more would help.

    Those are `blocked` (at a limit, behind their turn, by parents) or `paused`.
    """

    kinds: Mapping[str, Kind]
    processes: int
    blocked: int
    paused: int

    @property
    def sight(self) -> Sight:
        """What there is to decide by."""
        return Sight(tuple(self.kinds.values()), self.processes)


def see_load(engine: Engine, now: Micros, queues: Collection[str] | None = None) -> Plan[Load]:
    """The load of these queues, or of all."""

    def begin() -> Steps[Load]:
        leases = yield from engine.leases().begin()
        told = read_served((yield from engine.read(Space.SERVED).begin()))
        stopped = {each.key for each in (yield from engine.read(Space.PAUSED).begin())}
        asked = None if queues is None else tuple(queues)
        workers = [each.worker for each in leases if each.expires_in > 0 and _serves(each.worker, asked)]
        where = Filter(states=(State.QUEUED, State.BLOCKED), queues=asked)
        waiting = yield from engine.count(where, (Axis.QUEUE, Axis.TASK, Axis.STATE)).begin()
        # What these workers run of other queues takes their slots as well.
        taken = None if asked is None else sorted({queue for worker in workers for queue in worker.queues})
        running = yield from engine.count(Filter(states=(State.RUNNING,), queues=taken), (Axis.TASK,)).begin()
        open_to_claims: list[Count] = []
        blocked = paused = 0
        for each in waiting:
            if each.key[2] == State.BLOCKED:
                blocked += each.count
            elif each.key[0] in stopped or paused_task(str(each.key[1])) in stopped:
                paused += each.count
            else:
                open_to_claims.append(each)
        return Load(_kinds(workers, told, open_to_claims, running, now), len(workers), blocked, paused)

    return Plan("load", begin)


def _serves(worker: WorkerInfo, queues: Sequence[str] | None) -> bool:
    return queues is None or not set(queues).isdisjoint(worker.queues)


def _kinds(
    workers: Sequence[WorkerInfo], told: Sequence[Served], waiting: Sequence[Count], running: Sequence[Count], now: Micros
) -> dict[str, Kind]:
    """What waits and runs by executor; all under "" without a worker.

    Left out is what none of the workers would take, because it does not know the task or serve the queue: one more of the same
    would not either.
    """
    places = {task: place for each in told for task, place in each.places.items()}
    gated = {task for each in told for task in each.gated}
    taken: dict[str, set[str]] = {}
    for worker in workers:
        for queue in worker.queues:
            taken.setdefault(queue, set()).update(worker.tasks)
    known = {task for tasks in taken.values() for task in tasks}
    slots: dict[str, float] = {} if workers else {"": 0.0}
    for worker in workers:
        for place, number in slots_of(worker, told).items():
            slots[place] = slots.get(place, 0.0) + number
    kinds = {place: Kind(slots=round(number)) for place, number in sorted(slots.items())}

    def place_of(task: str) -> str:
        place = places.get(task, "")
        return place if place in kinds else next(iter(kinds))

    for each in waiting:
        queue, task = str(each.key[0]), str(each.key[1])
        if workers and task not in taken.get(queue, ()):
            continue
        kind = kinds[place_of(task)]
        if task in gated:
            kinds[place_of(task)] = kind._replace(gated=kind.gated + each.count)
        else:
            age = max(kind.age, 0.0 if each.oldest is None else (now - each.oldest) / 1_000_000)
            kinds[place_of(task)] = kind._replace(plain=kind.plain + each.count, age=age)
    for each in running if workers else ():
        if str(each.key[0]) in known:
            kind = kinds[place_of(str(each.key[0]))]
            kinds[place_of(str(each.key[0]))] = kind._replace(running=kind.running + each.count)
    return kinds
