"""celery on its Redis broker, in the pool of the chosen setting, without what its workers tell each other."""

import time
from typing import Any

from benchmarks.rivals.adapters import desk

# The pool, and its size for jobs that only compute; jobs that wait get as many as are asked for.
SETTINGS = {"threads": ("threads", 1), "prefork": ("prefork", 2)}


def _app() -> tuple[Any, dict[str, Any]]:
    from celery import Celery

    app = Celery("bench", broker=desk.url())
    app.conf.update(
        task_ignore_result=True,
        worker_prefetch_multiplier=64,
        broker_connection_retry_on_startup=True,
        worker_hijack_root_logger=False,
    )

    @app.task(name="no_op")
    def no_op(n: int, user: str, template: str) -> None:
        desk.ran(n)

    @app.task(name="nap")
    def nap(n: int, user: str, template: str) -> None:
        time.sleep(desk.NAP)
        desk.ran(n)

    return app, {"no_op": no_op, "nap": nap}


class _Producer:
    def __init__(self, task: Any) -> None:
        self.task = task

    async def one(self, number: int) -> None:
        self.task.delay(number, desk.USER, desk.TEMPLATE)

    async def many(self, numbers: range) -> None:
        for number in numbers:
            self.task.delay(number, desk.USER, desk.TEMPLATE)

    async def close(self) -> None: ...


class Celery(desk.Adapter):
    run = staticmethod(desk.without_loop)

    async def connect(self, task: str) -> _Producer:
        return _Producer(_app()[1][task])

    def work(self) -> None:
        app, _ = _app()
        pool, size = SETTINGS[desk.setting()]
        size = desk.slots() or size
        options = ["--loglevel", "WARNING", "--without-gossip", "--without-mingle", "--without-heartbeat"]
        app.finalize()
        desk.gate()
        app.worker_main(["worker", "--pool", pool, "--concurrency", str(size), *options])


if __name__ == "__main__":
    desk.main(Celery)
