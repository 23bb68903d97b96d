"""Fixtures for pytest. Nothing is used unless asked for, and nothing of treadle is imported before."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from treadle.app.app import Treadle
    from treadle.testing.clock import VirtualClock


@pytest.fixture
def treadle_clock() -> VirtualClock:
    """A virtual clock for one test; `treadle_app` and `treadle_memory` go by it."""
    from treadle.testing.clock import VirtualClock

    return VirtualClock()


@pytest.fixture
def treadle_memory(treadle_clock: VirtualClock) -> Generator[Callable[[Treadle], Treadle]]:
    """Lends your own app a fresh store in memory for one test: `treadle_memory(app)`."""
    from treadle.testing.lending import on_memory

    with ExitStack() as lent:
        yield lambda app: lent.enter_context(on_memory(app, treadle_clock))


@pytest.fixture
def treadle_app(treadle_memory: Callable[[Treadle], Treadle]) -> Treadle:
    """A fresh app on a store in memory, for tests that declare their own tasks."""
    from treadle.app.app import Treadle

    return treadle_memory(Treadle("memory://", allow_volatile=True))
