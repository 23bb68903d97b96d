"""How soon somebody looks again."""

import asyncio
from itertools import pairwise
from typing import Any

import pytest

from treadle import Treadle
from treadle.engine.plan import Plan, Steps
from treadle.model.job import Claims
from treadle.worker.eagerness import Eagerness
from treadle.worker.worker import Worker
from worker.serving import serve, until


def test_pauses_double_while_looks_are_in_vain() -> None:
    eager = Eagerness(1.0, 5.0)
    assert [eager.after(vain=True) for _ in range(4)] == [1.0, 2.0, 4.0, 5.0]
    assert eager.after(vain=False) == 0.0
    assert eager.after(vain=True) == 1.0


def test_a_worker_whose_claims_bring_nothing_though_more_is_next_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Treadle("memory://vain", allow_volatile=True)
    app.task(name="body")(lambda: None)
    pauses: list[float] = []
    nothing = Claims([], lost=False, more=True)

    def held_by_others(*_: Any, **__: Any) -> Plan[Claims]:
        def begin() -> Steps[Claims]:
            yield from ()
            return nothing

        return Plan("claim", begin)

    monkeypatch.setattr(app.store.engine, "claim", held_by_others)

    async def scene(worker: Worker) -> None:
        loop, again = asyncio.get_running_loop(), worker._exchange._signal.set
        later = loop.call_later

        def noted(delay: float, callback: Any, *args: Any, **words: Any) -> asyncio.TimerHandle:
            if callback == again:
                pauses.append(delay)
            return later(delay, callback, *args, **words)

        monkeypatch.setattr(loop, "call_later", noted)
        await until(lambda: len(pauses) >= 12)

    serve(app, scene, poll=30.0)
    app.close()
    assert pauses[-1] == 0.05
    assert all(pause <= after for pause, after in pairwise(pauses))
