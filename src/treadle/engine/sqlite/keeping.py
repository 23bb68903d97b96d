"""The verbs that keep house: promote, rescue, prune."""

from collections.abc import Sequence
from typing import Any

from treadle.engine.alteration import LINES
from treadle.engine.contract import Now
from treadle.engine.moving import GATED, Ended, Finish, Held, Leaver, Moves
from treadle.engine.plan import Steps, plan
from treadle.engine.rows import to_text
from treadle.engine.session import Wake, topics
from treadle.engine.source import Source
from treadle.engine.sqlite.edges import any_open, finish, wake_children
from treadle.engine.sqlite.entering import Entry, enter
from treadle.engine.sqlite.leaving import call_next
from treadle.engine.sqlite.moves import write_moves
from treadle.engine.sqlite.rooms import look
from treadle.engine.sqlite.steps import Ask, Clock, Do
from treadle.model.filter import Retention
from treadle.model.job import Micros, Promoted, Rescued, Witness, micros
from treadle.model.state import State

_TRACES = (
    "untag",
    "forget",
    "forget-live",
    "forget-finished",
    "forget-attempts",
    "forget-dead",
    "forget-notes",
    "forget-flows",
    "forget-edges-up",
    "forget-edges-down",
)


_REST = ("old-keys", "rest", "rest-starts", "rest-tenants")


def forget(sql: Source, ns: Sequence[int], now: Micros, *, erase: bool) -> Steps[None]:
    """Remove every trace of jobs; their keys last as long as was asked for, unless they are erased."""
    text = to_text(list(ns))
    yield Do(sql("flows", "forget-keys"), {"ns": text, "now": now, "kept": not erase})
    for part in _TRACES:
        yield Do(sql("shared", part), {"ns": text})


class Keeping:
    """What every worker does now and then, whoever comes first."""

    sql: Source

    @plan
    def promote(self, *, limit: int = 1000, now: Now = None) -> Steps[Promoted]:
        """Queue what is due and expire what missed its start-by deadline, `limit` of each."""
        wall: Micros = (yield Clock(now)).wall
        late = yield Ask(self.sql("promote", "late"), {"now": wall, "take": limit})
        ended = [Ended(n, job, State.EXPIRED) for n, job, _ in late]
        if ended:
            yield from finish(self.sql, [Finish(each.n, State.EXPIRED) for each in ended], wall)
        due = yield Ask(self.sql("promote", "due"), {"now": wall, "take": limit})
        if due:
            entries = [Entry(*row) for row in due]
            seqs = yield from enter(self.sql, entries)
            rows = [(entry.n, seq) for entry, seq in zip(entries, seqs, strict=True)]
            yield Do(self.sql("promote", "queue"), {"rows": to_text(rows)})
        if ended or due:
            yield Wake(topics((queue for _, queue, _, _ in due), (each.id for each in ended)))
        if ended and (yield from any_open(self.sql))[0]:
            yield from wake_children(self.sql, ended, wall)
        yield from call_next(self.sql, [Leaver(n, State.EXPIRED) for n, _, flow in late if flow == GATED], wall)
        freed = yield from look(self.sql, limit, wall)
        [moments] = yield Ask(self.sql("promote", "next"))
        return Promoted(len(due) + freed, len(late), min((each for each in moments if each is not None), default=None))

    @plan
    def rescue(self, witnesses: Sequence[Witness] = (), *, delay: float = 1.0, now: Now = None) -> Steps[list[Rescued]]:
        """Take back every job of leases that ran out or that a witness saw end, and remove those leases."""
        clock = yield Clock(now)
        wall: Micros = clock.wall
        seen = {each.lease: each for each in witnesses}
        leases = yield Ask(
            self.sql("rescue", "gone"),
            {
                "given": clock.given,
                "wall": wall,
                "boot": clock.boot,
                "up": clock.up,
                "witnessed": to_text(list(seen)),
            },
        )
        if not leases:
            return []
        ks = to_text([k for k, _, _ in leases])
        rows = yield Ask(self.sql("rescue", "jobs"), {"ks": ks})
        moves = Moves(wall, "")
        named = {k: (lease, name) for k, lease, name in leases}
        rescued: list[Rescued] = []
        for *columns, k in rows:
            job = Held(*columns)
            lease, moves.worker = named[k]
            state = moves.lost(job, seen.get(lease), delay)
            rescued.append(Rescued(job.id, job.attempt, lease, state))
        yield from write_moves(self.sql, moves)
        yield Do(self.sql("rescue", "remove"), {"ks": ks})
        if moves.ended or moves.queues:
            yield Wake(topics(moves.queues, (each.id for each in moves.ended)))
        if moves.ended:
            yield from wake_children(self.sql, moves.ended, wall)
        yield from call_next(self.sql, moves.leavers, wall)
        return rescued

    @plan
    def prune(self, retention: Retention, *, limit: int = 1000, now: Now = None) -> Steps[int]:
        """Delete finished jobs older or more than `retention` allows, `limit` at most; returns how many."""
        wall: Micros = (yield Clock(now)).wall
        ns: list[int] = []
        if retention.completed_count is not None:
            rows = yield Ask(self.sql("prune", "many"))
            excess = rows[0][0] - retention.completed_count
            if excess > 0:
                ns += yield from self._forget("many-old", {"excess": excess, "take": limit}, wall)
        ages = (
            (State.COMPLETED, retention.completed),
            (State.CANCELLED, retention.cancelled),
            (State.EXPIRED, retention.expired),
            (State.DEAD, retention.dead),
        )
        for state, age in ages:
            if age is not None and len(ns) < limit:
                part = "dead" if state is State.DEAD else "old"
                values = {"state": state, "before": wall - micros(age), "take": limit - len(ns)}
                ns += yield from self._forget(part, values, wall)
        if retention.audit is not None:
            yield Do(self.sql("prune", "audit"), {"before": wall - micros(retention.audit), "take": LINES * limit})
        for part in _REST:
            yield Do(self.sql("flows", part), {"now": wall})
        return len(ns)

    def _forget(self, part: str, values: dict[str, Any], now: Micros) -> Steps[list[int]]:
        ns = [n for (n,) in (yield Ask(self.sql("prune", part), values))]
        if ns:
            yield from forget(self.sql, ns, now, erase=False)
        return ns
