"""procrastinate, on psycopg's asynchronous pool, woken by notifications."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from benchmarks.rivals.adapters import desk


def _app() -> Any:
    import procrastinate

    # The connector's pool takes psycopg_pool's own options.
    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=desk.url(), min_size=1, max_size=10))

    @app.task(name="no_op")
    async def no_op(n: int, user: str, template: str) -> None:
        desk.ran(n)

    @app.task(name="nap")
    async def nap(n: int, user: str, template: str) -> None:
        await asyncio.sleep(desk.NAP)
        desk.ran(n)

    return app


class _Producer:
    def __init__(self, app: Any, task: str) -> None:
        self.app, self.task = app, app.tasks.get(task)

    async def one(self, number: int) -> None:
        await self.task.defer_async(n=number, user=desk.USER, template=desk.TEMPLATE)

    async def many(self, numbers: range) -> None:
        await self.task.batch_defer_async(*({"n": n, "user": desk.USER, "template": desk.TEMPLATE} for n in numbers))

    async def close(self) -> None:
        await self.app.close_async()


class Procrastinate(desk.Adapter):
    def run(self, coroutine: Coroutine[Any, Any, None]) -> object:
        import uvloop

        return uvloop.run(coroutine)

    async def prepare(self) -> None:
        app = _app()
        async with app.open_async():
            await app.schema_manager.apply_schema_async()

    async def connect(self, task: str) -> _Producer:
        app = _app()
        await app.open_async()
        return _Producer(app, task)

    def work(self) -> None:
        self.run(_serve())


async def _serve() -> None:
    app = _app()
    desk.gate()
    async with app.open_async():
        await app.run_worker_async(concurrency=desk.slots(), delete_jobs="always", listen_notify=True)


if __name__ == "__main__":
    desk.main(Procrastinate)
