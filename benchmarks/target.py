"""The app under measurement: no-op tasks, and one that says when it started."""

import itertools
import os
import time
from pathlib import Path

from treadle import Treadle

app = Treadle(os.environ.get("BENCH_URL", "sqlite:///bench.db"))

count = itertools.count(1)
goal = int(os.environ.get("BENCH_GOAL", "0"))
finished_at = 0.0


def _tick() -> None:
    global finished_at
    if next(count) == goal:
        finished_at = time.perf_counter()


@app.task
async def no_op(n: int, user: str, template: str) -> None:
    _tick()


@app.task
def no_op_thread(n: int, user: str, template: str) -> None:
    _tick()


@app.task
async def stamp(sent: int, out: str) -> None:
    started = time.perf_counter_ns()
    with Path(out).open("a") as file:
        file.write(f"{(started - sent) / 1e3}\n")
