"""What waits and what runs, as one decides by it how many workers there should be."""

from collections.abc import Collection
from dataclasses import dataclass

from treadle.engine.contract import Engine
from treadle.engine.plan import Plan, Steps
from treadle.model.filter import Axis, Filter
from treadle.model.job import Micros
from treadle.model.record import Space, paused_task
from treadle.model.state import State
from treadle.policy.scaling import Sight


@dataclass(slots=True, frozen=True)
class Load:
    """What was seen, beside the sight: jobs that wait at limits and for their turn, and jobs that are paused."""

    sight: Sight
    parked: int
    paused: int


def see_load(engine: Engine, now: Micros, queues: Collection[str] | None = None, gated: Collection[str] = ()) -> Plan[Load]:
    """The load of these queues, or of all. Jobs of the tasks named in `gated` are judged when they are claimed."""

    def begin() -> Steps[Load]:
        where = Filter(states=(State.QUEUED,), queues=None if queues is None else tuple(queues))
        counts = yield from engine.count(where, (Axis.QUEUE, Axis.TASK)).begin()
        stopped = {each.key for each in (yield from engine.read(Space.PAUSED).begin())}
        leases = yield from engine.leases().begin()
        gates = yield from engine.gates().begin()
        serving = [
            each
            for each in leases
            if each.expires_in > 0 and (queues is None or not set(queues).isdisjoint(each.worker.queues))
        ]
        known = {task for each in serving for task in each.worker.tasks}
        plain = behind = paused = 0
        oldest = now
        for each in counts:
            queue, task = str(each.key[0]), str(each.key[1])
            if queue in stopped or paused_task(task) in stopped:
                paused += each.count
            elif serving and task not in known:
                continue
            elif task in gated:
                behind += each.count
            else:
                plain += each.count
                oldest = min(oldest, each.oldest or now)
        return Load(
            Sight(
                plain,
                behind,
                (now - oldest) / 1_000_000,
                sum(each.running for each in serving),
                sum(each.worker.slots for each in serving),
                len(serving),
            ),
            sum(each.parked for each in gates),
            paused,
        )

    return Plan("load", begin)
