"""Windows of queues: outside its hours a queue is paused, by the hours themselves and not by a person.

Any worker may do it, and all may try: each change is a compare-and-set on the record that pauses the queue. A pause by a
person stands, whatever the hours say.
"""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from treadle.app.queue import Queue, read_window_record
from treadle.engine.contract import Engine
from treadle.engine.plan import Plan, Steps
from treadle.model.job import Micros
from treadle.model.record import Record, Space, Write
from treadle.policy.window import Window, read_window

BY = "its hours"
"""Who has paused a queue that is outside its window."""


class Kept(NamedTuple):
    """Queues that were closed and opened just now."""

    closed: tuple[str, ...] = ()
    opened: tuple[str, ...] = ()


def keep_hours(engine: Engine, declared: Mapping[str, Queue], now: Micros) -> Plan[Kept]:
    """Pause what is outside its hours, and resume what is within them again or has none any more."""

    def begin() -> Steps[Kept]:
        windows = {name: queue.window for name, queue in declared.items() if queue.window is not None}
        known: dict[str, Window | None] = dict(windows)
        for each in (yield from engine.read(Space.WINDOW).begin()):
            known[each.key] = read_window_record(each)
        paused: dict[str, Record] = {each.key: each for each in (yield from engine.read(Space.PAUSED).begin())}
        writes: list[Write] = []
        for queue, window in known.items():
            if window is not None and queue not in paused and not window.open_at(now):
                # The window stands there too, so that workers which declare none can tell when it is over.
                said = {"by": BY, "why": f"served {window}", "window": window.text, "tz": window.zone.key}
                why = msgspec.json.encode(said).decode()
                writes.append(Write(Space.PAUSED, queue, why, 0))
        for queue, record in paused.items():
            said_there = _hours_of(record)
            if said_there is None:
                continue
            window = known.get(queue, said_there)
            if window is None or window.open_at(now):
                writes.append(Write(Space.PAUSED, queue, None, record.version))
        written = (yield from engine.write(writes).begin()) if writes else []
        done = [write for write, each in zip(writes, written, strict=True) if each.done]
        return Kept(
            tuple(each.key for each in done if each.value is not None), tuple(each.key for each in done if each.value is None)
        )

    return Plan("hours", begin)


def _hours_of(record: Record) -> Window | None:
    """The window by which a queue is paused; None where a person paused it."""
    found: dict[str, str] = msgspec.json.decode(record.value, type=dict[str, str])
    if found.get("by") != BY or "window" not in found:
        return None
    return read_window(found["window"], found.get("tz", "UTC"))
