"""The operating verbs: alter, find, count, leases, held."""

from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any

from treadle.engine.admission import WHOLE
from treadle.engine.contract import Now
from treadle.engine.plan import Steps, plan
from treadle.engine.rows import to_attempts, to_claimed, to_holds, to_job, to_kin, to_notes, to_parked, to_text, to_worker
from treadle.engine.source import Source
from treadle.engine.sqlite.altering import SqliteAlteration
from treadle.engine.sqlite.steps import Ask, Clock, Instant
from treadle.model.filter import Altered, Axis, Change, Count, Filter, Order, Page
from treadle.model.flow import Gate, Ordering
from treadle.model.job import Claimed, Job, Lease, LeaseId
from treadle.model.state import FINAL, LIVE, State

_LAST = (1 << 63) - 1
_FEW = 50_000
_COLUMN = {Axis.STATE: 0, Axis.QUEUE: 1, Axis.TASK: 2, Axis.STATUS: 3}
_NARROW = frozenset({"states", "queues", "tasks"})
"""The fields of a filter that the short way of counting knows."""


def _texts(values: Sequence[str] | None) -> str | None:
    return None if values is None else to_text(list(values))


def _values(where: Filter) -> dict[str, Any]:
    return {
        "ids": _texts(where.ids),
        "states": _texts(where.states),
        "queues": _texts(where.queues),
        "tasks": _texts(where.tasks),
        "lease": where.lease,
        "tag": where.tag,
        "key": where.key,
        "status": where.status,
        "fingerprint": where.fingerprint,
        "enqueued_before": _LAST if where.enqueued_before is None else where.enqueued_before,
        "enqueued_after": -1 if where.enqueued_after is None else where.enqueued_after,
        "finished_before": where.finished_before,
    }


def _source(where: Filter) -> tuple[str, str]:
    """The part that drives a question, and how it treats the key: the narrowest set that holds every answer."""
    if where.ids is not None:
        return "from-ids", "key-any"
    if where.tag is not None:
        return "from-tag", "key-any"
    if where.key is not None:
        return "from-key", "key-is"
    if where.status is not None or where.fingerprint is not None:
        return "from-dead", "key-any"
    if where.lease is not None:
        return "from-live", "key-any"
    if where.states is not None:
        if LIVE.issuperset(where.states):
            return "from-live", "key-any"
        if FINAL.issuperset(where.states):
            return "from-ended", "key-any"
    return "from-all", "key-any"


