"""The keys of limits: held and read as rooms, looked at, written back."""

from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from typing import Any

from treadle.engine.admission import RECHECK, WHOLE, Key, Room, release, rooms_woken_by
from treadle.engine.plan import Steps
from treadle.engine.postgres.statements import Statements
from treadle.engine.postgres.steps import Ask, Asks, Do, Rows, columns, numbers, texts
from treadle.engine.session import Wake, topics
from treadle.model.flow import Rule
from treadle.model.job import Micros
from treadle.model.record import Write

LATE = 60_000_000
"""Microseconds for which starts are kept that count no more: who looked at the clock earlier may judge by them later.

They were removed at once, and under load a claim that had waited for its turn passed the bound of a strict limit.
"""
WATCHED = 100
"""Running jobs of one key that are held while one is parked behind them; with more, the key is looked at again instead."""
_KEY = ("name", "key")
_GATE = ("name", "key", "tat", "interval", "closed_until", "wakes_at")
_NO_RULE = Rule()
_EMPTY = (0, None, False)


@lru_cache(maxsize=256)
def to_rule(text: str) -> Rule:
    """A limit's rule from its record: few records, read with each batch."""
    return Rule.from_text(text)


def hold_asks(sql: Statements, keys: Collection[Key] | None) -> list[Ask]:
    """What holds the rows of these keys and reads them, for `to_rooms`; None: those of the candidates read last."""
    names: dict[str, Any] = dict.fromkeys(_KEY) if keys is None else columns(_KEY, sorted(keys))
    return [
        Ask(sql("flows", "add-gates"), names),
        Ask(sql("flows", "lock-gates"), names),
        Ask(sql("flows", "mark-held")),
        Ask(sql("flows", "rooms"), names),
        Ask(sql("flows", "rules"), names),
    ]


def to_rooms(sql: Statements, answers: Sequence[Rows], now: Micros) -> Steps[dict[Key, Room]]:
    """The rooms that are held now, from the answers of `hold_asks`; those that somebody else changes are missing."""
    _, held, _, rows, ruled = answers
    rules = {name: to_rule(text) for name, text in ruled}
    known = {
        (name, key): (running, None if n is None else (priority, seq, n), paused)
        for name, key, running, priority, seq, n, paused in rows
    }
    rooms = {
        (name, key): Room(name, key, rules.get(name, _NO_RULE), *known.get((name, key), _EMPTY), *rest)
        for name, key, *rest in held
    }
    probed = [name for name, rule in rules.items() if rule.closed_until is not None and (name, WHOLE) in rooms]
    if probed:
        for name, running in (yield Ask(sql("flows", "running"), {"names": texts(probed)})):
            rooms[name, WHOLE].running = running
    logged = _logged(rooms.values(), now)
    if logged:
        for name, key, at, cost in (yield Ask(sql("flows", "log"), columns((*_KEY, "since"), logged))):
            rooms[name, key].log.append((at, cost))
    return rooms


def write_rooms(sql: Statements, rooms: Iterable[Room], now: Micros) -> Steps[None]:
    """Write down what has changed."""
    changed = [room for room in rooms if room.changed]
    if not changed:
        return
    rows = [(room.limit, room.key, room.tat, room.interval, room.closed_until, room.wakes_at) for room in changed]
    yield Do(sql("flows", "put-gates"), columns(_GATE, rows))
    starts = [(room.limit, room.key, now, room.started) for room in changed if room.started]
    if starts:
        yield Do(sql("flows", "old-starts"), columns((*_KEY, "since"), _logged(changed, now - LATE)))
        yield Do(sql("flows", "put-starts"), columns((*_KEY, "at", "cost"), starts))


def _logged(rooms: Iterable[Room], now: Micros) -> list[tuple[str, str, Micros]]:
    """The rooms under strict rules, with the moment since when their starts count."""
    return [
        (room.limit, room.key, now - room.rule.period)
        for room in rooms
        if room.key != WHOLE and room.rule.strict and room.rule.period is not None
    ]


def call(
    sql: Statements, called: Sequence[tuple[Room, int]], now: Micros, *, ended: bool, most: int | None = None
) -> Steps[tuple[list[int], list[Room]]]:
    """The jobs parked first that are to be judged again: of each room as many as stand beside it at most, `most` of all.

    Also returns the rooms in which others stay. When to look again is set in the rooms; soon where one was passed by because
    somebody else is changing it.
    """
    takes = [count if (bound := room.most()) is None else min(count, bound + 1) for room, count in called]
    asked = [(room.limit, room.key, take + 1) for (room, _), take in zip(called, takes, strict=True)]
    found: dict[Key, list[tuple[int, int]]] = {}
    parked: dict[Key, int] = {}
    for name, key, count, n, cost in (yield Ask(sql("flows", "heads"), columns((*_KEY, "take"), asked))):
        parked[name, key] = count
        if n is not None:
            found.setdefault((name, key), []).append((n, cost))
    back: list[int] = []
    kept: list[Room] = []
    for (room, _), take in zip(called, takes, strict=True):
        if most is not None and len(back) >= most:
            break
        left = take if most is None else min(take, most - len(back))
        heads = found.get((room.limit, room.key), [])
        count = release(room, [cost for _, cost in heads[:left]], more=len(heads) > left, now=now, ended=ended)
        back += [n for n, _ in heads[:count]]
        if len(heads) < parked[room.limit, room.key]:
            room.wake(now + RECHECK)
        if count < parked[room.limit, room.key]:
            kept.append(room)
    return back, kept


def watch(sql: Statements, rooms: Collection[Room], now: Micros) -> Steps[None]:
    """See to it that nobody who fills one of these rooms ends without a look at who is parked there, or look again."""
    if rooms:
        keys = sorted((room.limit, room.key, room.running) for room in rooms)
        values = columns((*_KEY, "running"), keys) | {"most": WATCHED, "now": now, "later": RECHECK}
        yield Do(sql("flows", "watch"), values)


def come_back(sql: Statements, ns: Sequence[int]) -> Steps[None]:
    """Let parked jobs back to where they stood, and wake who serves them."""
    if ns:
        values: dict[str, Any] = {"ns": numbers(ns)}
        _, queues = yield Asks([Ask(sql("flows", "unpark"), values), Ask(sql("flows", "come-back"), values)])
        yield Wake(topics({queue for (queue,) in queues}))


def look(sql: Statements, due: Rows, limit: int) -> Steps[int]:
    """Look at the keys whose moment has come; returns how many jobs came back."""
    now: Micros = due[0][2]
    keys: list[Key] = [(name, key) for name, key, _ in due]
    answers = yield Asks(hold_asks(sql, keys))
    rooms = yield from to_rooms(sql, answers, now)
    called: list[tuple[Room, int]] = []
    for key in keys:
        room = rooms.get(key)
        if room is not None and room.wakes_at is not None and room.wakes_at <= now:
            called.append((room, limit))
    if not called:
        return 0
    back, kept = yield from call(sql, called, now, ended=False, most=limit)
    yield from come_back(sql, back)
    yield from write_rooms(sql, rooms.values(), now)
    # Whose end is not committed yet counts as running here, and may have looked before anybody was parked.
    yield from watch(sql, [room for room in kept if room.wakes_at is None], now)
    return len(back)


def look_soon(sql: Statements, writes: Iterable[Write], now: Micros | None) -> Steps[None]:
    """Have the next `promote` look at what these writes are about."""
    for write in writes:
        woken = rooms_woken_by(write)
        if woken is not None:
            yield Do(sql("flows", "look-soon"), {"name": woken[0], "key": woken[1], "now": now})
