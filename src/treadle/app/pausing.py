"""Pauses as records: what is paused, by whom and why."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from treadle.engine.contract import Engine
from treadle.engine.plan import Plan, Steps
from treadle.model.record import Record, Space, Write


class Pause(NamedTuple):
    """Who paused something, and why."""

    by: str | None
    why: str | None

    def __str__(self) -> str:
        return f"is paused by {self.by}" + (f": {self.why}" if self.why else "")


def pause_write(what: str, actor: str, reason: str, more: Mapping[str, str] | None = None, expect: int | None = None) -> Write:
    """The record that pauses a queue, a task or a key, and says who did it and why; `more` is kept with it."""
    said = {"by": actor, "why": reason, **(more or {})}
    return Write(Space.PAUSED, what, msgspec.json.encode(said).decode(), expect)


def read_pause(record: Record) -> Pause:
    """What a record says of its pause."""
    found: dict[str, str] = msgspec.json.decode(record.value, type=dict[str, str])
    return Pause(found.get("by"), found.get("why"))


def resume(engine: Engine, what: str) -> Plan[bool]:
    """Remove the record that pauses a queue, a task or a key; whether there was one."""

    def begin() -> Steps[bool]:
        paused = yield from engine.read(Space.PAUSED, [what]).begin()
        if paused:
            yield from engine.write([Write(Space.PAUSED, what, None)]).begin()
        return bool(paused)

    return Plan("write", begin)


def paused_keys(records: Iterable[Record]) -> dict[tuple[str, str], Pause]:
    """The pauses of keys of limits, by limit and key."""
    found: dict[tuple[str, str], Pause] = {}
    for each in records:
        kind, _, rest = each.key.partition("\n")
        if kind == "key":
            limit, _, key = rest.partition("\n")
            found[limit, key] = read_pause(each)
    return found
