"""What jobs leave behind when their attempt or they themselves end: slots, and places in lines, for whoever is next."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from treadle.engine.admission import WHOLE, Key
from treadle.engine.moving import Leaver
from treadle.engine.plan import Steps
from treadle.engine.postgres.rooms import call, come_back, hold_asks, to_rooms, to_rule, write_rooms
from treadle.engine.postgres.statements import Statements
from treadle.engine.postgres.steps import Ask, Asks, Do, Rows, columns, numbers
from treadle.model.flow import Rule
from treadle.model.job import Micros
from treadle.model.state import State


def leave_asks(sql: Statements, leavers: Iterable[Leaver], hoped: Iterable[Leaver] = (), *, ran: bool = True) -> list[Ask]:
    """What takes from these jobs all that they held: the answers are for `call_next`.

    Of those `hoped` to have left their worker by then, those leave that are not live any more. Who never `ran` held nothing.
    """
    sure = {each.n: each.state for each in leavers}
    states = sure | {each.n: each.state for each in hoped}
    over = numbers([n for n, state in states.items() if state is not None])
    dead = numbers([n for n, state in states.items() if state is State.DEAD])
    ns: dict[str, Any] = {"ns": numbers(states), "sure": numbers(sure)}
    return [
        Ask(sql("flows", "ends"), {"ns": over}),
        Ask(sql("flows", "unplace"), {"ns": over, "dead": dead, "sure": ns["sure"]}),
        Ask(sql("flows", "first"), {"ns": over}),
        Ask(sql("flows", "let-go"), ns),
        Ask(sql("flows", "unpark"), {"ns": ns["sure"]}),
        Ask(sql("flows", "freed"), ns if ran else {"ns": "{}", "sure": "{}"}),
    ]


def call_next(
    sql: Statements, leavers: Sequence[Leaver], now: Micros, answers: Sequence[Rows] | None = None, *, ran: bool = True
) -> Steps[None]:
    """Call whom the ends of these jobs made room for; `answers` are those of `leave_asks`, if it was asked before."""
    if not leavers:
        return
    told: Sequence[Rows] = (yield Asks(leave_asks(sql, leavers, ran=ran))) if answers is None else answers
    _, unplaced, first, _, _, freed = told
    # A completed job never comes back to its line, so its row need not be touched.
    again = {each.n for each in leavers if each.state is not State.COMPLETED}.intersection(n for (n,) in unplaced)
    if again:
        yield Do(sql("flows", "unplaced"), {"ns": numbers(again)})
    back: list[int] = [n for (n,) in first]
    back += yield from _fill(sql, freed, now)
    yield from come_back(sql, back)


def _fill(sql: Statements, freed: Rows, now: Micros) -> Steps[list[int]]:
    """Whom the slots that came free are for."""
    counts: Counter[Key] = Counter()
    for name, key, count, text in freed:
        rule = Rule() if text is None else to_rule(text)
        if rule.concurrency is not None:
            counts[name, key] += count
        if rule.closed_until is not None:
            counts[name, WHOLE] += count
    if not counts:
        return []
    answers = yield Asks(hold_asks(sql, counts))
    rooms = yield from to_rooms(sql, answers, now)
    missed = [key for key in counts if key not in rooms]
    if missed:
        yield Do(sql("flows", "wake-gates"), columns(("name", "key"), missed) | {"now": now})
    called = [(room, counts[key]) for key, room in sorted(rooms.items()) if room.front is not None]
    if not called:
        return []
    back, _ = yield from call(sql, called, now, ended=True)
    yield from write_rooms(sql, rooms.values(), now)
    return back
