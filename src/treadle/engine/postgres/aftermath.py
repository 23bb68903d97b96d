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


def take_on(sql: Statements, ns: Collection[int], now: Now) -> Steps[None]:
    """Do what the ends of these jobs have left to be done, if they have."""
    left = yield Ask(sql("aftermath", "take-these"), {"ns": numbers(ns), "now": now})
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
