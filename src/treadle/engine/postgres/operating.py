"""The operating verbs: alter, find, count, leases, held, gates."""

from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any

from treadle.engine.admission import WHOLE
from treadle.engine.contract import Now
from treadle.engine.plan import Steps
from treadle.engine.postgres.altering import PostgresAlteration
from treadle.engine.postgres.statements import Statements
from treadle.engine.postgres.steps import Aside, Ask, Asks, Do, Later, Rows, columns, numbers, texts, verb
from treadle.engine.rows import to_attempts, to_holds, to_job, to_kin, to_notes, to_parked, to_worker
from treadle.model.filter import Altered, Axis, Change, Count, Filter, Order, Page, Replay
from treadle.model.flow import Gate, Ordering
from treadle.model.job import Claimed, Job, Lease, LeaseId
from treadle.model.state import FINAL, LIVE, State

_LAST = (1 << 63) - 1
_FEW = 50_000
_COLUMN = {Axis.STATE: 0, Axis.QUEUE: 1, Axis.TASK: 2, Axis.STATUS: 3}
_LISTS = frozenset({"ids", "states", "queues", "tasks"})


def _values(where: Filter) -> dict[str, Any]:
    """The fields of a filter as parameters; lists as arrays."""
    values: dict[str, Any] = {}
    for field in fields(where):
        value: Any = getattr(where, field.name)
        values[field.name] = texts(value) if value is not None and field.name in _LISTS else value
    return values


def _filters(where: Filter) -> list[str]:
    """The parts of `find.sql` for the fields that are set. Ids need none: a source has seen to them.

    To look each of 1,000 jobs up among 1,000 ids once more took 300 ms, and 5 s where the plan was made on empty tables.
    """
    told = [field.name for field in fields(where) if getattr(where, field.name) is not None and field.name != "ids"]
    return [f"by-{name}".replace("_", "-") for name in told]


def _source(where: Filter) -> str:
    """The part that drives a question: the narrowest set that holds every answer."""
    if where.ids is not None:
        return "from-ids"
    if where.tag is not None:
        return "from-tag"
    if where.key is not None:
        return "from-key"
    if where.status is not None or where.fingerprint is not None:
        return "from-dead"
    if where.lease is not None:
        return "from-live"
    if where.states is not None:
        if LIVE.issuperset(where.states):
            return "from-live"
        if FINAL.issuperset(where.states):
            return "from-ended"
    return "from-all"


