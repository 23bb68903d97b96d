"""A real worker serving in this process while a scene plays beside it."""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from treadle import Treadle
from treadle.worker.options import WorkerOptions
from treadle.worker.worker import Worker

PATIENCE = 60.0


async def until(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    """Wait for a condition, with patience but not for ever."""
    end = time.monotonic() + PATIENCE
    while True:
        held = condition()
        if isinstance(held, Awaitable):
            held = await held
        if held:
            return
        assert time.monotonic() < end, "the condition never held"
        await asyncio.sleep(0.005)


def options(**words: Any) -> WorkerOptions:
    """Options under which tests are quick."""
    return WorkerOptions(**{"target": "tests:app", "lease": 10.0, "poll": 0.05, **words})


def serve(app: Treadle, scene: Callable[[Worker], Coroutine[Any, Any, None]], **words: Any) -> int:
    """Run a scene beside a serving worker; returns the worker's exit code."""

    async def stage() -> int:
        ready = asyncio.Event()
        worker = Worker(app, options(**words), lease=secrets.token_hex(16), ready=ready.set)
        serving = asyncio.create_task(worker.serve())
        await asyncio.wait_for(ready.wait(), PATIENCE)
        try:
            await scene(worker)
        finally:
            worker.drain()
        return await asyncio.wait_for(serving, PATIENCE)

    return asyncio.run(stage())
