"""What code says of a queue: how much may wait in it, and in which hours it is served. An operator may say otherwise."""

from dataclasses import dataclass
from typing import Any

import msgspec

from treadle.model.errors import InvalidOption
from treadle.model.record import Record, Space, Write
from treadle.policy.pressure import Action, Cap
from treadle.policy.window import Window, read_window


@dataclass(slots=True, frozen=True)
class Queue:
    """A queue as `app.queue` declares it."""

    name: str
    cap: Cap | None = None
    window: Window | None = None


class CapText(msgspec.Struct, frozen=True, omit_defaults=True):
    """The value of a record in `Space.CAP`; without depth and age there is no cap. `by` is who said so."""

    depth: int | None = None
    age: float | None = None
    action: Action = "reject"
    timeout: float = 30.0
    by: str = ""


class WindowText(msgspec.Struct, frozen=True, omit_defaults=True):
    """The value of a record in `Space.WINDOW`; an empty window is none."""

    window: str = ""
    tz: str = "UTC"
    by: str = ""


class WeightText(msgspec.Struct, frozen=True):
    """The value of a record in `Space.WEIGHT`."""

    weight: int
    by: str = ""


def cap_write(queue: str, cap: Cap | None, by: str) -> Write:
    """The record of an operator's cap; None is the word that there is none."""
    text = CapText(by=by) if cap is None else CapText(cap.depth, cap.age, cap.action, cap.timeout, by)
    return Write(Space.CAP, queue, msgspec.json.encode(text).decode())


def read_cap(record: Record) -> Cap | None:
    """The cap in a record, None where it says that there is none."""
    text = _decoded(record, CapText)
    if text.depth is None and text.age is None:
        return None
    return Cap(text.depth, age=text.age, action=text.action, timeout=text.timeout)


def window_write(queue: str, window: Window | None, by: str) -> Write:
    """The record of an operator's window; None is the word that there is none."""
    text = WindowText(by=by) if window is None else WindowText(window.text, window.zone.key, by)
    return Write(Space.WINDOW, queue, msgspec.json.encode(text).decode())


def read_window_record(record: Record) -> Window | None:
    """The window in a record, None where it says that there is none."""
    text = _decoded(record, WindowText)
    return read_window(text.window, text.tz) if text.window else None


def weight_write(queue: str, weight: int, by: str) -> Write:
    """The record of an operator's weight."""
    return Write(Space.WEIGHT, queue, msgspec.json.encode(WeightText(weight, by)).decode())


def read_weight(record: Record) -> int:
    """The weight in a record."""
    found: WeightText = _decoded(record, WeightText)
    return found.weight


def _decoded(record: Record, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(record.value, type=kind)
    except msgspec.MsgspecError as error:
        cure = "It was written by another version of treadle: say it again."
        rule = f"what the store keeps of its {record.space} cannot be read ({error})"
        raise InvalidOption(f"queue {record.key}", rule, cure) from None
