"""Job ids: UUID version 7, as RFC 9562 section 5.7 lays it out: 48 bits of Unix milliseconds, then random bits.

Ids made in one process always grow: within a millisecond (or while the clock stands behind what was used already) the
last 48 bits count up from a random start by a random step, which is method 2 of section 6.2.
"""

import os
from collections.abc import Callable
from itertools import count
from threading import RLock
from time import time_ns
from typing import NamedTuple


class _Run(NamedTuple):
    """The ids of one millisecond: what they share, and where the counter stands."""

    millis: int
    head: str
    number: Callable[[], int]


def _begin(millis: int) -> _Run:
    bits = int.from_bytes(os.urandom(13), "big")
    high = f"{millis:012x}"
    head = f"{high[:8]}-{high[8:]}-7{bits & 0xFFF:03x}-{bits >> 12 & 0x3FFF | 0x8000:04x}-"
    # A start below 2^47 and a step below 2^24 leave room for 8 million ids before the run has to be renewed.
    return _Run(millis, head, count(bits >> 26 & (1 << 47) - 1, (bits >> 73 & (1 << 24) - 1) + 1).__next__)


class _Source:
    """The run of one process. Begun anew after a fork, so that no child repeats its parent's bits."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Start over with fresh bits."""
        self.lock = RLock()  # a signal's handler may enqueue while its own thread is in here, and waited for itself for ever
        self.run = _begin(time_ns() // 1_000_000)

    def renew(self, old: _Run) -> _Run:
        """The run after `old`, in a later millisecond; begun once however many threads ask."""
        with self.lock:
            if self.run is old:
                fresh = _begin(max(time_ns() // 1_000_000, old.millis + 1))
                if self.run is old:  # else a handler that came in meanwhile has begun it: ids of another would not grow
                    self.run = fresh
            return self.run


_source = _Source()
os.register_at_fork(after_in_child=_source.begin)


def new_id() -> str:
    """A fresh id in its text form, larger than every id this process made before. Safe in threads and after a fork."""
    run = _source.run
    if time_ns() // 1_000_000 > run.millis:
        run = _source.renew(run)
    number = run.number()
    while number >> 48:
        run = _source.renew(run)
        number = run.number()
    return run.head + f"{number:012x}"
