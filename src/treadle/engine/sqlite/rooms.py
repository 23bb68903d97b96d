"""The keys of limits: read as rooms, looked at, written back."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from treadle.engine.admission import WHOLE, Key, Room, Stand, release, rooms_woken_by
from treadle.engine.plan import Steps
from treadle.engine.rows import to_text
from treadle.engine.session import Wake, topics
from treadle.engine.source import Source
from treadle.engine.sqlite.steps import Ask, Do
from treadle.model.flow import Rule
from treadle.model.job import Micros
from treadle.model.record import Write

_decode_stand = msgspec.json.Decoder(Stand).decode
_NO_RULE = Rule()


def read_rooms(sql: Source, keys: Sequence[Key], now: Micros) -> Steps[dict[Key, Room]]:
    """These keys of limits as they stand."""
    if not keys:
        return {}
    rows = yield Ask(sql("flows", "rules"), {"names": to_text(list({name for name, _ in keys}))})
    rules = {name: Rule.from_text(text) for name, text in rows}
    rooms: dict[Key, Room] = {}
    for name, key, tat, interval, closed, wakes_at, running, front, paused in (
        yield Ask(sql("flows", "rooms"), {"keys": to_text(keys)})
    ):
        rooms[name, key] = Room(
            name, key, rules.get(name, _NO_RULE), running, None if front is None else _decode_stand(front), bool(paused),
            tat or 0, interval or 0, closed or 0, wakes_at,
        )  # fmt: skip
    probed = [name for name, rule in rules.items() if rule.closed_until is not None and (name, WHOLE) in rooms]
    if probed:
        for name, running in (yield Ask(sql("flows", "running"), {"names": to_text(probed)})):
            rooms[name, WHOLE].running = running
    logged = _logged(rooms.values(), now)
    if logged:
        for name, key, at, cost in (yield Ask(sql("flows", "log"), {"keys": to_text(logged)})):
            rooms[name, key].log.append((at, cost))
    return rooms


def write_rooms(sql: Source, rooms: Iterable[Room], now: Micros) -> Steps[None]:
    """Write down what has changed."""
    changed = [room for room in rooms if room.changed]
    if not changed:
        return
    rows = [(room.limit, room.key, room.tat, room.interval, room.closed_until, room.wakes_at) for room in changed]
    yield Do(sql("flows", "put-gates"), {"rows": to_text(rows)})
    starts = [(room.limit, room.key, now, room.started) for room in changed if room.started]
    if starts:
        yield Do(sql("flows", "old-starts"), {"keys": to_text(_logged(changed, now))})
        yield Do(sql("flows", "put-starts"), {"rows": to_text(starts)})


def _logged(rooms: Iterable[Room], now: Micros) -> list[tuple[str, str, Micros]]:
    """The rooms under strict rules, with the moment since when their starts count."""
    return [
        (room.limit, room.key, now - room.rule.period)
        for room in rooms
        if room.key != WHOLE and room.rule.strict and room.rule.period is not None
    ]


def call(sql: Source, room: Room, most: int, now: Micros, *, ended: bool) -> Steps[list[int]]:
    """The jobs parked first at a key that are to be judged again, `most` at most; when to look again is set in the room."""
    bound = room.most()
    take = most if bound is None else min(most, bound + 1)
    rows = yield Ask(sql("flows", "heads"), {"name": room.limit, "key": room.key, "take": take + 1})
    count = release(room, [cost for _, cost in rows[:take]], more=len(rows) > take, now=now, ended=ended)
    return [n for n, _ in rows[:count]]


def come_back(sql: Source, ns: Sequence[int]) -> Steps[None]:
    """Let parked jobs back to where they stood, and wake who serves them."""
    if ns:
        values: dict[str, Any] = {"ns": to_text(list(ns))}
        yield Do(sql("flows", "unpark"), values)
        queues = yield Ask(sql("flows", "come-back"), values)
        yield Wake(topics({queue for (queue,) in queues}))


def look(sql: Source, limit: int, now: Micros) -> Steps[int]:
    """Look at the keys whose moment has come; returns how many jobs came back."""
    rows = yield Ask(sql("flows", "due"), {"now": now, "take": limit})
    keys: list[Key] = [(name, key) for name, key in rows]
    if not keys:
        return 0
    rooms = yield from read_rooms(sql, keys, now)
    back: list[int] = []
    for key in keys:
        if len(back) < limit:
            back += yield from call(sql, rooms[key], limit - len(back), now, ended=False)
    yield from come_back(sql, back)
    yield from write_rooms(sql, rooms.values(), now)
    return len(back)


def look_soon(sql: Source, writes: Iterable[Write], now: Micros) -> Steps[None]:
    """Have the next `promote` look at what these writes are about."""
    for write in writes:
        woken = rooms_woken_by(write)
        if woken is not None:
            yield Do(sql("flows", "look-soon"), {"name": woken[0], "key": woken[1], "now": now})
