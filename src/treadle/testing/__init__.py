"""For tests of code that uses treadle: a clock to turn, a store in memory, bodies run in place, and what was enqueued.

Each name is imported when it is first asked for, as in `treadle` itself: pytest loads the plugin in this package always.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from treadle.testing.asserts import assert_enqueued, refute_enqueued
    from treadle.testing.bodies import FakeContext, ainline, inline
    from treadle.testing.clock import VirtualClock
    from treadle.testing.draining import Drained, Ran, adrain, drain
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

_HOMES = {
    "treadle.testing.asserts": ("assert_enqueued", "refute_enqueued"),
    "treadle.testing.clock": ("VirtualClock",),
    "treadle.testing.draining": ("Drained", "Ran", "adrain", "drain"),
    "treadle.testing.bodies": ("FakeContext", "ainline", "inline"),
    "treadle.testing.lending": ("on_memory",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    """Import a public name from its home."""
    module = _HOME.get(name)
    if module is None:
        raise AttributeError(f"module 'treadle.testing' has no attribute {name!r}")
    value: object = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value
