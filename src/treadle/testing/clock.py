"""A clock that stands still until it is turned, and an engine that goes by it."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Any

from treadle.app.options import EPOCH, micros
from treadle.engine.contract import Engine, Now
from treadle.engine.plan import Plan
from treadle.engine.session import Check, Session, Store, Waiter
from treadle.model.errors import InvalidTime
from treadle.model.filter import Altered, Axis, Change, Count, Filter, Page, Retention
from treadle.model.flow import Gate
from treadle.model.job import (
    Claimed,
    Claims,
    Enqueued,
    Job,
    Lease,
    LeaseId,
    Micros,
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
from treadle.policy.duration import Duration, seconds


class VirtualClock:
    """A moment that changes only when told to, and never backwards. Begins at the real time unless `start` is given."""

    def __init__(self, start: datetime | None = None) -> None:
        self._micros = micros(start or datetime.now(UTC))
        self._lock = Lock()

    def __repr__(self) -> str:
        return f"<VirtualClock {self.now.isoformat()}>"

    @property
    def now(self) -> datetime:
        """The moment, as an aware datetime in UTC."""
        return EPOCH + timedelta(microseconds=self._micros)

    @property
    def micros(self) -> Micros:
        """The moment, as the store counts it."""
        return self._micros

    def advance(self, duration: Duration) -> datetime:
        """Turn the clock on by a duration; returns the new moment."""
        with self._lock:
            self._micros += round(seconds(duration) * 1_000_000)
        return self.now

    def advance_to(self, moment: datetime) -> datetime:
        """Turn the clock on to a moment. Raises `InvalidTime` for one that has passed."""
        target = micros(moment)
        with self._lock:
            if target < self._micros:
                raise InvalidTime(
                    moment.isoformat(), f"the clock already shows {self.now.isoformat()}", "Time only goes forward."
                )
            self._micros = target
        return self.now


class ClockedEngine:
    """An engine whose every verb happens at the clock's moment, unless the caller names another."""

    def __init__(self, engine: Engine, clock: VirtualClock) -> None:
        self._engine = engine
        self._clock = clock

    def _at(self, now: Now) -> Micros:
        return self._clock.micros if now is None else now

    def enqueue(self, jobs: Sequence[NewJob], *, now: Now = None) -> Plan[list[Enqueued]]:
        """As the engine does, at the clock's moment; so with every verb below."""
        return self._engine.enqueue(jobs, now=self._at(now))

    def claim(
        self,
        lease: LeaseId,
        wants: Sequence[Want],
        tasks: Sequence[str],
        *,
        suspects: int = 0,
        gated: int = 0,
        now: Now = None,
    ) -> Plan[Claims]:
        return self._engine.claim(lease, wants, tasks, suspects=suspects, gated=gated, now=self._at(now))

    def settle(self, lease: LeaseId, settlements: Sequence[Settlement], *, now: Now = None) -> Plan[list[Verdict]]:
        return self._engine.settle(lease, settlements, now=self._at(now))

    def renew(
        self, lease: LeaseId, beat: int, length: float, *, worker: WorkerInfo | None = None, now: Now = None
    ) -> Plan[Renewal]:
        return self._engine.renew(lease, beat, length, worker=worker, now=self._at(now))

    def note(self, lease: LeaseId, notes: Sequence[Note], *, now: Now = None) -> Plan[list[Verdict]]:
        return self._engine.note(lease, notes, now=self._at(now))

    def promote(self, *, limit: int = 1000, now: Now = None) -> Plan[Promoted]:
        return self._engine.promote(limit=limit, now=self._at(now))

    def rescue(self, witnesses: Sequence[Witness] = (), *, delay: float = 1.0, now: Now = None) -> Plan[list[Rescued]]:
        return self._engine.rescue(witnesses, delay=delay, now=self._at(now))

    def prune(self, retention: Retention, *, limit: int = 1000, now: Now = None) -> Plan[int]:
        return self._engine.prune(retention, limit=limit, now=self._at(now))

    def alter(
        self, where: Filter, change: Change, *, actor: str | None, limit: int = 1000, now: Now = None
    ) -> Plan[list[Altered]]:
        return self._engine.alter(where, change, actor=actor, limit=limit, now=self._at(now))

    def find(self, where: Filter, page: Page) -> Plan[list[Job]]:
        return self._engine.find(where, page)

    def count(self, where: Filter, by: Sequence[Axis] = (Axis.STATE,)) -> Plan[list[Count]]:
        return self._engine.count(where, by)

    def read(self, space: Space, keys: Sequence[str] | None = None) -> Plan[list[Record]]:
        return self._engine.read(space, keys)

    def write(self, writes: Sequence[Write], *, now: Now = None) -> Plan[list[Written]]:
        return self._engine.write(writes, now=self._at(now))

    def leases(self, *, now: Now = None) -> Plan[list[Lease]]:
        return self._engine.leases(now=self._at(now))

    def held(self, lease: LeaseId) -> Plan[list[Claimed]]:
        return self._engine.held(lease)

    def gates(self, limits: Sequence[str] | None = None, *, limit: int = 1000) -> Plan[list[Gate]]:
        return self._engine.gates(limits, limit=limit)


class ClockedStore:
    """A store that goes by a virtual clock."""

    def __init__(self, store: Store, clock: VirtualClock) -> None:
        self._store = store
        self.clock = clock
        self.engine: Engine = ClockedEngine(store.engine, clock)

    def this_moment(self) -> Micros:
        """This moment, by the clock."""
        return self.clock.micros

    @property
    def location(self) -> str:
        """Where the data is."""
        return self._store.location

    @property
    def durability(self) -> str:
        """The durability class."""
        return self._store.durability

    @property
    def local(self) -> bool:
        """As the store underneath."""
        return self._store.local

    @property
    def abreast(self) -> bool:
        """As the store underneath."""
        return self._store.abreast

    @property
    def serial(self) -> bool:
        """As the store underneath."""
        return self._store.serial

    def session(self) -> Session:
        """A session of the store underneath: plans carry their own time."""
        return self._store.session()

    def borrow(self, connection: Any) -> Session:
        """A session inside the user's transaction."""
        return self._store.borrow(connection)

    def waiter(self, topics: Sequence[str]) -> Waiter:
        """A waiter, which goes by real time."""
        return self._store.waiter(topics)

    def migrate(self) -> list[str]:
        """Bring the schema up to date."""
        return self._store.migrate()

    def pending_migrations(self) -> list[tuple[str, str]]:
        """The migrations not applied yet."""
        return self._store.pending_migrations()

    def doctor(self) -> list[Check]:
        """Examine the store."""
        return self._store.doctor()

    def tend(self) -> str | None:
        """Do the upkeep that the store wants."""
        return self._store.tend()

    def guard_processes(self, count: int) -> None:
        """Raise when the store must not be served by so many processes."""
        self._store.guard_processes(count)

    def close(self) -> None:
        """Close the store."""
        self._store.close()
