"""Cron expressions: five fields, read into the sets of values that they mean.

Which instants an expression names in a time zone is the business of `slots`.
"""

import re
from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

from treadle.model.errors import InvalidSchedule
from treadle.model.kind import is_a

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_LONGEST_MONTHS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)

NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
"""Words that stand for an expression."""

_PIECE = re.compile(r"(?P<star>\*)(?:/(?P<each>\d+))?|(?P<from>\w+)(?:-(?P<to>\w+)(?:/(?P<step>\d+))?)?", re.ASCII)
_FORMS = "A field takes numbers, names, *, ranges such as 9-17, lists such as 1,15 and steps such as */5 or 8-18/2."


class _Field(NamedTuple):
    """One place of an expression: what it counts, from where to where, and the names its values have."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        return self.high - self.low + 1


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of the month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of the week", 0, 6, _WEEKDAYS),
)


@dataclass(slots=True, frozen=True)
class Cron:
    """An expression as read. `minutes` and `hours` are in order; the day of the week counts from Sunday, 0.

    Where both kinds of day are restricted (neither begins with `*`), a day that fits either of them is meant, as it is in
    every cron; otherwise a day that fits both.
    """

    text: str
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool

    @property
    def every_hour(self) -> bool:
        """True when no hour is left out, however that was written."""
        return len(self.hours) == 24

    def on(self, day: date) -> bool:
        """Whether a local date is meant."""
        if day.month not in self.months:
            return False
        by_number, by_weekday = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return by_number or by_weekday if self.either_day else by_number and by_weekday

    def dates(self, first: date) -> Iterator[date]:
        """Every date that is meant, from `first` on, until the calendar's last year begins."""
        for year in range(first.year, date.max.year):
            for month in sorted(self.months):
                if (year, month) < (first.year, first.month):
                    continue
                for number in range(1, monthrange(year, month)[1] + 1):
                    day = date(year, month, number)
                    if day >= first and self.on(day):
                        yield day


def read_cron(text: str) -> Cron:
    """The expression that a text is, or that its nickname stands for. Raises `InvalidSchedule`."""
    if not is_a(text, str):
        raise InvalidSchedule(text, "a cron expression is a text", 'Write "30 2 * * *", or every="5m".')
    fields = _split(text)
    values = [_read(field, part, text) for field, part in zip(_FIELDS, fields, strict=True)]
    minutes, hours, days, months, weekdays = values
    either = not fields[2].startswith("*") and not fields[4].startswith("*")
    if not either and all(min(days) > _LONGEST_MONTHS[month - 1] for month in months):
        raise InvalidSchedule(text, "there is no such day in the months it names", "Correct the day, or name other months.")
    return Cron(" ".join(fields), tuple(sorted(minutes)), tuple(sorted(hours)), days, months, weekdays, either)


def _split(text: str) -> list[str]:
    said = text.strip()
    if said.lower() == "@reboot":
        raise InvalidSchedule(said, "a store is never rebooted", "Enqueue the job where your service starts.")
    if said.startswith("@") and said.lower() not in NICKNAMES:
        raise InvalidSchedule(said, "there is no such nickname", f"Use one of {', '.join(NICKNAMES)}.")
    fields = NICKNAMES.get(said.lower(), said).split()
    if len(fields) == 6:
        rest = " ".join(fields[1:])
        raise InvalidSchedule(
            text,
            "six fields were given, and seconds are not part of a cron expression",
            f'Write the last five, "{rest}", or every="10s" for what recurs within a minute.',
        )
    if len(fields) != 5:
        names = ", ".join(field.name for field in _FIELDS)
        raise InvalidSchedule(
            text, f"a cron expression has five fields, not {len(fields)}", f'They are {names}: "30 2 * * *" is 02:30 each day.'
        )
    return fields


def _read(field: _Field, part: str, text: str) -> frozenset[int]:
    found: set[int] = set()
    for piece in part.split(","):
        found.update(_read_piece(field, piece, text))
    return frozenset(found)


def _read_piece(field: _Field, piece: str, text: str) -> range | tuple[int, ...]:
    match = _PIECE.fullmatch(piece)
    if match is None:
        cure = _FORMS
        start, slash, step = piece.partition("/")
        if slash and start.isdigit():
            cure = f"Write {start}-{field.high}/{step}."
        raise InvalidSchedule(text, f"{piece!r} cannot be read as a {field.name}", cure)
    if match["star"]:
        return range(field.low, field.high + 1, _step(field, match["each"], field.size, text))
    low = _value(field, match["from"], text)
    if match["to"] is None:
        return (low % 7 if field.names is _WEEKDAYS else low,)
    high = _value(field, match["to"], text)
    if field.names is _WEEKDAYS and high == 0 and low > 0:
        high = 7  # a week may end on Sunday
    if high < low:
        raise InvalidSchedule(
            text,
            f"the {field.name} range {piece} runs backwards",
            f"Write {match['from']}-{field.high},{field.low}-{match['to']}."
            if not field.names
            else "Name the days or months one by one: fri,sat,sun,mon.",
        )
    values = range(low, high + 1, _step(field, match["step"], high - low + 1, text))
    return tuple(value % 7 for value in values) if field.names is _WEEKDAYS else values


def _step(field: _Field, said: str | None, size: int, text: str) -> int:
    step = 1 if said is None else int(said)
    if step == 0:
        raise InvalidSchedule(text, f"a step of 0 in the {field.name} goes nowhere", "Write a step of 1 or more.")
    if step > size:
        cure = 'For longer intervals write every="90m", which counts elapsed time.'
        raise InvalidSchedule(
            text, f"a step of {step} is larger than the {size} values of the {field.name} that it steps through", cure
        )
    return step


def _value(field: _Field, word: str, text: str) -> int:
    if word.lower() in field.names:
        return field.names.index(word.lower()) + field.low
    high = 7 if field.names is _WEEKDAYS else field.high
    if not word.isdigit() or not field.low <= int(word) <= high:
        named = f", or a name such as {field.names[1]}" if field.names else ""
        raise InvalidSchedule(
            text, f"{word!r} is no {field.name}", f"Use a whole number from {field.low} to {high}{named}. {_FORMS}"
        )
    return int(word)
