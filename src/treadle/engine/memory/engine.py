"""The engine's door: each verb of the contract as a plan of one step."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from treadle.engine.contract import Now
from treadle.engine.memory import gating, housekeeping, looking, operating, producing, working
from treadle.engine.memory.turn import Do, Turn
from treadle.engine.plan import Steps, plan
from treadle.engine.session import Wake
from treadle.model.filter import Altered, Axis, Change, Count, Filter, Page, Retention
from treadle.model.flow import Gate
from treadle.model.job import (
    Claimed,
    Claims,
    Enqueued,
    Job,
    Lease,
    LeaseId,
    NewJob,
    Promoted,
    Renewal,
    Rescued,
    Want,
    Witness,
    WorkerInfo,
)
from treadle.model.outcome import Note, Settlement, Verdict
from treadle.model.record import Record, Space, Write, Written

R = TypeVar("R")


def _do(verb: Callable[[Turn], R], now: Now = None) -> Steps[R]:
    """One step at the tables, then the wakes it earned."""
    answer: R
    answer, topics = yield Do(verb, now)
    if topics:
        yield Wake(topics)
    return answer


class MemoryEngine:
    """The verbs over plain tables. See `treadle.engine.contract` for what each promises."""

    @plan
    def enqueue(self, jobs: Sequence[NewJob], *, now: Now = None) -> Steps[list[Enqueued]]:
        return (yield from _do(lambda turn: producing.enqueue(turn, jobs), now))

    @plan
    def claim(
        self,
        lease: LeaseId,
        wants: Sequence[Want],
        tasks: Sequence[str],
        *,
        suspects: int = 0,
        gated: int = 0,
        now: Now = None,
    ) -> Steps[Claims]:
        return (yield from _do(lambda turn: working.claim(turn, lease, wants, tasks, suspects, gated), now))

    @plan
    def settle(self, lease: LeaseId, settlements: Sequence[Settlement], *, now: Now = None) -> Steps[list[Verdict]]:
        return (yield from _do(lambda turn: working.settle(turn, lease, settlements), now))

    @plan
    def renew(
        self, lease: LeaseId, beat: int, length: float, *, worker: WorkerInfo | None = None, now: Now = None
    ) -> Steps[Renewal]:
        return (yield from _do(lambda turn: working.renew(turn, lease, beat, length, worker), now))

    @plan
    def note(self, lease: LeaseId, notes: Sequence[Note], *, now: Now = None) -> Steps[list[Verdict]]:
        return (yield from _do(lambda turn: working.note(turn, lease, notes), now))

    @plan
    def promote(self, *, limit: int = 1000, now: Now = None) -> Steps[Promoted]:
        return (yield from _do(lambda turn: housekeeping.promote(turn, limit), now))

    @plan
    def rescue(self, witnesses: Sequence[Witness] = (), *, delay: float = 1.0, now: Now = None) -> Steps[list[Rescued]]:
        return (yield from _do(lambda turn: housekeeping.rescue(turn, witnesses, delay), now))

    @plan
    def prune(self, retention: Retention, *, limit: int = 1000, now: Now = None) -> Steps[int]:
        return (yield from _do(lambda turn: housekeeping.prune(turn, retention, limit), now))

    @plan
    def alter(
        self, where: Filter, change: Change, *, actor: str | None, limit: int = 1000, now: Now = None
    ) -> Steps[list[Altered]]:
        return (yield from _do(lambda turn: operating.alter(turn, where, change, actor, limit), now))

    @plan
    def find(self, where: Filter, page: Page) -> Steps[list[Job]]:
        return (yield from _do(lambda turn: looking.find(turn, where, page)))

    @plan
    def count(self, where: Filter, by: Sequence[Axis] = (Axis.STATE,)) -> Steps[list[Count]]:
        return (yield from _do(lambda turn: looking.count(turn, where, by)))

    @plan
    def read(self, space: Space, keys: Sequence[str] | None = None) -> Steps[list[Record]]:
        return (yield from _do(lambda turn: looking.read(turn, space, keys)))

    @plan
    def write(self, writes: Sequence[Write], *, now: Now = None) -> Steps[list[Written]]:
        return (yield from _do(lambda turn: producing.write(turn, writes), now))

    @plan
    def leases(self, *, now: Now = None) -> Steps[list[Lease]]:
        return (yield from _do(looking.leases, now))

    @plan
    def gates(self, limits: Sequence[str] | None = None, *, limit: int = 1000) -> Steps[list[Gate]]:
        chosen = None if limits is None else frozenset(limits)
        return (yield from _do(lambda turn: gating.gates(turn, chosen, limit)))

    @plan
    def held(self, lease: LeaseId) -> Steps[list[Claimed]]:
        return (yield from _do(lambda turn: looking.held(turn, lease)))
