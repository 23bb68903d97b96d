"""What code says of a queue: how much may wait in it, and in which hours it is served. An operator may say otherwise."""

from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from treadle.app.options import check_queue
from treadle.engine.contract import Engine
from treadle.engine.plan import Plan, Steps
from treadle.model.errors import InvalidOption
from treadle.model.kind import is_a, is_whole
from treadle.model.record import Record, Space, Write
from treadle.policy.duration import Duration, seconds
from treadle.policy.pressure import Action, Cap
from treadle.policy.window import Window, read_window

LEAST_AGE = 1.0
"""Seconds. Workers look every five, so a shorter one would promise what is not kept."""


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


class AgeText(msgspec.Struct, frozen=True):
    """The value of a record in `Space.AGE`: after so many seconds a waiting job gains a step of priority."""

    after: float
    by: str = ""


def age_write(queue: str, after: float, by: str) -> Write:
    """The record of an operator's age."""
    return Write(Space.AGE, queue, msgspec.json.encode(AgeText(after, by)).decode())


def read_age(record: Record) -> float:
    """The seconds in a record."""
    found: AgeText = _decoded(record, AgeText)
    return found.after


def cap_write(queue: str, cap: Cap | None, by: str) -> Write:
    """The record of an operator's cap; None is the word that there is none."""
    text = CapText(by=by) if cap is None else CapText(cap.depth, cap.age, cap.action, cap.timeout, by)
    return Write(Space.CAP, queue, msgspec.json.encode(text).decode())


def read_cap(record: Record) -> Cap | None:
    """The cap in a record, None where it says that there is none."""
    text = _decoded(record, CapText)
    if text.depth is None and text.age is None:
        return None
    return Cap(text.depth, age=text.age, action=text.action, timeout=text.timeout if text.action == "block" else None)


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


def described(
    queue: str,
    cap: Cap | Literal["none", "declared"] | None,
    window: str | None,
    tz: str,
    weight: int | None,
    age: Duration | Literal["none"] | None,
    by: str,
) -> list[Write]:
    """The records by which an operator describes a queue. Raises `InvalidOption`."""
    check_queue(queue)
    writes: list[Write] = []
    if cap == "declared":
        writes.append(Write(Space.CAP, queue, None))
    elif cap is not None:
        if not (cap == "none" or is_a(cap, Cap)):
            raise InvalidOption(cap, "this is not a cap", 'Write cap=Cap(10_000), "none" or "declared".')
        writes.append(cap_write(queue, None if cap == "none" else cap, by))
    if window == "declared":
        writes.append(Write(Space.WINDOW, queue, None))
    elif window is not None:
        writes.append(window_write(queue, None if window == "none" else read_window(window, tz), by))
    if weight is not None:
        if not is_whole(weight, 0, 1_000_000):
            raise InvalidOption(weight, "a weight is a whole number from 0 to 1,000,000", "Write 0 to take it back.")
        writes.append(weight_write(queue, weight, by) if weight else Write(Space.WEIGHT, queue, None))
    if age == "none":
        writes.append(Write(Space.AGE, queue, None))
    elif age is not None:
        if seconds(age) < LEAST_AGE:
            raise InvalidOption(age, f"an age is {LEAST_AGE:g} s at least", 'Write for example age="10m", or "none".')
        writes.append(age_write(queue, seconds(age), by))
    if not writes:
        raise InvalidOption("nothing", "nothing was said of the queue", "Say cap=, window=, weight= or age=.")
    return writes


def see_words(engine: Engine) -> Plan[dict[str, dict[str, Any]]]:
    """What operators said of queues, by queue, as the words of a view."""

    def begin() -> Steps[dict[str, dict[str, Any]]]:
        said: dict[str, dict[str, Any]] = {}
        for each in (yield from engine.read(Space.CAP).begin()):
            said.setdefault(each.key, {})["cap"] = str(read_cap(each) or "none")
        for each in (yield from engine.read(Space.WINDOW).begin()):
            said.setdefault(each.key, {})["window"] = str(read_window_record(each) or "none")
        for each in (yield from engine.read(Space.WEIGHT).begin()):
            said.setdefault(each.key, {})["weight"] = read_weight(each)
        for each in (yield from engine.read(Space.AGE).begin()):
            said.setdefault(each.key, {})["age"] = read_age(each)
        return said

    return Plan("read", begin)
