"""oban, its open-source edition: one queue, a pool of up to ten connections, finished rows kept as by default."""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any

from benchmarks.rivals.adapters import desk


def _workers() -> dict[str, Any]:
    from oban import worker

    @worker(queue="default")
    class NoOp:
        async def process(self, job: Any) -> None:
            desk.ran(job.args["n"])

    @worker(queue="default")
    class Nap:
        async def process(self, job: Any) -> None:
            await asyncio.sleep(desk.NAP)
            desk.ran(job.args["n"])

    return {"no_op": NoOp, "nap": Nap}


class _Producer:
    def __init__(self, pool: Any, queue: Any, worker: Any) -> None:
        self.pool, self.queue, self.worker = pool, queue, worker

    def _job(self, number: int) -> Any:
        return self.worker.new({"n": number, "user": desk.USER, "template": desk.TEMPLATE})

    async def one(self, number: int) -> None:
        await self.queue.enqueue(self._job(number))

    async def many(self, numbers: range) -> None:
        await self.queue.enqueue_many([self._job(number) for number in numbers])

    async def close(self) -> None:
        await self.pool.close()


class Oban(desk.Adapter):
    def run(self, coroutine: Coroutine[Any, Any, None]) -> object:
        import uvloop

        return uvloop.run(coroutine)

    async def prepare(self) -> None:
        from oban import Oban as Queue
        from oban.schema import install

        pool = await Queue.create_pool(desk.url())
        await install(pool)
        await pool.close()

    async def connect(self, task: str) -> _Producer:
        from oban import Oban as Queue

        pool = await Queue.create_pool(desk.url())
        return _Producer(pool, Queue(pool=pool), _workers()[task])

    def work(self) -> None:
        self.run(_serve())


async def _serve() -> None:
    from oban import Oban as Queue

    _workers()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    desk.gate()
    pool = await Queue.create_pool(desk.url())
    async with Queue(pool=pool, queues={"default": desk.slots()}):
        await stop.wait()
    await pool.close()


if __name__ == "__main__":
    desk.main(Oban)
