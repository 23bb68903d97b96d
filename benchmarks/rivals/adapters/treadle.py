"""treadle as it comes: `treadle worker`, a supervisor with one process under it, history and results kept."""

import asyncio
import os
import sys
from typing import Any

from benchmarks.rivals.adapters import desk
from treadle import Treadle

app = Treadle(os.environ.get("RIVAL_URL"))


@app.task(name="no_op")
async def no_op(n: int, user: str, template: str) -> None:
    desk.ran(n)


@app.task(name="nap")
async def nap(n: int, user: str, template: str) -> None:
    await asyncio.sleep(desk.NAP)
    desk.ran(n)


# The supervisor imports this file too; only the process that will work waits.
if getattr(sys.modules["__main__"].__spec__, "name", "") == "treadle.worker.main":
    desk.gate()


class _Producer:
    def __init__(self, task: Any) -> None:
        self.task = task

    async def one(self, number: int) -> None:
        self.task.enqueue(number, desk.USER, desk.TEMPLATE)

    async def many(self, numbers: range) -> None:
        app.enqueue_many([self.task.call(number, desk.USER, desk.TEMPLATE) for number in numbers])

    async def close(self) -> None:
        app.close()


class Own(desk.Adapter):
    run = staticmethod(desk.without_loop)

    async def prepare(self) -> None:
        app.store.migrate()

    async def connect(self, task: str) -> _Producer:
        return _Producer({"no_op": no_op, "nap": nap}[task])

    def work(self) -> None:
        os.execv(sys.executable, [sys.executable, "-m", "treadle", "worker", "benchmarks.rivals.adapters.treadle:app"])


if __name__ == "__main__":
    desk.main(Own)
