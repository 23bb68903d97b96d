"""The verbs that keep house: promote, rescue, prune."""

from collections.abc import Sequence
from typing import Any

from treadle.engine.alteration import LINES
from treadle.engine.contract import Now
from treadle.engine.moving import GATED, Ended, Finish, Held, Leaver, Moves
from treadle.engine.plan import Steps
from treadle.engine.postgres.aftermath import ended_of, leavers_of, take_ask, take_on
from treadle.engine.postgres.edges import any_open, finish, wake_children
from treadle.engine.postgres.leaving import call_next, leave_asks
from treadle.engine.postgres.moves import write_moves
from treadle.engine.postgres.rooms import look
from treadle.engine.postgres.statements import Statements
from treadle.engine.postgres.steps import Aside, Ask, Asks, Do, Later, Rows, columns, numbers, texts, verb
from treadle.engine.session import Wake, topics
from treadle.model.filter import Retention
from treadle.model.job import Promoted, Rescued, Witness, micros
from treadle.model.state import State

_OLD = ("old-keys", "rest-starts", "rest-tenants")


class Keeping:
    """What every worker does now and then, whoever comes first."""

    sql: Statements

    @verb
    def promote(self, *, limit: int = 1000, now: Now = None) -> Steps[Promoted]:
        """Queue what is due and expire what missed its start-by deadline, `limit` of each."""
        values = {"now": now, "take": limit}
        following = Ask(self.sql("promote", "next"))
        asks = [Ask(self.sql("promote", "late"), values), Ask(self.sql("flows", "due"), values)]
        late, due, left = yield Asks([*asks, take_ask(self.sql, limit, now)])
        queueing = Ask(self.sql("promote", "queue"), values)
        if not late and not due and not left:

            def answer(rows: list[Rows], aside: Aside) -> Promoted:
                queued, [moments] = rows
                if queued:
                    aside.wake(Wake(topics({queue for (queue,) in queued})))
                return Promoted(len(queued), 0, _earliest(moments))

            promoted: Promoted = yield Later([queueing, following], answer)
            return promoted
        expired = [Ended(n, job, State.EXPIRED) for n, job, _, _ in late]
        if expired:
            yield from finish(self.sql, [Finish(each.n, State.EXPIRED) for each in expired], late[0][2])
        queued = yield queueing
        yield Wake(topics((queue for (queue,) in queued), (each.id for each in expired)))
        if late or left:
            wall = late[0][2] if late else left[0][3]
            if (yield from any_open(self.sql)):
                yield from wake_children(self.sql, [*expired, *ended_of(left)], wall)
            over = [Leaver(n, State.EXPIRED) for n, _, _, flow in late if flow == GATED]
            gone = leavers_of(left)
            if over or gone:
                told = yield Asks(leave_asks(self.sql, over, gone, ran=bool(gone)))
                yield from call_next(self.sql, [*over, *gone], wall, told)
            due = yield Ask(self.sql("flows", "due"), values)
        freed = (yield from look(self.sql, due, limit)) if due else 0
        [moments] = yield following
        return Promoted(len(queued) + freed, len(late), _earliest(moments))

    @verb
    def rescue(self, witnesses: Sequence[Witness] = (), *, delay: float = 1.0, now: Now = None) -> Steps[list[Rescued]]:
        """Take back every job of leases that ran out or that a witness saw end, and remove those leases."""
        seen = {each.lease: each for each in witnesses}
        leases = yield Ask(self.sql("rescue", "gone"), {"now": now, "witnessed": texts(seen)})
        if not leases:
            return []
        ks = numbers([k for k, _, _, _ in leases])
        rows = yield Ask(self.sql("rescue", "jobs"), {"ks": ks})
        wall = leases[0][3]
        moves = Moves(wall, "")
        named = {k: (lease, name) for k, lease, name, _ in leases}
        rescued: list[Rescued] = []
        for *held, k in rows:
            job = Held(*held)
            lease, moves.worker = named[k]
            state = moves.lost(job, seen.get(lease), delay)
            rescued.append(Rescued(job.id, job.attempt, lease, state))
        yield from write_moves(self.sql, moves)
        yield Do(self.sql("rescue", "remove"), {"ks": ks})
        if moves.ended or moves.queues:
            yield Wake(topics(moves.queues, (each.id for each in moves.ended)))
        if moves.ended and (yield from any_open(self.sql)):
            yield from wake_children(self.sql, moves.ended, wall)
        yield from call_next(self.sql, moves.leavers, wall)
        return rescued

    @verb
    def prune(self, retention: Retention, *, limit: int = 1000, now: Now = None) -> Steps[int]:
        """Delete finished jobs older or more than `retention` allows, `limit` at most; returns how many."""
        pruned = 0
        if retention.completed_count is not None:
            rows = yield Ask(self.sql("prune", "many"))
            excess = rows[0][0] - retention.completed_count
            if excess > 0:
                pruned += yield from self._forget("many-old", {"excess": excess, "take": limit, "now": now})
        ages = (
            (State.COMPLETED, retention.completed),
            (State.CANCELLED, retention.cancelled),
            (State.EXPIRED, retention.expired),
            (State.DEAD, retention.dead),
        )
        for state, age in ages:
            if age is not None and pruned < limit:
                part = "dead" if state is State.DEAD else "old"
                values = {"state": state, "age": micros(age), "now": now, "take": limit - pruned}
                pruned += yield from self._forget(part, values)
        if retention.audit is not None:
            yield Do(self.sql("prune", "audit"), {"age": micros(retention.audit), "now": now, "take": LINES * limit})
        resting = yield Ask(self.sql("flows", "resting"), {"now": now})
        if resting:
            yield Do(self.sql("flows", "rest"), columns(("name", "key"), resting) | {"now": now})
        for part in _OLD:
            yield Do(self.sql("flows", part), {"now": now})
        return pruned

    def _forget(self, part: str, values: dict[str, Any]) -> Steps[int]:
        locked = [n for (n,) in (yield Ask(self.sql("prune", part), values))]
        ns = [n for (n,) in (yield Ask(self.sql("prune", "childless"), {"ns": numbers(locked)}))] if locked else []
        if ns:
            yield from forget(self.sql, ns, values["now"], erase=False)
        return len(ns)


def forget(sql: Statements, ns: Sequence[int], now: Now, *, erase: bool) -> Steps[None]:
    """Remove every trace of jobs; their keys last as long as was asked for, unless they are erased."""
    yield from take_on(sql, ns, now, last=True)
    values = {"ns": numbers(ns), "now": now, "kept": not erase}
    yield Do(sql("flows", "forget-keys"), values)
    yield Do(sql("shared", "forget"), values)


def _earliest(moments: Sequence[int | None]) -> int | None:
    return min((each for each in moments if each is not None), default=None)
