"""A circuit breaker: when a limit stops letting jobs start, and when it tries again. Pure: moments are handed in.

closed -- a run of failures --> open -- its time is over --> half open -- a probe succeeds --> closed
                                  ^                              |
                                  +--- a probe fails, for longer +
"""

from dataclasses import dataclass
from typing import NamedTuple

from treadle.model.errors import InvalidOption
from treadle.model.job import Micros, micros
from treadle.model.kind import is_whole
from treadle.policy.duration import Duration, seconds

_LONGEST = 600.0
"""Seconds, unless said."""


@dataclass(slots=True, frozen=True, init=False)
class Breaker:
    """Stops a limit after `failures` attempts in a row that failed or were throttled, for `open_for`; then lets `probes`
    jobs at a time try. One that succeeds closes it; one that fails opens it for twice as long, up to `longest` (unless said ten
    minutes, or `open_for` where that is more).

    Raises `InvalidOption` and `InvalidDuration`.
    """

    failures: int
    open_for: float
    longest: float
    probes: int

    def __init__(
        self, failures: int = 5, *, open_for: Duration = 30.0, longest: Duration | None = None, probes: int = 1
    ) -> None:
        keep = object.__setattr__
        keep(self, "failures", _count("failures", failures))
        keep(self, "open_for", seconds(open_for))
        keep(self, "longest", max(_LONGEST, seconds(open_for)) if longest is None else seconds(longest))
        keep(self, "probes", _count("probes", probes))
        if self.open_for < 0.1:
            raise InvalidOption(open_for, "open_for is at least 0.1 s", 'Write for example open_for="30s".')
        if self.longest < self.open_for:
            rule = f"the longest opening cannot be shorter than the first, open_for, which is {self.open_for:g} s"
            raise InvalidOption(longest, rule, "Raise longest, or leave it out.")


class Seen(NamedTuple):
    """One attempt that held the limit: when it was claimed, when it ended, and whether it ended well."""

    claimed_at: Micros
    ended_at: Micros
    well: bool


class Circuit(NamedTuple):
    """Where a breaker stands: closed while `until` is None, else open up to that moment and half open from then on.

    `openings` counts how often it opened since it was last closed.
    """

    until: Micros | None = None
    openings: int = 0


def judge(rule: Breaker, circuit: Circuit, run: int, seen: Seen) -> tuple[Circuit, int]:
    """The breaker, and the failures in a row, after one more attempt.

    Attempts that were claimed before the breaker opened say nothing about whether the way is clear again.
    """
    if circuit.until is None:
        if seen.well:
            return circuit, 0
        if run + 1 < rule.failures:
            return circuit, run + 1
        return Circuit(seen.ended_at + micros(rule.open_for), 1), 0
    if seen.claimed_at < circuit.until:
        return circuit, 0
    if seen.well:
        return Circuit(), 0
    wait = min(rule.longest, rule.open_for * 2 ** min(circuit.openings, 30))
    return Circuit(seen.ended_at + micros(wait), circuit.openings + 1), 0


def _count(name: str, value: object) -> int:
    if not is_whole(value, 1, 1_000_000):
        raise InvalidOption(repr(value), f"{name} is a whole number from 1 to 1,000,000", f"Write for example {name}=5.")
    assert isinstance(value, int)
    return value
