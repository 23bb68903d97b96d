"""The measurements, each on a store in a temporary folder, with one worker process."""

import statistics
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from treadle.app.task import AnyTask
from treadle.app.where import Filter
from treadle.cli.bench.tasks import app, on_the_loop, started
from treadle.cli.exits import Exit, Quit
from treadle.model.state import LIVE

_CALL = 10_000
_PATIENCE = 300.0
_QUEUE = "default"


def one_at_a_time(count: int) -> float:
    """Enqueues a second, each acknowledged before the next."""
    began = time.perf_counter()
    for number in range(count):
        on_the_loop.enqueue(number)
    return count / (time.perf_counter() - began)


def in_bulk(task: AnyTask, count: int) -> float:
    """Jobs stored a second, 10,000 in a call; arguments are checked and encoded within the time."""
    began = time.perf_counter()
    for start in range(0, count, _CALL):
        app.enqueue_many([task.call(number) for number in range(start, min(count, start + _CALL))])
    return count / (time.perf_counter() - began)


def drain() -> float:
    """Jobs a worker takes from the queue and ends, a second, from the moment the queue is resumed."""
    client = app.client
    before = _live()
    client.resume(_QUEUE)
    began = time.perf_counter()
    while _live():
        _give_up_after(began, "the queue is not empty yet")
        time.sleep(0.02)
    took = time.perf_counter() - began
    client.pause(_QUEUE, "between two measurements")
    return before / took


def latencies(count: int) -> list[float]:
    """Seconds from just before an enqueue to the first line of its body, on an idle worker; sorted."""
    found: list[float] = []
    started.enqueue().result(timeout=_PATIENCE)
    for _ in range(count):
        before = time.time()
        handle = started.enqueue()
        found.append(handle.result(timeout=_PATIENCE) - before)
    return sorted(found)


def percentiles(values: list[float]) -> tuple[float, float, float]:
    """The 50th, 95th and 99th percentile."""
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return cuts[49], cuts[94], cuts[98]


@contextmanager
def serving(url: str, folder: Path) -> Generator[None]:
    """One worker process on the store while the block runs; its queue is paused when the block begins."""
    client = app.client
    client.pause(_QUEUE, "a measurement is being set up")
    log = folder / "worker.log"
    command = [sys.executable, "-m", "treadle", "worker", "treadle.cli.bench.tasks", "--url", url, "--children", "0"]
    with log.open("wb") as file, subprocess.Popen(command, stdout=file, stderr=file) as process:  # noqa: S603  our own worker
        try:
            began = time.perf_counter()
            while not client.workers():
                if process.poll() is not None:
                    raise Quit(f"the worker ended at once:\n{log.read_text()}", Exit.FAILED)
                _give_up_after(began, "no worker serves yet")
                time.sleep(0.05)
            yield
        finally:
            process.terminate()


def _live() -> int:
    return sum(each.count for each in app.client.count(Filter(states=tuple(LIVE)), ()))


def _give_up_after(began: float, what: str) -> None:
    if time.perf_counter() - began > _PATIENCE:
        raise Quit(f"{what} after {_PATIENCE:.0f} s; this machine is too busy to be measured", Exit.FAILED)
