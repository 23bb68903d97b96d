"""Slots: the instants at which a schedule fires, in its zone or by elapsed time, and which of them are to be fired now.

The rule for changes of the clock, which holds for every zone:

* A cron expression speaks of wall time in the schedule's zone.
* A time that does not exist (clocks went forward over it) runs once, at the first instant after the gap. Several times in
  one gap come to the same instant, and so to one slot.
* A time that exists twice (clocks went back over it) runs once, the first time.
* An expression that names every hour follows elapsed hours: each hour of UTC has the same number of slots, whatever the
  clocks do. Where an offset changes by part of an hour, the minutes are counted by the offset with which that hour began.
* `every` is elapsed time, counted from 1970 in UTC, and knows no zones.

All moments are `Micros`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo

from treadle.model.errors import InvalidSchedule
from treadle.model.job import Micros
from treadle.policy.cron import Cron

SECOND = 1_000_000
_HOUR = 3600
_EASTERNMOST = 15 * _HOUR
_LAST = 253_370_000_000
"""About when the last year of the calendar begins, in seconds."""


@dataclass(slots=True, frozen=True)
class WallTime:
    """A cron expression in a zone."""

    cron: Cron
    zone: ZoneInfo

    @property
    def text(self) -> str:
        """The rule as it would be written."""
        return self.cron.text

    def after(self, moment: Micros) -> Iterator[Micros]:
        """Every slot later than a moment, in order."""
        seconds = moment // SECOND
        found = self._elapsed(seconds) if self.cron.every_hour else self._fixed(seconds)
        return (each * SECOND for each in found)

    def remark(self, slot: Micros) -> str:
        """What the clocks did to this slot; empty for nothing."""
        local = datetime.fromtimestamp(slot // SECOND, self.zone)
        if self.cron.every_hour:
            return ""
        if local.hour not in self.cron.hours or local.minute not in self.cron.minutes or not self.cron.on(local.date()):
            return "clocks went forward over its time: the first instant after the gap"
        if local.replace(fold=1).utcoffset() != local.utcoffset():
            return "clocks go back over its time: the first of the two"
        return ""

    def _fixed(self, after: int) -> Iterator[int]:
        first = datetime.fromtimestamp(after, self.zone).date()
        last = after
        for day in self.cron.dates(first):
            for hour in self.cron.hours:
                for minute in self.cron.minutes:
                    at = instant(datetime.combine(day, time(hour, minute)), self.zone)
                    if at > last:
                        yield at
                        last = at

    def _elapsed(self, after: int) -> Iterator[int]:
        hour = after // _HOUR * _HOUR
        while hour < _LAST:
            begin, end = (datetime.fromtimestamp(each, self.zone) for each in (hour, hour + _HOUR - 1))
            if not (self.cron.on(begin.date()) or self.cron.on(end.date())):
                hour = max(hour + _HOUR, self._before(begin.date()))
                continue
            offset = round((begin.utcoffset() or timedelta()).total_seconds())
            for at in sorted(hour + (minute * 60 - offset) % _HOUR for minute in self.cron.minutes):
                if at > after and self.cron.on(datetime.fromtimestamp(at, self.zone).date()):
                    yield at
            hour += _HOUR

    def _before(self, day: date) -> int:
        """The beginning of an hour of UTC that comes before every local hour of the next date that is meant."""
        for each in self.cron.dates(day):
            midnight = datetime.combine(each, time(), UTC)
            return int(midnight.timestamp()) - _EASTERNMOST
        return _LAST


@dataclass(slots=True, frozen=True)
class Interval:
    """A slot at each whole multiple of a period since 1970, so that all agree on them and no deploy moves them."""

    period: Micros

    @property
    def text(self) -> str:
        """The rule as it would be written."""
        seconds = self.period / SECOND
        for size, unit in ((86_400, "d"), (3600, "h"), (60, "m")):
            if seconds % size == 0:
                return f"every {seconds / size:.0f}{unit}"
        return f"every {seconds:g}s"

    def after(self, moment: Micros) -> Iterator[Micros]:
        """Every slot later than a moment, in order."""
        slot = moment // self.period * self.period
        while slot < _LAST * SECOND:
            slot += self.period
            yield slot

    def remark(self, slot: Micros) -> str:  # noqa: ARG002 - as `WallTime` has it
        """Clocks change nothing here."""
        return ""


Rule = WallTime | Interval


def find_zone(name: str) -> ZoneInfo:
    """The zone of this name. Raises `InvalidSchedule`."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError, TypeError, AttributeError):
        cure = 'Use a name from the IANA list, such as "Europe/Paris" or "UTC".'
        raise InvalidSchedule(name, "there is no such time zone", cure) from None


def instant(wall: datetime, zone: tzinfo) -> int:
    """When a clock of the zone shows this time for the first time, in seconds; if it never does, the end of the gap."""
    at = int(wall.replace(tzinfo=zone, fold=0).timestamp())
    if _wall(at, zone) == wall:
        return at
    # Read by the offset that comes after, a time in a gap lies before the gap; read by the one before, behind it.
    low, high = int(wall.replace(tzinfo=zone, fold=1).timestamp()), at
    while high - low > 1:
        middle = (low + high) // 2
        if _wall(middle, zone) > wall:
            high = middle
        else:
            low = middle
    return high


def _wall(at: int, zone: tzinfo) -> datetime:
    return datetime.fromtimestamp(at, zone).replace(tzinfo=None, fold=0)
