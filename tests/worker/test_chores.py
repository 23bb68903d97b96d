"""How often a worker looks for what is due."""

import asyncio
import time
from types import SimpleNamespace

import pytest

from treadle import Treadle
from treadle.model.filter import Retention
from treadle.model.job import NewJob
from treadle.worker import chores
from treadle.worker.outage import Outage


def test_a_worker_whose_clock_is_ahead_looks_less_and_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chores, "time", SimpleNamespace(time=lambda: time.time() + 3600))
    app = Treadle("memory://ahead", allow_volatile=True)
    app.connection.run(app.store.engine.enqueue([NewJob("018bcfe5-6800-7000-8000-000000000001", "work", delay=1800.0)]))
    rows = chores.Chores(
        app.store, app.connection.session, Retention(), Outage("here", "", 5.0), poll=0.5, lease=30.0, crash_delay=1.0
    ).rows
    promote = next(chore for chore in rows if chore.name == "promote")

    async def waits(count: int) -> list[float | None]:
        return [await promote.work() for _ in range(count)]

    assert asyncio.run(waits(10)) == [0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.5]
    app.close()
