"""One worker process under measurement, in this process: prints one JSON line and leaves when its jobs are done.

    BENCH_URL=... BENCH_GOAL=N python -m benchmarks.worker drain
    BENCH_URL=... BENCH_GOAL=N python -m benchmarks.worker profile

The clock of a drain runs from the moment the worker is ready to claim until the store has confirmed the last outcome.
"""

import asyncio
import cProfile
import io
import json
import pstats
import resource
import secrets
import sys
import time
from pathlib import Path

from benchmarks import target
from treadle.worker.options import WorkerOptions
from treadle.worker.worker import Worker

MEMORY_FROM, MEMORY_TO = 100_000, 500_000
TAIL = 50_000
"""The last jobs of a long drain, whose own rate is told."""


def resident() -> int:
    """Bytes of memory this process occupies."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def measure() -> dict[str, float]:
    began = 0.0
    spent = 0.0

    def ready() -> None:
        nonlocal began, spent
        began, spent = time.perf_counter(), cpu()

    options = WorkerOptions(target="benchmarks.target:app")
    worker = Worker(target.app, options, lease=secrets.token_hex(16), ready=ready)
    serving = asyncio.create_task(worker.serve())
    memory: dict[int, int] = {}
    tail_began, tail = began, target.goal
    while worker.settled < target.goal:
        await asyncio.sleep(0.002)
        if tail == target.goal and worker.settled >= target.goal - TAIL:
            tail_began, tail = time.perf_counter(), target.goal - worker.settled
        for mark in (MEMORY_FROM, MEMORY_TO):
            if worker.settled >= mark and mark not in memory:
                memory[mark] = resident()
    took = time.perf_counter() - began
    figures = {
        "jobs": float(target.goal),
        "seconds": took,
        "rate": target.goal / took,
        "tail_rate": tail / (time.perf_counter() - tail_began),
        "cpu_us": (cpu() - spent) / target.goal * 1e6,
        "rss_mb": resident() / 1e6,
    }
    if MEMORY_TO in memory:
        figures["memory_growth"] = memory[MEMORY_TO] / memory[MEMORY_FROM] - 1
    worker.drain()
    await serving
    return figures


def main() -> None:
    if sys.argv[1] == "profile":
        profile = cProfile.Profile()
        profile.enable()
        figures = asyncio.run(measure())
        profile.disable()
        out = io.StringIO()
        pstats.Stats(profile, stream=out).sort_stats("tottime").print_stats(22)
        sys.stderr.write(out.getvalue())
    else:
        figures = asyncio.run(measure())
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
