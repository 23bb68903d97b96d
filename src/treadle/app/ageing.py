"""Ageing: who waits long in a queue gains priority, step by step, so that nothing starves under a stream of urgent jobs.

A queue is gone through in rounds, one for each time that its age has passed, oldest jobs first, a bounded number at a time. How
far a round has come is a record: whoever writes it next does what comes next, so all workers may try and there is no leader.
"""

import msgspec

from treadle.app.queue import read_age
from treadle.engine.contract import Engine
from treadle.engine.plan import Plan, Steps
from treadle.model.filter import Filter, Order, Page, Prioritise
from treadle.model.job import Job, JobId, Micros, micros
from treadle.model.priority import CRITICAL
from treadle.model.record import Record, Space, Write
from treadle.model.state import State

STEP = 10
"""What a job gains in one round."""
MANY = 1000
"""Jobs of one queue that are looked at in one turn."""


class Round(msgspec.Struct, frozen=True, omit_defaults=True):
    """The value of a record in `Space.AGED`: when the round began, and the last job looked at; None when it is over."""

    began: Micros
    last: JobId | None = None


class Aged(msgspec.Struct, frozen=True):
    """How many jobs gained a step in one turn, by queue, and whether some round goes on."""

    gained: dict[str, int]
    more: bool = False


def age_queues(engine: Engine, now: Micros) -> Plan[Aged]:
    """Take one turn at every queue that has an age. A queue without one costs nothing."""

    def begin() -> Steps[Aged]:
        ages = {each.key: read_age(each) for each in (yield from engine.read(Space.AGE).begin())}
        if not ages:
            return Aged({})
        records: dict[str, Record] = {each.key: each for each in (yield from engine.read(Space.AGED, sorted(ages)).begin())}
        gained: dict[str, int] = {}
        more = False
        for queue, after in sorted(ages.items()):
            its = _due(records.get(queue), micros(after), now)
            if its is not None:
                gained[queue], goes_on = yield from _turn(engine, queue, micros(after), its, records.get(queue))
                more = more or goes_on
        return Aged(gained, more)

    return Plan("age", begin)


def _due(record: Record | None, after: Micros, now: Micros) -> Round | None:
    """The round to go on with, or a new one, or none while the last one is over and the next has not begun."""
    if record is None:
        return Round(now)
    its = msgspec.json.decode(record.value, type=Round)
    if its.last is None:
        return Round(now) if now >= its.began + after else None
    return its


def _turn(engine: Engine, queue: str, after: Micros, its: Round, record: Record | None) -> Steps[tuple[int, bool]]:
    since = its.began - after
    where = Filter(queues=[queue], states=[State.QUEUED], enqueued_before=since)
    found: list[Job] = yield from engine.find(where, Page(limit=MANY, after=its.last, order=Order.OLDEST)).begin()
    goes_on = len(found) == MANY
    value = msgspec.json.encode(Round(its.began, found[-1].id if goes_on else None)).decode()
    version = 0 if record is None else record.version
    # First the record, then the jobs: where a store cannot do both at once, a turn that breaks off is lost and not repeated.
    [written] = yield from engine.write([Write(Space.AGED, queue, value, version)]).begin()
    if not written.done:
        return 0, False
    raised: dict[int, list[JobId]] = {}
    for job in found:
        waits_since = job.enqueued_at if job.due_at is None else job.due_at
        if job.priority < CRITICAL and waits_since < since:
            raised.setdefault(min(CRITICAL, job.priority + STEP), []).append(job.id)
    for priority, ids in sorted(raised.items()):
        meant = Filter(ids=ids, states=[State.QUEUED])
        yield from engine.alter(meant, Prioritise(priority), actor=None, limit=len(ids)).begin()
    return sum(len(ids) for ids in raised.values()), goes_on
