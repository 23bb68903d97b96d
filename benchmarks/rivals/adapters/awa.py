"""awa, from Python: a core in Rust that claims, runs the bodies on the interpreter's event loop, and settles."""

import asyncio
import signal
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from benchmarks.rivals.adapters import desk


@dataclass
class NoOp:
    n: int
    user: str
    template: str


@dataclass
class Nap:
    n: int
    user: str
    template: str


_ARGUMENTS = {"no_op": NoOp, "nap": Nap}


class _Producer:
    def __init__(self, client: Any, arguments: type[NoOp] | type[Nap]) -> None:
        self.client, self.arguments = client, arguments

    async def one(self, number: int) -> None:
        await self.client.insert(self.arguments(number, desk.USER, desk.TEMPLATE), queue="default")

    async def many(self, numbers: range) -> None:
        jobs = [self.arguments(number, desk.USER, desk.TEMPLATE) for number in numbers]
        await self.client.enqueue_many_copy(jobs, queue="default")

    async def close(self) -> None:
        await self.client.close()


class Awa(desk.Adapter):
    def run(self, coroutine: Coroutine[Any, Any, None]) -> object:
        import uvloop

        return uvloop.run(coroutine)

    async def prepare(self) -> None:
        from awa import AsyncClient

        async with AsyncClient(desk.url()) as client:
            await client.migrate()
            # A new database is otherwise left with the storage of before 0.6, which COPY does not serve.
            await client.install_queue_storage()

    async def connect(self, task: str) -> _Producer:
        from awa import AsyncClient

        return _Producer(AsyncClient(desk.url()), _ARGUMENTS[task])

    def work(self) -> None:
        self.run(_serve())


async def _serve() -> None:
    from awa import AsyncClient

    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    desk.gate()
    client = AsyncClient(desk.url())

    @client.task(NoOp, queue="default")
    async def no_op(job: Any) -> None:
        desk.ran(job.args.n)

    @client.task(Nap, queue="default")
    async def nap(job: Any) -> None:
        await asyncio.sleep(desk.NAP)
        desk.ran(job.args.n)

    await client.start([("default", desk.slots())])
    await stop.wait()
    await client.shutdown()
    await client.close()


if __name__ == "__main__":
    desk.main(Awa)
