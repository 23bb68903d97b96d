"""The tables: jobs with the indices drawn from them, leases, records and the audit, and a journal that takes it all back."""

import itertools
from bisect import bisect_left, insort
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from treadle.engine.admission import WHOLE, Key
from treadle.engine.keying import Holding as KeyHolding
from treadle.engine.keying import Name
from treadle.engine.memory.row import Row
from treadle.model.job import Edge, JobId, LeaseId, Micros, WorkerInfo
from treadle.model.record import Record, Space
from treadle.model.state import State

Entry = tuple[int, int, int, JobId]


class Holding(NamedTuple):
    """A lease as stored: when it ends by the wall clock, for callers that name the time, and by the steady clock."""

    id: LeaseId
    worker: WorkerInfo
    started_at: Micros
    ends_at: Micros
    ends_tick: int


class Meter(NamedTuple):
    """What is remembered of one key of a limit beside the jobs; see `engine.admission.Room`."""

    tat: Micros = 0
    interval: int = 0
    closed_until: Micros = 0
    wakes_at: Micros | None = None
    log: tuple[tuple[Micros, int], ...] = ()


class AuditLine(NamedTuple):
    """Who changed which jobs, how and when."""

    at: Micros
    actor: str
    change: str
    jobs: tuple[JobId, ...]
    note: str | None


