"""pgqueuer, on asyncpg: several dequeuers in one process, as its own benchmark runs it, or one that takes 100 at a time."""

import asyncio
import json
import signal
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any

from benchmarks.rivals.adapters import desk

# Dequeuers in the process, and the batch of each.
SETTINGS = {"default": (5, 10), "batches of 100": (1, 100)}


def _payload(number: int) -> bytes:
    return json.dumps({"n": number, "user": desk.USER, "template": desk.TEMPLATE}).encode()


class _Producer:
    def __init__(self, queries: Any, connection: Any, task: str) -> None:
        self.queries, self.connection, self.task = queries, connection, task

    async def one(self, number: int) -> None:
        await self.queries.enqueue(self.task, _payload(number))

    async def many(self, numbers: range) -> None:
        await self.queries.enqueue([self.task] * len(numbers), [_payload(n) for n in numbers], [0] * len(numbers))

    async def close(self) -> None:
        await self.connection.close()


class PgQueuer(desk.Adapter):
    def run(self, coroutine: Coroutine[Any, Any, None]) -> object:
        import uvloop

        return uvloop.run(coroutine)

    async def prepare(self) -> None:
        producer = await self.connect("")
        await producer.queries.install()
        await producer.close()

    async def connect(self, task: str) -> _Producer:
        import asyncpg
        from pgqueuer.db import AsyncpgDriver
        from pgqueuer.queries import Queries

        connection = await asyncpg.connect(desk.url())
        return _Producer(Queries(AsyncpgDriver(connection)), connection, task)

    def work(self) -> None:
        self.run(_serve())


async def _dequeuer(stop: asyncio.Event, dequeuers: int, batch: int) -> None:
    import asyncpg
    from pgqueuer import PgQueuer as Queue
    from pgqueuer.models import Job

    connection = await asyncpg.connect(desk.url())
    queue = Queue.from_asyncpg_connection(connection)

    @queue.entrypoint("no_op")
    async def no_op(job: Job) -> None:
        desk.ran(json.loads(job.payload)["n"])

    @queue.entrypoint("nap")
    async def nap(job: Job) -> None:
        await asyncio.sleep(desk.NAP)
        desk.ran(json.loads(job.payload)["n"])

    # A cap below twice the batch is refused; with batches of 100 it is left out.
    cap = desk.slots() // dequeuers
    running = asyncio.create_task(
        queue.run(
            batch_size=batch, dequeue_timeout=timedelta(seconds=30), max_concurrent_tasks=cap if cap >= 2 * batch else None
        )
    )
    await stop.wait()
    queue.shutdown.set()
    await running
    await connection.close()


async def _serve() -> None:
    import asyncpg  # noqa: F401 - imported before the gate
    import pgqueuer  # noqa: F401

    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    desk.gate()
    dequeuers, batch = SETTINGS[desk.setting()]
    await asyncio.gather(*(_dequeuer(stop, dequeuers, batch) for _ in range(dequeuers)))


if __name__ == "__main__":
    desk.main(PgQueuer)
