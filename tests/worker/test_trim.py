"""Freed memory goes back to the system."""

import asyncio
import sys

import psutil
import pytest

from treadle import Treadle
from treadle.model.filter import Retention
from treadle.worker.chores import Chores
from treadle.worker.outage import Outage
from treadle.worker.trim import trimmer


@pytest.mark.skipif(trimmer() is None, reason="this C library has no word for it")
def test_freed_memory_goes_back() -> None:
    app = Treadle("memory://trim", allow_volatile=True)
    chores = Chores(
        app.store, app.connection.session, Retention(), Outage("here", "", 5.0), poll=1.0, lease=30.0, crash_delay=1.0
    )
    trim = next(chore for chore in chores.rows if chore.name == "trim")
    process = psutil.Process()
    held = [bytes(4000) for _ in range(20_000)]
    pin = bytes(4000)  # above them on the heap, so that the heap cannot shrink
    del held
    before = process.memory_info().rss
    asyncio.run(trim.work())
    assert before - process.memory_info().rss > 40_000_000
    assert sys.getsizeof(pin) > 4000
    app.close()