class Operating:
    """What an operator asks and changes."""

    sql: Statements

    @verb
    def alter(
        self, where: Filter, change: Change, *, actor: str | None, limit: int = 1000, now: Now = None
    ) -> Steps[list[Altered]]:
        """Apply one change to up to `limit` jobs, oldest first, and write the audit line in the same step."""
        values = _values(where) | {"at": -1, "take": limit}
        source = yield from self._cheapest(where, values)
        rows = yield Ask(self.sql("find", "numbers", source, "matching", *_filters(where), "oldest"), values)
        if not rows:
            return []
        # Between the question and the locks a job may have moved on: what counts is how it stands once it stands still.
        values["ns"] = numbers([n for (n,) in rows])
        asks = [
            Ask(self.sql("alter", "hold-live"), values),
            Ask(self.sql("alter", "hold-finished"), values),
            Ask(self.sql("alter", "hold-live"), values),
            Ask(self.sql("shared", "clock"), {"now": now}),
        ]
        if isinstance(change, Replay):
            asks.insert(0, Ask(self.sql("alter", "hold-keys"), values))
        *held, _, _, _, clock = yield Asks(asks)
        names = [("unique", key) for rows in held for (key,) in rows]
        rows = yield Ask(self.sql("find", "altered", "from-all", "matching", *_filters(where), "by-ns", "oldest"), values)
        answers = yield from PostgresAlteration(self.sql, change, actor, clock[0][0], keyed=bool(names)).apply(rows)
        if names:
            yield Do(self.sql("flows", "drop-keys"), columns(("kind", "key"), names))
        return answers

    @verb
    def find(self, where: Filter, page: Page) -> Steps[list[Job]]:
        """Jobs as they are now, live and finished alike."""
        newest = page.order is Order.NEWEST
        values = _values(where) | {"at": _LAST if newest else -1, "take": page.limit}
        if page.after is not None:
            rows = yield Ask(self.sql("find", "place"), {"id": page.after})
            if not rows:
                return []
            values["at"] = rows[0][0]
        source = yield from self._cheapest(where, values)
        rows = yield Ask(self.sql("find", "numbers", source, "matching", *_filters(where), page.order), values)
        if not rows:
            return []
        ns = {"ns": numbers([n for (n,) in rows])}
        parts = ("jobs", "attempts", "parents", "children", "notes", "flows", "parked") if page.details else ("jobs",)
        rows, *details = yield Asks([Ask(self.sql("find", part), ns) for part in parts])
        jobs = {row[0]: to_job(row[1:]) for row in rows}
        if details:
            attempts, notes = to_attempts(details[0]), to_notes(details[3])
            parents, children = to_kin(details[1]), to_kin(details[2])
            for n, holds, line, stop, tenant in details[4]:
                jobs[n].holds = to_holds(holds)
                jobs[n].ordering = None if line is None else Ordering(line, stop)
                jobs[n].fair = tenant
            for n, *room in details[5]:
                jobs[n].parked = to_parked(room)
            for n, job in jobs.items():
                job.attempts = attempts.get(n, ())
                job.parents = parents.get(n, ())
                job.children = children.get(n, ())
                job.notes = notes.get(n, {})
        return list(jobs.values())

    @verb
    def count(self, where: Filter, by: Sequence[Axis] = (Axis.STATE,)) -> Steps[list[Count]]:
        """How many jobs there are, by the axes asked for, sorted by key (None first). No axis answers one total, even 0."""
        values = _values(where) | {f"by_{axis}": axis in by for axis in Axis}
        find = ("find", _source(where), "matching", *_filters(where))
        statement = self.sql.joined(("count", "groups"), find, ("count", "grouped"))

        def answer(rows: list[Rows], _aside: Aside) -> list[Count]:
            counts = _merged(tuple(row[_COLUMN[axis]] for axis in by) + row[4:] for row in rows[0])
            if not by and not counts:
                return [Count((), 0, None)]
            return sorted(counts, key=lambda each: [(value is not None, value or "") for value in each.key])

        counted: list[Count] = yield Later([Ask(statement, values)], answer)
        return counted

    def _cheapest(self, where: Filter, values: dict[str, Any]) -> Steps[str]:
        """The source for a sorted question: a set small enough to sort, else all jobs in order of age."""
        source = _source(where)
        if source == "from-live" and where.states is not None and any(state is not State.RUNNING for state in where.states):
            rows = yield Ask(self.sql("find", "few-live"), {"few": _FEW})
            return source if rows[0][0] else "from-all"
        if source == "from-ended":
            rows = yield Ask(self.sql("find", "few-ended"), {"few": _FEW, "states": values["states"]})
            return source if rows[0][0] else "from-all"
        return source

    @verb
    def leases(self, *, now: Now = None) -> Steps[list[Lease]]:
        """Every lease not yet removed, by (`started_at`, `id`): which workers live, and what they know and hold."""

        def answer(rows: list[Rows], _aside: Aside) -> list[Lease]:
            running: dict[int, int] = dict(rows[1])
            return [
                Lease(lease, to_worker(name, host, pid, queues, tasks, slots), started_at, left / 1e6, running.get(k, 0))
                for k, lease, name, host, pid, queues, tasks, slots, started_at, left in rows[0]
            ]

        leases: list[Lease] = yield Later(
            [Ask(self.sql("leases", "all"), {"now": now}), Ask(self.sql("leases", "running"))], answer
        )
        return leases

    @verb
    def held(self, lease: LeaseId) -> Steps[list[Claimed]]:
        """What runs under a lease, oldest first, as `claim` handed it out."""
        claimed: list[Claimed] = yield Later([Ask(self.sql("leases", "held"), {"lease": lease})], _claimed)
        return claimed

    @verb
    def gates(self, limits: Sequence[str] | None = None, *, limit: int = 1000) -> Steps[list[Gate]]:
        """The keys of limits (those named, or all) at which jobs run or are parked, by (limit, key), `limit` at most."""
        values = {"names": None if limits is None else texts(limits), "take": limit}

        def answer(rows: list[Rows], _aside: Aside) -> list[Gate]:
            return [Gate(name, None if key == WHOLE else key, *rest) for name, key, *rest in rows[0]]

        gates: list[Gate] = yield Later([Ask(self.sql("flows", "gates"), values)], answer)
        return gates


def _claimed(rows: list[Rows], _aside: Aside) -> list[Claimed]:
    return [Claimed._make(row) for row in rows[0]]


def _merged(rows: Iterable[tuple[Any, ...]]) -> list[Count]:
    """Counts from rows of (key..., count, oldest), in which a key may come more than once."""
    found: dict[tuple[str | None, ...], Count] = {}
    for *key, count, oldest in rows:
        if count:
            name = tuple(key)
            before = found.get(name, Count(name, 0, oldest))
            found[name] = Count(name, before.count + count, min(oldest, before.oldest))
    return list(found.values())
