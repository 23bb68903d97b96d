"""What follows from a completion in a user's transaction, and is left to others.

Such a transaction stays open for as long as its user likes. Told there, the children of a job and whoever waits for its room
were locked until then, and every worker that came by waited with them.
"""

from collections.abc import Collection
from typing import cast

from treadle.engine.contract import Now
from treadle.engine.moving import Ended, Leaver
from treadle.engine.plan import Steps
from treadle.engine.postgres.edges import any_open, wake_children
from treadle.engine.postgres.leaving import call_next, leave_asks
from treadle.engine.postgres.statements import Statements
from treadle.engine.postgres.steps import Ask, Asks, Rows, numbers
from treadle.model.job import Micros
from treadle.model.state import State


def take_ask(sql: Statements, limit: int, now: Now) -> Ask:
    """What takes on the rest of so many ends, for `ended_of` and `leavers_of`."""
    return Ask(sql("aftermath", "take"), {"ns": None, "take": limit, "now": now})


def take_on(sql: Statements, ns: Collection[int], now: Now, *, last: bool = False) -> Steps[None]:
    """Do what the ends of these jobs have left to be done, if they have, and nobody else does it.

    `last`: the jobs are about to go, so that nobody can do it later; who does it now is waited for.
    """
    values = {"ns": numbers(ns), "take": len(ns), "now": now}
    left = yield Ask(sql("aftermath", "take-last" if last else "take"), values)
    if not left:
        return
    moment = cast("Micros", left[0][3])
    if (yield from any_open(sql)):
        yield from wake_children(sql, ended_of(left), moment)
    gated = leavers_of(left)
    if gated:
        told = yield Asks(leave_asks(sql, (), gated))
        yield from call_next(sql, gated, moment, told)


def ended_of(left: Rows) -> list[Ended]:
    """The jobs whose children are to be told."""
    return [Ended(n, job, State.COMPLETED) for n, job, _, _ in left]


def leavers_of(left: Rows) -> list[Leaver]:
    """The jobs that held room, or had a turn."""
    return [Leaver(n, State.COMPLETED) for n, _, gated, _ in left if gated]
