"""Durations as people write them, turned into seconds."""

import math
import re
from datetime import timedelta

from treadle.model.errors import InvalidDuration
from treadle.model.kind import is_number

Duration = float | timedelta | str
"""Seconds as a number, a `timedelta`, or text such as `"90s"`, `"5m"`, `"1.5h"`."""

_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_TEXT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(us|ms|s|m|h|d|w)\s*", re.ASCII)
_LONGEST = 100 * 365.25 * 86_400.0
_CURE = 'Give seconds as a number, a timedelta, or text such as "90s", "5m", "2h", "1d", "1.5h", "250ms".'


def seconds(value: Duration) -> float:
    """The duration in seconds, finite and not negative. Raises `InvalidDuration` for anything else."""
    if isinstance(value, bool):
        raise InvalidDuration(value, "true and false are not durations", _CURE)
    if isinstance(value, timedelta):
        found = value.total_seconds()
    elif isinstance(value, str):
        found = _read(value)
    elif is_number(value):
        found = _finite(value)
    else:
        raise InvalidDuration(value, f"a {type(value).__name__} is not a duration", _CURE)
    if found < 0:
        raise InvalidDuration(value, "a duration cannot be negative", _CURE)
    if found > _LONGEST:
        raise InvalidDuration(value, "a duration cannot be longer than 100 years", _CURE)
    return found


def _finite(value: float) -> float:
    try:
        found = float(value)
    except OverflowError:
        found = math.inf
    if not math.isfinite(found):
        raise InvalidDuration(value, "a duration must be finite", _CURE)
    return found


def _read(text: str) -> float:
    match = _TEXT.fullmatch(text)
    if match is None:
        if text.lstrip().startswith("-"):
            raise InvalidDuration(repr(text), "a duration cannot be negative", _CURE)
        raise InvalidDuration(repr(text), "this does not read as a duration", _CURE)
    return float(match[1]) * _UNITS[match[2]]
