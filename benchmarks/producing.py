"""How fast jobs are stored: one at a time, and many in one call."""

import logging
import time

from treadle import Treadle

CALL = 10_000
# Here no worker has ever served the file, and that is meant.
logging.getLogger("treadle").setLevel(logging.ERROR)

ARGS = (12345, "user@example.org", "welcome")


def _app(url: str) -> Treadle:
    return Treadle(url)


def one_at_a_time(url: str, n: int) -> float:
    """Microseconds per durable enqueue."""
    app = _app(url)
    task = app.task(name="benchmarks.target.no_op")(_no_op)
    task.enqueue(*ARGS)
    began = time.perf_counter()
    for _ in range(n):
        task.enqueue(*ARGS)
    took = time.perf_counter() - began
    app.close()
    return took / n * 1e6


def bulk(url: str, n: int) -> float:
    """Jobs per second, 10,000 in a call."""
    app = _app(url)
    task = app.task(name="benchmarks.target.no_op")(_no_op)
    task.enqueue(*ARGS)
    calls = [task.call(*ARGS) for _ in range(min(n, CALL))]
    began = time.perf_counter()
    for _ in range(max(1, n // CALL)):
        app.enqueue_many([task.call(*ARGS) for _ in calls])
    took = time.perf_counter() - began
    app.close()
    return max(1, n // CALL) * len(calls) / took


def fill(url: str, task: str, n: int) -> None:
    """Store n jobs of a task of `benchmarks.target`."""
    app = _app(url)
    body = _no_op if task == "no_op" else _no_op_thread
    known = app.task(name=f"benchmarks.target.{task}")(body)
    for start in range(0, n, CALL):
        app.enqueue_many([known.call(*ARGS) for _ in range(min(CALL, n - start))])
    app.close()


async def _no_op(n: int, user: str, template: str) -> None: ...


def _no_op_thread(n: int, user: str, template: str) -> None: ...
