"""What the jobs of a whole store wait for that somebody should know of, and the cure."""

from collections import Counter
from dataclasses import dataclass, replace

from treadle.app.limitbook import read_limit
from treadle.app.obstacles import Obstacle, at_limit, for_its_turn, not_taken, put_off, read_rooms, see_hands
from treadle.app.pausing import paused_keys
from treadle.app.twins import see_twins
from treadle.app.view import Standstill, moment, view_attempt
from treadle.engine.contract import Engine
from treadle.engine.plan import Plan, Steps
from treadle.model.filter import Axis, Filter, Order, Page
from treadle.model.flow import Parked
from treadle.model.job import Job, Micros
from treadle.model.record import Space
from treadle.model.state import State

_PAGE = 1000
_PAGES = 10
"""How many pages of blocked jobs are looked through for those behind a dead letter."""
_NEWEST = 200
"""How many of the newest scheduled jobs are looked at for those that were put off."""
_ASKED = 3
"""How many of those of one task and version are read in full: their attempts may be many."""


@dataclass(slots=True, frozen=True)
class Holdup:
    """Jobs that wait for what somebody should know of: how many, why, and the cure."""

    count: int
    why: str
    cure: str


def see_holdups(engine: Engine) -> Plan[list[Holdup]]:
    """What jobs of the whole store wait for that somebody should know of, the most numerous first."""

    def begin() -> Steps[list[Holdup]]:
        paused = yield from engine.read(Space.PAUSED).begin()
        limits = yield from engine.read(Space.LIMIT).begin()
        closed = {each.key for each in limits if read_limit(each).closed_until is not None}
        names = sorted(closed | {limit for limit, _ in paused_keys(paused)})
        gates = (yield from engine.gates(names).begin()) if names else []
        rooms = read_rooms(limits, paused, gates)
        found = [
            Holdup(each.parked, *_told(at_limit(each.limit, each.key, rooms)))
            for each in gates
            if each.parked and (each.key is None or (each.limit, each.key) in rooms.paused)
        ]
        found += yield from _see_stopped(engine).begin()
        found += yield from _see_put_off(engine).begin()
        return sorted(found, key=lambda each: -each.count)

    return Plan("read", begin)


def _see_stopped(engine: Engine) -> Plan[list[Holdup]]:
    """The dead letters that stop their order, with how many of the oldest blocked jobs wait behind each."""

    def begin() -> Steps[list[Holdup]]:
        behind: Counter[tuple[str, Parked]] = Counter()
        page = Page(limit=_PAGE, order=Order.OLDEST, details=True)
        for _ in range(_PAGES):
            jobs = yield from engine.find(Filter(states=[State.BLOCKED]), page).begin()
            for job in jobs:
                if job.ordering is not None and job.parked is not None and job.parked.state is State.DEAD:
                    behind[job.ordering.key, job.parked] += 1
            if len(jobs) < _PAGE:
                break
            page = replace(page, after=jobs[-1].id)
        ids = sorted({parked.behind for _, parked in behind if parked.behind is not None})
        letters = (yield from engine.find(Filter(ids=ids), Page(limit=len(ids), details=True)).begin()) if ids else []
        twins = yield from see_twins(engine, letters).begin()
        return [Holdup(count, *_told(for_its_turn(order, parked, {}, twins))) for (order, parked), count in behind.items()]

    return Plan("find", begin)


def _see_put_off(engine: Engine) -> Plan[list[Holdup]]:
    """The newest scheduled jobs that were put off, by task and version: some of each are asked who put them off."""

    def begin() -> Steps[list[Holdup]]:
        jobs = yield from engine.find(Filter(states=[State.SCHEDULED]), Page(limit=_NEWEST)).begin()
        alike: dict[tuple[str, int], list[Job]] = {}
        for job in jobs:
            if job.releases:
                alike.setdefault((job.task, job.version), []).append(job)
        found: list[Holdup] = []
        for same in alike.values():
            asked = [job.id for job in sorted(same, key=lambda job: job.attempt)[:_ASKED]]
            detailed = yield from engine.find(Filter(ids=asked), Page(limit=_ASKED, details=True)).begin()
            lasts = [view_attempt(job.attempts[-1]) for job in detailed if job.attempts]
            told = [obstacle for last in lasts if (obstacle := put_off(last)) is not None]
            if told:
                found.append(Holdup(len(same), *_told(told[0])))
        return found

    return Plan("find", begin)


def see_suspects(engine: Engine, most: int) -> Plan[dict[str, int]]:
    """How many of the `most` oldest queued jobs are suspects, by queue, for queues that have any."""

    def begin() -> Steps[dict[str, int]]:
        found = yield from engine.find(Filter(states=(State.QUEUED,)), Page(limit=most, order=Order.OLDEST)).begin()
        return dict(sorted(Counter(job.queue for job in found if job.suspect).items()))

    return Plan("find", begin)


def see_standstills(engine: Engine, now: Micros) -> Plan[list[Standstill]]:
    """What is queued and not taken, and why, by queue and task."""

    def begin() -> Steps[list[Standstill]]:
        counts = yield from engine.count(Filter(states=(State.QUEUED,)), (Axis.QUEUE, Axis.TASK)).begin()
        hands = yield from see_hands(engine, now).begin()
        found: list[Standstill] = []
        for each in counts:
            queue, task = str(each.key[0]), str(each.key[1])
            obstacle = not_taken(queue, task, hands)
            if obstacle is not None:
                found.append(Standstill(queue, task, each.count, moment(each.oldest), *_told(obstacle)))
        return found

    return Plan("count", begin)


def _told(obstacle: Obstacle) -> tuple[str, str]:
    return obstacle.why, obstacle.cure
