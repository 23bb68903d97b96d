"""For tests of code that uses treadle: a clock to turn, a store in memory, bodies run in place, and what was enqueued."""

from treadle.testing.asserts import assert_enqueued, refute_enqueued
from treadle.testing.clock import VirtualClock
from treadle.testing.draining import Drained, Ran, adrain, drain
from treadle.testing.inline import FakeContext, ainline, inline
from treadle.testing.lending import on_memory

__all__ = [
    "Drained",
    "FakeContext",
    "Ran",
    "VirtualClock",
    "adrain",
    "ainline",
    "assert_enqueued",
    "drain",
    "inline",
    "on_memory",
    "refute_enqueued",
]