class Operating:
    """What an operator asks and changes."""

    sql: Source

    @plan
    def alter(
        self, where: Filter, change: Change, *, actor: str | None, limit: int = 1000, now: Now = None
    ) -> Steps[list[Altered]]:
        """Apply one change to up to `limit` jobs, oldest first, and write the audit line in the same step."""
        clock: Instant = yield Clock(now)
        values = _values(where) | {"at": -1, "take": limit}
        source, key = yield from self._cheapest(where, values)
        rows = yield Ask(self.sql("find", "altered", source, "matching", key, "oldest"), values)
        return (yield from SqliteAlteration(self.sql, change, actor, clock.wall).apply(rows))

    @plan
    def find(self, where: Filter, page: Page) -> Steps[list[Job]]:
        """Jobs as they are now, live and finished alike."""
        newest = page.order is Order.NEWEST
        values = _values(where) | {"at": _LAST if newest else -1, "take": page.limit}
        if page.after is not None:
            rows = yield Ask(self.sql("find", "place"), {"id": page.after})
            if not rows:
                return []
            values["at"] = rows[0][0]
        source, key = yield from self._cheapest(where, values)
        rows = yield Ask(self.sql("find", "numbers", source, "matching", key, page.order), values)
        if not rows:
            return []
        ns = {"ns": to_text([n for (n,) in rows])}
        rows = yield Ask(self.sql("find", "jobs"), ns)
        jobs = {row[0]: to_job(row[1:]) for row in rows}
        if page.details:
            attempts = to_attempts((yield Ask(self.sql("find", "attempts"), ns)))
            parents = to_kin((yield Ask(self.sql("find", "parents"), ns)))
            children = to_kin((yield Ask(self.sql("find", "children"), ns)))
            notes = to_notes((yield Ask(self.sql("find", "notes"), ns)))
            flows = {n: rest for n, *rest in (yield Ask(self.sql("find", "flows"), ns))}
            for n, (holds, line, stop, tenant) in flows.items():
                jobs[n].holds = to_holds(holds)
                jobs[n].ordering = None if line is None else Ordering(line, bool(stop))
                jobs[n].fair = tenant
            for n, *room in (yield Ask(self.sql("find", "parked"), ns)):
                jobs[n].parked = to_parked(room)
            for n, job in jobs.items():
                job.attempts = attempts.get(n, ())
                job.parents = parents.get(n, ())
                job.children = children.get(n, ())
                job.notes = notes.get(n, {})
        return list(jobs.values())

    @plan
    def count(self, where: Filter, by: Sequence[Axis] = (Axis.STATE,)) -> Steps[list[Count]]:
        """How many jobs there are, by the axes asked for, sorted by key (None first). No axis answers one total, even 0."""
        values = _values(where) | {f"by_{axis}": axis in by for axis in Axis}
        told = {field.name for field in fields(where) if getattr(where, field.name) is not None}
        if Axis.STATUS not in by and told <= _NARROW:
            rows = (yield Ask(self.sql("count", "live"), values)) + (yield Ask(self.sql("count", "finished"), values))
        else:
            source, key = _source(where)
            head, tail = self.sql("count", "groups"), self.sql("count", "grouped")
            rows = yield Ask(f"{head}\n{self.sql('find', source, 'matching', key)}\n{tail}", values)
        counts = _merged(tuple(row[_COLUMN[axis]] for axis in by) + row[4:] for row in rows)
        if not by and not counts:
            return [Count((), 0, None)]
        return sorted(counts, key=lambda each: [(value is not None, value or "") for value in each.key])

    def _cheapest(self, where: Filter, values: dict[str, Any]) -> Steps[tuple[str, str]]:
        """The source for a sorted question: a set small enough to sort, else all jobs in order of age."""
        source, key = _source(where)
        if source == "from-live" and where.states is not None and any(state is not State.RUNNING for state in where.states):
            rows = yield Ask(self.sql("find", "few-live"), {"few": _FEW})
            source = source if rows[0][0] else "from-all"
        elif source == "from-ended":
            rows = yield Ask(self.sql("find", "few-ended"), {"few": _FEW, "states": values["states"]})
            source = source if rows[0][0] else "from-all"
        return source, key

    @plan
    def leases(self, *, now: Now = None) -> Steps[list[Lease]]:
        """Every lease not yet removed, by (`started_at`, `id`): which workers live, and what they know and hold."""
        clock: Instant = yield Clock(now)
        rows = yield Ask(self.sql("leases", "all"))
        running = dict((yield Ask(self.sql("leases", "running")))) if rows else {}
        answer: list[Lease] = []
        for k, lease, name, host, pid, queues, tasks, slots, started_at, boot, expires_up, expires_at in rows:
            if clock.given:
                expires_in = (expires_at - clock.wall) / 1e6
            elif boot == clock.boot:
                expires_in = (expires_up - clock.up) / 1e6
            else:
                expires_in = min(expires_at - clock.wall, -1) / 1e6
            worker = to_worker(name, host, pid, queues, tasks, slots)
            answer.append(Lease(lease, worker, started_at, expires_in, running.get(k, 0)))
        return answer

    @plan
    def gates(self, limits: Sequence[str] | None = None, *, limit: int = 1000) -> Steps[list[Gate]]:
        """The keys of limits (those named, or all) at which jobs run or are parked, by (limit, key), `limit` at most."""
        rows = yield Ask(self.sql("flows", "gates"), {"names": _texts(limits), "take": limit})
        return [Gate(name, None if key == WHOLE else key, *rest) for name, key, *rest in rows]

    @plan
    def held(self, lease: LeaseId) -> Steps[list[Claimed]]:
        """What runs under a lease, oldest first, as `claim` handed it out."""
        rows = yield Ask(self.sql("leases", "held"), {"lease": lease})
        return to_claimed(rows[0][0])


def _merged(rows: Iterable[tuple[Any, ...]]) -> list[Count]:
    """Counts from rows of (key..., count, oldest), in which a key may come more than once."""
    found: dict[tuple[str | None, ...], Count] = {}
    for *key, count, oldest in rows:
        if count:
            name = tuple(key)
            before = found.get(name, Count(name, 0, oldest))
            found[name] = Count(name, before.count + count, min(oldest, before.oldest))
    return list(found.values())
