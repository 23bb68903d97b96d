"""The verbs that only look: `find`, `count`, `read`, `leases`, `held`."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from treadle.engine.admission import WHOLE
from treadle.engine.memory.row import Row, claimed, shown
from treadle.engine.memory.tables import Tables, waits_since
from treadle.engine.memory.turn import Turn
from treadle.model.filter import Axis, Count, Filter, Order, Page
from treadle.model.flow import Parked
from treadle.model.job import Claimed, Job, JobId, Lease, LeaseId, Micros, OnDead
from treadle.model.record import Record, Space
from treadle.model.state import BlockedOn, State


def matching(tables: Tables, where: Filter) -> list[Row]:
    """The rows meant by a filter, oldest first."""
    return sorted((row for row in _candidates(tables, where) if _matches(row, where)), key=lambda row: row.age)


def _candidates(tables: Tables, where: Filter) -> Iterable[Row]:
    if where.ids is not None:
        return [tables.jobs[each] for each in set(where.ids) if each in tables.jobs]
    return tables.jobs.values()


def _matches(row: Row, where: Filter) -> bool:
    """Every field that is set must hold; `ids` is looked at by the caller."""
    status = None if row.dead is None else row.dead.status
    fingerprint = None if row.dead is None else row.dead.fingerprint
    return (
        (where.states is None or row.state in where.states)
        and (where.queues is None or row.queue in where.queues)
        and (where.tasks is None or row.task in where.tasks)
        and (where.lease is None or row.lease == where.lease)
        and (where.tag is None or where.tag in row.tags)
        and (where.key is None or row.key == where.key)
        and (where.status is None or status == where.status)
        and (where.fingerprint is None or fingerprint == where.fingerprint)
        and (where.enqueued_before is None or row.enqueued_at < where.enqueued_before)
        and (where.enqueued_after is None or row.enqueued_at > where.enqueued_after)
        and (where.finished_before is None or (row.finished_at is not None and row.finished_at < where.finished_before))
    )


def find(turn: Turn, where: Filter, page: Page) -> list[Job]:
    """Jobs as they are now, one page of them."""
    rows = matching(turn.tables, where)
    if page.after is not None:
        last = turn.tables.jobs.get(page.after)
        if last is None:
            return []
        newer = page.order is Order.OLDEST
        rows = [row for row in rows if row.age != last.age and (row.age > last.age) is newer]
    if page.order is Order.NEWEST:
        rows.reverse()
    return [_shown(turn, row, details=page.details) for row in rows[: page.limit]]


def _shown(turn: Turn, row: Row, *, details: bool) -> Job:
    job = shown(row, None if row.lease is None else turn.worker_of(row.lease))
    if not details:
        return job
    parents = {edge.parent for edge in row.edges}
    children = turn.tables.children.get(row.id, set())
    return replace(
        job,
        attempts=row.attempts,
        parents=tuple((parent.id, _edge(row, parent.id), parent.state) for parent in turn.oldest_first(parents)),
        children=tuple((child.id, _edge(child, row.id), child.state) for child in turn.oldest_first(children)),
        holds=row.holds,
        ordering=row.ordering,
        fair=row.fair,
        parked=_parked(turn, row),
        notes={f"{kind}/{name}" if name else str(kind): value for (kind, name), value in row.notes.items()},
    )


def _parked(turn: Turn, row: Row) -> Parked | None:
    if row.state is not State.BLOCKED or row.blocked_on is BlockedOn.PARENTS:
        return None
    if row.parked_at is not None:
        limit, key = row.parked_at
        return Parked(limit, None if key == WHOLE else key)
    assert row.ordering is not None
    first = turn.tables.jobs[turn.tables.lines[row.ordering.key][0][-1]]
    return Parked() if first is row else Parked(behind=first.id, state=first.state)


def _edge(child: Row, parent: JobId) -> OnDead:
    return next(edge.on_dead for edge in child.edges if edge.parent == parent)


AXES: dict[Axis, Callable[[Row], str | None]] = {
    Axis.STATE: lambda row: row.state.value,
    Axis.QUEUE: lambda row: row.queue,
    Axis.TASK: lambda row: row.task,
    Axis.STATUS: lambda row: None if row.dead is None else row.dead.status,
}


READY = Filter(states=(State.QUEUED,))


def count(turn: Turn, where: Filter, by: Sequence[Axis]) -> list[Count]:
    """How many jobs there are, by the axes asked for."""
    waits: defaultdict[tuple[str | None, ...], list[Micros]] = defaultdict(list)
    if not by:
        waits[()] = []
    if where == READY and tuple(by) == (Axis.QUEUE,):
        # What a drain asks after each batch: looking at every job each time made 10,000 of 50,000 take minutes.
        return [Count((queue,), len(wait), wait[0][0]) for queue, wait in sorted(turn.tables.waits.items()) if wait]
    for row in (row for row in _candidates(turn.tables, where) if _matches(row, where)):
        waits[tuple(AXES[axis](row) for axis in by)].append(waits_since(row))
    in_order = sorted(waits.items(), key=lambda item: tuple((part is not None, part or "") for part in item[0]))
    return [Count(key, len(since), min(since, default=None)) for key, since in in_order]


def read(turn: Turn, space: Space, keys: Sequence[str] | None) -> list[Record]:
    """Records of a space, sorted by key."""
    mine = [record for (where, _), record in turn.tables.records.items() if where is space]
    return sorted((record for record in mine if keys is None or record.key in keys), key=lambda record: record.key)


def held(turn: Turn, lease: LeaseId) -> list[Claimed]:
    """What runs under a lease, oldest first."""
    return [claimed(row) for row in turn.oldest_first(turn.tables.running.get(lease, set()))]


def leases(turn: Turn) -> list[Lease]:
    """Every lease not yet removed."""
    tables = turn.tables
    return [
        Lease(
            holding.id,
            holding.worker,
            holding.started_at,
            turn.remaining(holding) / 1_000_000,
            len(tables.running.get(holding.id, ())),
        )
        for holding in sorted(tables.leases.values(), key=lambda holding: (holding.started_at, holding.id))
    ]
