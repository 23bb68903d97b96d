"""Rates as people write them: how many in which period."""

import re
from typing import NamedTuple

from treadle.model.errors import InvalidDuration, InvalidOption
from treadle.policy.duration import seconds

_TEXT = re.compile(r"\s*(\d+)\s*(?:/|\bper\b)\s*(\S.*?)\s*", re.ASCII)
_WORDS = {
    "s": "1s",
    "sec": "1s",
    "second": "1s",
    "m": "1m",
    "min": "1m",
    "minute": "1m",
    "h": "1h",
    "hour": "1h",
    "d": "1d",
    "day": "1d",
}
_CURE = 'Write for example "100/min", "5/s", "1000/day" or "10/30s".'
_MOST = 1_000_000_000
_LONGEST = 366 * 86_400.0


class Rate(NamedTuple):
    """`starts` in each `period` of so many seconds."""

    starts: int
    period: float

    def __str__(self) -> str:
        unit = {1.0: "s", 60.0: "min", 3600.0: "h", 86_400.0: "day"}.get(self.period, f"{self.period:g}s")
        return f"{self.starts}/{unit}"


def read_rate(text: object) -> Rate:
    """The rate that a text names, such as `"100/min"`. Raises `InvalidOption`."""
    found = _TEXT.fullmatch(text) if isinstance(text, str) and text.isprintable() else None
    if found is None:
        raise InvalidOption(text, "this does not read as a rate", _CURE)
    try:
        period = seconds(_WORDS.get(found[2].lower(), found[2]))
    except InvalidDuration as error:
        raise InvalidOption(text, f"its period does not read as a duration: {error.rule}", _CURE) from None
    count = int(found[1]) if len(found[1]) < 12 else _MOST + 1
    if not 1 <= count <= _MOST:
        raise InvalidOption(text, f"a rate counts from 1 to {_MOST:,}", "To stop everything, open the limit's breaker instead.")
    if not 0.001 <= period <= _LONGEST:
        raise InvalidOption(text, "a rate's period lies between a millisecond and 366 days", _CURE)
    return Rate(count, period)
