"""taskiq on its stream broker, the one of its Redis brokers that acknowledges; no result backend, uvloop."""

import asyncio
import os
from collections.abc import Coroutine
from typing import Any

from taskiq import TaskiqEvents
from taskiq_redis import RedisStreamBroker

from benchmarks.rivals.adapters import desk

broker = RedisStreamBroker(url=os.environ.get("RIVAL_URL", "redis://127.0.0.1"))


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def wait(_: object) -> None:
    """Hold this worker at the gate."""
    desk.gate()


@broker.task(task_name="no_op")
async def no_op(n: int, user: str, template: str) -> None:
    desk.ran(n)


@broker.task(task_name="nap")
async def nap(n: int, user: str, template: str) -> None:
    await asyncio.sleep(desk.NAP)
    desk.ran(n)


class _Producer:
    def __init__(self, task: Any) -> None:
        self.task = task

    async def one(self, number: int) -> None:
        await self.task.kiq(number, desk.USER, desk.TEMPLATE)

    async def many(self, numbers: range) -> None:
        for number in numbers:
            await self.task.kiq(number, desk.USER, desk.TEMPLATE)

    async def close(self) -> None:
        await broker.shutdown()


class Taskiq(desk.Adapter):
    def run(self, coroutine: Coroutine[Any, Any, None]) -> object:
        import uvloop

        return uvloop.run(coroutine)

    async def prepare(self) -> None:
        await (await self.connect("no_op")).close()

    async def connect(self, task: str) -> _Producer:
        await broker.startup()
        return _Producer({"no_op": no_op, "nap": nap}[task])

    def work(self) -> None:
        from taskiq.cli.worker.args import LogLevel, WorkerArgs
        from taskiq.cli.worker.run import run_worker

        run_worker(
            WorkerArgs(
                broker="benchmarks.rivals.adapters.taskiq:broker",
                modules=[],
                workers=1,
                max_async_tasks=desk.slots(),
                max_prefetch=desk.slots(),
                log_level=LogLevel.WARNING,
            )
        )


if __name__ == "__main__":
    desk.main(Taskiq)
