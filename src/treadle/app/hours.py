"""Windows of queues: outside its hours a queue is paused, by the hours themselves and not by a person.

Any worker may do it, and all may try: each change is a compare-and-set on the record that pauses the queue. A pause by a
person stands, whatever the hours say. The window stands in that record too, so that whoever ends the pause, and workers that
declare no window, can tell whether the hours go on keeping the queue closed.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from treadle.app.pausing import pause_write, read_pause
from treadle.app.queue import Queue, read_window_record
from treadle.app.view import clock
from treadle.engine.contract import Engine
from treadle.engine.plan import Plan, Steps
from treadle.model.errors import NotPermitted
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
                writes.append(_closing(queue, window, 0))
        for queue, record in paused.items():
            there = window_of(record)
            window = known.get(queue, there)
            if not by_hours(record):
                if window != there:
                    pause = read_pause(record)
                    writes.append(pause_write(queue, pause.by or "", pause.why or "", _kept_with(window), record.version))
            elif window is None or window.open_at(now):
                writes.append(Write(Space.PAUSED, queue, None, record.version))
            elif window != there:
                writes.append(_closing(queue, window, record.version))
        written = (yield from engine.write(writes).begin()) if writes else []
        done = [write for write, each in zip(writes, written, strict=True) if each.done]
        return Kept(
            tuple(each.key for each in done if each.expect == 0), tuple(each.key for each in done if each.value is None)
        )

    return Plan("hours", begin)


def pause_queue(engine: Engine, queue: str, actor: str, reason: str) -> Plan[None]:
    """Pause a queue by hand. The hours that keep it closed are kept with that, for when the pause is ended."""

    def begin() -> Steps[None]:
        found = yield from engine.read(Space.PAUSED, [queue]).begin()
        window = window_of(found[0]) if found else None
        yield from engine.write([pause_write(queue, actor, reason, _kept_with(window))]).begin()

    return Plan("write", begin)


def resume_queue(engine: Engine, queue: str, now: Micros) -> Plan[bool]:
    """End a pause by hand; whether there was one. Outside its hours the queue is left to them.

    Raises `NotPermitted` for a queue that nothing but its hours keeps closed.
    """

    def begin() -> Steps[bool]:
        found = yield from engine.read(Space.PAUSED, [queue]).begin()
        if not found:
            return False
        window = window_of(found[0])
        for said in (yield from engine.read(Space.WINDOW, [queue]).begin()):
            window = read_window_record(said)
        if window is None or window.open_at(now):
            yield from engine.write([Write(Space.PAUSED, queue, None)]).begin()
            return True
        if by_hours(found[0]):
            rule = f"nobody has paused this queue: it is outside its hours, served {window}"
            raise NotPermitted(queue, rule, until_open(queue, window.opens_at(now)))
        yield from engine.write([_closing(queue, window, None)]).begin()
        return True

    return Plan("write", begin)


def see_opening(records: Iterable[Record], now: Micros) -> dict[str, Micros | None]:
    """When the queues open that their hours have paused; None for one that never does."""
    return {
        each.key: now if window.open_at(now) else window.opens_at(now)
        for each in records
        if by_hours(each) and (window := window_of(each)) is not None
    }


def until_open(queue: str, opens: Micros | None, now: Micros | None = None) -> str:
    """What ends the pause of a queue that is outside its hours."""
    if opens is not None and opens == now:
        return f"Its hours have begun: a live worker resumes it within seconds, and `treadle queues resume {queue}` does now."
    at = "" if opens is None else f"It opens by itself at {clock(opens)}. "
    return f"{at}To serve it at all hours: `treadle queues window {queue} --none`."


def by_hours(record: Record) -> bool:
    """Whether its hours have paused a queue, and not a person."""
    return read_pause(record).by == BY and window_of(record) is not None


def window_of(record: Record) -> Window | None:
    """The window that a pause is kept with."""
    found: dict[str, str] = msgspec.json.decode(record.value, type=dict[str, str])
    return read_window(found["window"], found.get("tz", "UTC")) if "window" in found else None


def _closing(queue: str, window: Window, expect: int | None) -> Write:
    return pause_write(queue, BY, f"served {window}", _kept_with(window), expect)


def _kept_with(window: Window | None) -> dict[str, str]:
    return {} if window is None else {"window": window.text, "tz": window.zone.key}
