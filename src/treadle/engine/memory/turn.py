"""One verb's turn at the tables: the moment it happens at, what it ended, and whom it will wake."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from treadle.engine.admission import WHOLE, Key, weights
from treadle.engine.memory.row import Row
from treadle.engine.memory.tables import Holding, Tables
from treadle.engine.ranking import Standing
from treadle.model.job import JobId, LeaseId, Micros, micros
from treadle.model.record import Space
from treadle.model.state import State


class Moment(NamedTuple):
    """When a verb happens: `now` by the wall clock, `tick` by the steady one.

    `named` is true when a caller named the time; then leases are judged by that time alone.
    """

    now: Micros
    tick: int
    named: bool


@dataclass(slots=True, frozen=True)
class Do:
    """The one kind of step this engine has: a function of a turn, at the store's moment or a named one."""

    verb: Callable[["Turn"], Any]
    now: Micros | None


@dataclass(slots=True)
class Turn:
    """What a verb works with. It changes the tables; the session commits and wakes.

    `freed` counts the slots that came free under each key, `moved` names the lines that somebody left.
    """

    tables: Tables
    moment: Moment
    topics: set[str] = field(default_factory=set[str])
    ended: list[Row] = field(default_factory=list[Row])
    freed: dict[Key, int] = field(default_factory=dict[Key, int])
    moved: set[str] = field(default_factory=set[str])

    @property
    def now(self) -> Micros:
        return self.moment.now

    def after(self, seconds: float) -> Micros:
        """The moment that many seconds from now."""
        return self.moment.now + micros(seconds)

    def remaining(self, holding: Holding) -> int:
        """Microseconds until a lease ends; zero and less when it has run out."""
        if self.moment.named:
            return holding.ends_at - self.moment.now
        return holding.ends_tick - self.moment.tick

    def holds(self, lease: LeaseId) -> bool:
        """True while the lease is known and has not run out."""
        holding = self.tables.leases.get(lease)
        return holding is not None and self.remaining(holding) > 0

    def worker_of(self, lease: LeaseId) -> str:
        """The name of the worker that holds a lease."""
        return self.tables.leases[lease].worker.name

    def queue(self, row: Row) -> Row:
        """Let the row in at the back of its priority, or where its tenant's turn is, and wake who serves the queue."""
        self.topics.add(f"queue:{row.queue}")
        number = self.tables.next_seq()
        if row.ordering is not None and row.place is None:
            row = replace(row, place=number)
        return self.tables.put_job(replace(row, state=State.QUEUED, seq=self._seq(row, number)))

    def _seq(self, row: Row, number: int) -> int:
        at = (row.queue, row.priority)
        lasts = self.tables.lasts.get(at, {})
        if row.fair is None and not lasts:
            return number
        record = self.tables.records.get((Space.FAIR, row.queue))
        weighed = weights(None if record is None else record.value)
        standing = Standing(*self.tables.ends(*at), dict(lasts), bool(lasts), weighed)
        seq = standing.enter(row.fair, number)
        self.tables.put_lasts(*at, standing.lasts)
        return seq

    def enter(self, row: Row) -> Row:
        """Queue the row if it is due, else keep it for its time."""
        if row.due_at is None or row.due_at <= self.now:
            return self.queue(row)
        return self.tables.put_job(replace(row, state=State.SCHEDULED))

    def end(self, row: Row, state: State, reason: str | None = None) -> Row:
        """End the row for good, and remember to settle its children."""
        self.topics.add(f"job:{row.id}")
        row = replace(
            row, state=state, reason=reason, finished_at=self.now, suspect=False, waits_for=frozenset(), parked_at=None
        )
        row = self.leave_line(row)
        self.ended.append(self.tables.put_job(row))
        return row

    def leave_line(self, row: Row) -> Row:
        """Give up the place of a row that has ended, unless nothing may pass it."""
        if row.ordering is None or row.place is None or row.keeps_place:
            return row
        self.moved.add(row.ordering.key)
        return replace(row, place=None)

    def free_slots(self, row: Row) -> None:
        """Note that a running row gives back what it held."""
        for hold in row.holds:
            for key in ((hold.limit, hold.key), (hold.limit, WHOLE)):
                self.freed[key] = self.freed.get(key, 0) + 1

    def oldest_first(self, ids: set[JobId]) -> list[Row]:
        """The rows of these jobs, by age."""
        return sorted((self.tables.jobs[each] for each in ids), key=lambda row: row.age)
