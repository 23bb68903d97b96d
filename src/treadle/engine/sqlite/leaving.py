"""What jobs leave behind when their attempt or they themselves end: slots, and places in lines, for whoever is next."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from treadle.engine.admission import WHOLE, Key
from treadle.engine.moving import Leaver
from treadle.engine.plan import Steps
from treadle.engine.rows import to_text
from treadle.engine.source import Source
from treadle.engine.sqlite.rooms import call, come_back, read_rooms, write_rooms
from treadle.engine.sqlite.steps import Ask, Do
from treadle.model.job import Micros
from treadle.model.state import State


def call_next(sql: Source, leavers: Iterable[Leaver], now: Micros) -> Steps[None]:
    """Take from these jobs what they held, and call whom that made room for."""
    states = {each.n: each.state for each in leavers}
    rows = (yield Ask(sql("flows", "leaving"), {"ns": to_text(list(states))})) if states else ()
    if not rows:
        return
    values: dict[str, Any] = {"ns": to_text([row[0] for row in rows])}
    freed: Counter[Key] = Counter()
    for name, key in (yield Ask(sql("flows", "let-go"), values)):
        freed[name, key] += 1
    yield Do(sql("flows", "unpark"), values)
    back = yield from _move_up(sql, [(line, place, n) for n, line, place, stop in rows if _goes(states[n], place, stop=stop)])
    back += yield from _fill(sql, freed, now)
    yield from come_back(sql, back)


def _goes(state: State | None, place: int | None, *, stop: bool) -> bool:
    return state is not None and place is not None and not (stop and state is State.DEAD)


def _move_up(sql: Source, gone: Sequence[tuple[str, int, int]]) -> Steps[list[int]]:
    """Take jobs out of their lines; returns those that are first now and were parked because they were not."""
    if not gone:
        return []
    values = {"rows": to_text(gone)}
    yield Do(sql("flows", "unplace"), values)
    yield Do(sql("flows", "unplaced"), values)
    rows = yield Ask(sql("flows", "first"), {"lines": to_text(list({line for line, _, _ in gone}))})
    return [n for (n,) in rows]


def _fill(sql: Source, freed: Counter[Key], now: Micros) -> Steps[list[int]]:
    """Whom the slots that came free are for."""
    for (name, _), count in list(freed.items()):
        freed[name, WHOLE] += count
    rooms = yield from read_rooms(sql, list(freed), now)
    back: list[int] = []
    for key, room in sorted(rooms.items()):
        bounded = room.rule.closed_until is not None if room.key == WHOLE else room.rule.concurrency is not None
        if bounded and room.front is not None:
            back += yield from call(sql, room, freed[key], now, ended=True)
    yield from write_rooms(sql, rooms.values(), now)
    return back
