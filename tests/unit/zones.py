"""Every zone of the IANA list, and every change of its offset from 2000 to 2037, found by looking."""

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import NamedTuple
from zoneinfo import ZoneInfo, available_timezones

DAY = 86_400
BEGIN = int(datetime(2000, 1, 1, tzinfo=UTC).timestamp())
END = int(datetime(2038, 1, 1, tzinfo=UTC).timestamp())


class Change(NamedTuple):
    """The first second with another offset, and the offsets before and after, in seconds."""

    at: int
    before: int
    after: int


def offset(zone: ZoneInfo, at: int) -> int:
    """The zone's offset at a moment."""
    found = datetime.fromtimestamp(at, zone).utcoffset()
    assert found is not None
    return round(found.total_seconds())


@cache
def zones() -> tuple[tuple[str, ...], ...]:
    """The names of all zones; those with the same data stand together, the shortest name first."""
    same: dict[bytes, list[str]] = {}
    for name in sorted(available_timezones(), key=lambda name: (len(name), name)):
        data = files("tzdata").joinpath("zoneinfo", *name.split("/"))
        same.setdefault(data.read_bytes() if data.is_file() else name.encode(), []).append(name)
    return tuple(tuple(names) for names in same.values())


@cache
def changes(name: str) -> tuple[Change, ...]:
    """Every change of a zone's offset, in order. No zone has ever changed twice in a day."""
    return tuple(_changes(ZoneInfo(name)))


def _changes(zone: ZoneInfo) -> Iterator[Change]:
    known = offset(zone, BEGIN)
    for day in range(BEGIN + DAY, END, DAY):
        found = offset(zone, day)
        if found == known:
            continue
        low, high = day - DAY, day
        while high - low > 1:
            middle = (low + high) // 2
            if offset(zone, middle) == known:
                low = middle
            else:
                high = middle
        yield Change(high, known, found)
        known = found