class Tables:
    """All that is stored. Rows are replaced through `put_*` and `drop_*` only, so that the indices and the journal follow."""

    def __init__(self) -> None:
        self.jobs: dict[JobId, Row] = {}
        self.leases: dict[LeaseId, Holding] = {}
        self.records: dict[tuple[Space, str], Record] = {}
        self.audit: list[AuditLine] = []
        self.ready: dict[str, list[Entry]] = {}
        self.waits: dict[str, list[Entry]] = {}
        self.due: list[Entry] = []
        self.deadlines: list[Entry] = []
        self.running: dict[LeaseId, set[JobId]] = {}
        self.children: dict[JobId, set[JobId]] = {}
        self.slots: dict[Key, set[JobId]] = {}
        self.parked: dict[Key, list[Entry]] = {}
        self.lines: dict[str, list[Entry]] = {}
        self.meters: dict[Key, Meter] = {}
        self.wakes: list[tuple[Micros, Key]] = []
        self.keys: dict[Name, KeyHolding] = {}
        self.lasts: dict[tuple[str, int], dict[str, int]] = {}
        self._seq = itertools.count(1)
        self._numbers = itertools.count(1)
        self._journal: list[Callable[[], Any]] = []
        self._depth = 0

    @contextmanager
    def transaction(self) -> Generator[None]:
        """Keep what the block does, or, when it raises, none of it. Blocks may be nested."""
        mark = len(self._journal)
        self._depth += 1
        try:
            yield
        except BaseException:
            while len(self._journal) > mark:
                self._journal.pop()()
            raise
        finally:
            self._depth -= 1
        if self._depth == 0:
            self._journal.clear()

    def next_seq(self) -> int:
        """The back of every queue. A number spent in a transaction that is taken back stays spent."""
        return next(self._seq)

    def next_number(self) -> int:
        """A number that no job ever had."""
        return next(self._numbers)

    def put_job(self, row: Row) -> Row:
        """Store a row in place of what has its id."""
        self._journal.append(partial(self._set_job, row.id, self.jobs.get(row.id)))
        self._set_job(row.id, row)
        return row

    def drop_job(self, job: JobId) -> None:
        """Remove a row, and the edges of its children that lead to it."""
        for each in sorted(self.children.get(job, ())):
            child = self.jobs[each]
            self.put_job(replace(child, edges=tuple(edge for edge in child.edges if edge.parent != job)))
        self._journal.append(partial(self._set_job, job, self.jobs[job]))
        self._set_job(job, None)

    def put_lease(self, holding: Holding) -> None:
        """Store a lease in place of what has its id."""
        self._put(self.leases, holding.id, holding)

    def drop_lease(self, lease: LeaseId) -> None:
        """Remove a lease."""
        self._put(self.leases, lease, None)

    def put_record(self, space: Space, key: str, record: Record | None) -> None:
        """Store a record, or remove it (None)."""
        self._put(self.records, (space, key), record)

    def put_meter(self, key: Key, meter: Meter | None) -> None:
        """Remember what became of a key of a limit, or forget it (None)."""
        self._journal.append(partial(self._set_meter, key, self.meters.get(key)))
        self._set_meter(key, meter)

    def put_key(self, name: Name, holding: KeyHolding | None) -> None:
        """Say which job has a unique or idempotency key, or forget it (None)."""
        self._put(self.keys, name, holding)

    def put_lasts(self, queue: str, priority: int, lasts: dict[str, int]) -> None:
        """Remember the last place of each tenant of a queue at one priority."""
        self._put(self.lasts, (queue, priority), lasts or None)

    def ends(self, queue: str, priority: int) -> tuple[int | None, int | None]:
        """The first and the last seq in a queue at one priority."""
        ready = self.ready.get(queue, [])
        start = bisect_left(ready, (-priority,))
        end = bisect_left(ready, (-priority + 1,))
        return (ready[start][1], ready[end - 1][1]) if start < end else (None, None)

    def _put(self, table: dict[Any, Any], key: Any, value: Any) -> None:
        self._journal.append(partial(_set, table, key, table.get(key)))
        _set(table, key, value)

    def _set_meter(self, key: Key, meter: Meter | None) -> None:
        old = self.meters.get(key)
        if old is not None and old.wakes_at is not None:
            self.wakes.pop(bisect_left(self.wakes, (old.wakes_at, key)))
        _set(self.meters, key, meter)
        if meter is not None and meter.wakes_at is not None:
            insort(self.wakes, (meter.wakes_at, key))

    def put_audit(self, line: AuditLine) -> None:
        """Add a line to the audit."""
        self._journal.append(self.audit.pop)
        self.audit.append(line)

    def drop_audit(self, count: int) -> None:
        """Remove so many of the oldest lines of the audit."""
        gone = self.audit[:count]
        self._journal.append(lambda: self.audit.__setitem__(slice(0, 0), gone))
        del self.audit[:count]

    def _set_job(self, job: JobId, row: Row | None) -> None:
        old = self.jobs.get(job)
        if old is not None:
            self._leave(old)
        _set(self.jobs, job, row)
        if row is not None:
            self._enter(row)
        before, after = old.edges if old else (), row.edges if row else ()
        if before != after:
            self._forget_edges(job, before)
            self._learn_edges(job, after)

    def _enter(self, row: Row) -> None:
        for line, entry in self._places(row):
            insort(line, entry)
        if row.lease is not None:
            self.running.setdefault(row.lease, set()).add(row.id)
            for key in _slots(row):
                self.slots.setdefault(key, set()).add(row.id)

    def _leave(self, row: Row) -> None:
        for line, entry in self._places(row):
            line.pop(bisect_left(line, entry))
        if row.lease is not None:
            _discard(self.running, row.lease, row.id)
            for key in _slots(row):
                _discard(self.slots, key, row.id)

    def _places(self, row: Row) -> Iterator[tuple[list[Entry], Entry]]:
        """The sorted lists that hold this row, and where."""
        if row.state is State.QUEUED:
            yield self.ready.setdefault(row.queue, []), (-row.priority, row.seq, row.number, row.id)
            yield self.waits.setdefault(row.queue, []), (waits_since(row), row.number, 0, row.id)
        elif row.state in (State.SCHEDULED, State.RETRYING):
            assert row.due_at is not None
            yield self.due, (row.due_at, row.number, 0, row.id)
        elif row.state is State.BLOCKED and row.parked_at is not None:
            yield self.parked.setdefault(row.parked_at, []), (-row.priority, row.seq, row.number, row.id)
        if row.place is not None and row.ordering is not None:
            yield self.lines.setdefault(row.ordering.key, []), (row.place, row.number, 0, row.id)
        if row.start_by is not None and row.state in (State.QUEUED, State.SCHEDULED, State.BLOCKED):
            yield self.deadlines, (row.start_by, row.number, 0, row.id)

    def _learn_edges(self, job: JobId, edges: tuple[Edge, ...]) -> None:
        for edge in edges:
            self.children.setdefault(edge.parent, set()).add(job)

    def _forget_edges(self, job: JobId, edges: tuple[Edge, ...]) -> None:
        for edge in edges:
            _discard(self.children, edge.parent, job)


def waits_since(row: Row) -> Micros:
    """The moment from which a job waits: when it was due, or stored."""
    return row.enqueued_at if row.due_at is None else row.due_at


def _slots(row: Row) -> set[Key]:
    """The slots that a running row takes: under each key, and of the limit as a whole."""
    return {key for hold in row.holds for key in ((hold.limit, hold.key), (hold.limit, WHOLE))}


def _discard(sets: dict[Any, set[JobId]], key: Any, job: JobId) -> None:
    sets[key].discard(job)
    if not sets[key]:
        del sets[key]


def _set(table: dict[Any, Any], key: Any, value: Any) -> None:
    if value is None:
        table.pop(key, None)
    else:
        table[key] = value
