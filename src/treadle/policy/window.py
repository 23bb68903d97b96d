"""Hours in which a queue is served: `"22:00-06:00"`, `"mon-fri 20:00-24:00, sat-sun 00:00-24:00"`, in a zone."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from treadle.model.errors import InvalidOption
from treadle.model.job import Micros
from treadle.policy.slots import find_zone

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_PART = re.compile(r"(?:([a-z]{3})(?:-([a-z]{3}))?\s+)?(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})", re.ASCII | re.IGNORECASE)
_CURE = 'Write for example "22:00-06:00" or "mon-fri 20:00-24:00, sat-sun 00:00-24:00".'
_DAY = 24 * 60
_MINUTE = 60_000_000
_FARTHEST = 15 * _DAY * _MINUTE
"""A stretch on one day of the week may fall into the hour that a change of clocks leaves out: then a week later it is there."""


@dataclass(slots=True, frozen=True)
class Stretch:
    """From one minute of the day to another, on days counted from Monday; one that ends before it begins ends next day."""

    days: frozenset[int]
    begin: int
    end: int

    def holds(self, day: int, minute: int) -> bool:
        """Whether this minute of this day lies within."""
        if self.begin < self.end:
            return day in self.days and self.begin <= minute < self.end
        return (day in self.days and minute >= self.begin) or ((day - 1) % 7 in self.days and minute < self.end)


@dataclass(slots=True, frozen=True)
class Window:
    """Stretches of wall time in a zone. Where clocks change, what they show decides."""

    text: str
    zone: ZoneInfo
    stretches: tuple[Stretch, ...]

    def __str__(self) -> str:
        return f"{self.text} {self.zone.key}"

    def open_at(self, moment: Micros) -> bool:
        """Whether jobs are handed out at this moment."""
        local = datetime.fromtimestamp(moment / 1_000_000, UTC).astimezone(self.zone)
        return any(each.holds(local.weekday(), local.hour * 60 + local.minute) for each in self.stretches)

    def opens_at(self, moment: Micros) -> Micros | None:
        """The first whole minute after this moment at which it is open; None where there is none within fifteen days."""
        # The minutes are asked, so that a change of clocks needs no rule of its own: those at which a stretch may begin, as
        # zones differ by quarters of an hour. A week of every minute took 90 ms, of these a tenth of that.
        begins = {0} | {each.begin % 15 for each in self.stretches}
        first = moment - moment % _MINUTE + _MINUTE
        asked = (at for at in range(first, first + _FARTHEST, _MINUTE) if at // _MINUTE % 15 in begins)
        return next((at for at in asked if self.open_at(at)), None)


def read_window(text: object, tz: str = "UTC") -> Window:
    """The window that a text names. Raises `InvalidOption`, and `InvalidSchedule` for a zone that does not exist."""
    if not isinstance(text, str):
        raise InvalidOption(text, "this does not read as a window", _CURE)
    return Window(text, find_zone(tz), tuple(_stretch(part.strip(), text) for part in text.split(",")))


def _stretch(part: str, text: str) -> Stretch:
    found = _PART.fullmatch(part)
    if found is None:
        raise InvalidOption(text, f"{part!r} does not read as a stretch of hours", _CURE)
    begin, end = (_minute(hour, minute, text) for hour, minute in ((found[3], found[4]), (found[5], found[6])))
    if begin == end:
        raise InvalidOption(text, f"{part!r} begins when it ends", 'For the whole day write "00:00-24:00".')
    if begin == _DAY:
        raise InvalidOption(text, f"{part!r} begins at the end of a day", "Write 00:00 of the next.")
    return Stretch(_days(found[1], found[2], text), begin, end)


def _minute(hour: str, minute: str, text: str) -> int:
    at = int(hour) * 60 + int(minute)
    if int(minute) > 59 or at > _DAY:
        raise InvalidOption(text, f"there is no time {hour}:{minute}", "Times go from 00:00 to 24:00.")
    return at


def _days(first: str | None, last: str | None, text: str) -> frozenset[int]:
    if first is None:
        return frozenset(range(7))
    try:
        begin = _DAYS.index(first.lower())
        end = begin if last is None else _DAYS.index(last.lower())
    except ValueError:
        raise InvalidOption(text, "it names a day that does not exist", f"Days are {', '.join(_DAYS)}.") from None
    return frozenset((begin + step) % 7 for step in range((end - begin) % 7 + 1))
