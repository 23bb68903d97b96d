"""The app under measurement: no-op tasks, behind a gate where the environment names one, and one that says when it started."""

import itertools
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from treadle import Treadle

app = Treadle(os.environ.get("BENCH_URL", "sqlite:///bench.db"))

count = itertools.count(1)
goal = int(os.environ.get("BENCH_GOAL", "0"))
finished_at = 0.0


def _tick() -> None:
    global finished_at
    if next(count) == goal:
        finished_at = time.perf_counter()


GATES: dict[str, Callable[[], dict[str, Any]]] = {
    "": dict,
    "mail": lambda: {"limits": [app.limit("mail", rate="1000000/s", burst=1_000_000)]},
    "wide": lambda: {"limits": [app.limit("wide", concurrency=10_000)]},
    "db": lambda: {"limits": [app.limit("db", concurrency=8)]},
    "order": lambda: {"ordered_by": "user"},
}
"""What stands before a no-op, by name: a worker treats the jobs of a task that says so otherwise than plain ones."""


@app.task(**GATES[os.environ.get("BENCH_GATE", "")]())
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
