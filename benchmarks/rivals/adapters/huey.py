"""huey: worker threads on one blocking pop each, no results kept, no periodic scheduler."""

import time
from typing import Any

from benchmarks.rivals.adapters import desk


def _tasks() -> tuple[Any, dict[str, Any]]:
    from huey import RedisHuey

    huey = RedisHuey("bench", url=desk.url(), blocking=True, results=False)

    @huey.task(name="no_op")
    def no_op(n: int, user: str, template: str) -> None:
        desk.ran(n)

    @huey.task(name="nap")
    def nap(n: int, user: str, template: str) -> None:
        time.sleep(desk.NAP)
        desk.ran(n)

    return huey, {"no_op": no_op, "nap": nap}


class _Producer:
    def __init__(self, task: Any) -> None:
        self.task = task

    async def one(self, number: int) -> None:
        self.task(number, desk.USER, desk.TEMPLATE)

    async def many(self, numbers: range) -> None:
        for number in numbers:
            self.task(number, desk.USER, desk.TEMPLATE)

    async def close(self) -> None: ...


class Huey(desk.Adapter):
    run = staticmethod(desk.without_loop)

    async def connect(self, task: str) -> _Producer:
        return _Producer(_tasks()[1][task])

    def work(self) -> None:
        huey, _ = _tasks()
        consumer = huey.create_consumer(workers=desk.slots(), periodic=False, worker_type="thread")
        desk.gate()
        consumer.run()


if __name__ == "__main__":
    desk.main(Huey)
