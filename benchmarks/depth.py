"""What waits behind, and who looks on: drains with a deep backlog and under a held snapshot, and producers in a crowd.

    python -m benchmarks.depth [--engine sqlite|postgres|redis] [--rounds 3] [--waiting 1000000]

The rate of one worker process over 50,000 jobs that are all there are; over the first 50,000 of a million; on PostgreSQL also
while another transaction keeps a snapshot open through 300,000 jobs, and what 16 producers store with and without a
notification in each of their transactions. Each ratio is of one round; machines drift.
"""

import argparse
import json
import multiprocessing
import tempfile
import time
from contextlib import closing
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

from benchmarks import producing
from benchmarks.run import child, note
from benchmarks.sites import SITES, Site
from benchmarks.worker import TAIL
from treadle import Treadle

LONG = 300_000
PRODUCERS = 16
EACH = 300


def drained(url: str, waiting: int, goal: int) -> dict[str, float]:
    """The figures of one worker that has settled `goal` of `waiting` jobs."""
    producing.fill(url, "no_op", waiting)
    figures: dict[str, float] = json.loads(child("benchmarks.worker", "drain", env={"BENCH_URL": url, "BENCH_GOAL": str(goal)}))
    return figures


def under_a_snapshot(url: str) -> dict[str, float]:
    """The figures of a drain of 300,000 jobs while a transaction that began before it stays open."""
    import psycopg

    with closing(psycopg.connect(url.partition("?")[0])) as onlooker:
        onlooker.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        onlooker.execute("SELECT count(*) FROM pg_class")
        return drained(url, LONG, LONG)


def produce(url: str, ready: Barrier, told: Any) -> None:
    """One producer: each job in a transaction of its own on a connection of its own."""
    app = Treadle(url)
    task = app.task(name="benchmarks.target.no_op")(_no_op)
    for _ in range(10):
        task.enqueue(0)
    ready.wait()
    began = time.monotonic()
    for number in range(EACH):
        task.enqueue(number)
    told.put((began, time.monotonic()))
    app.close()


async def _no_op(n: int) -> None: ...


def produced(url: str, notifying: bool) -> float:
    """Jobs per second of 16 producer processes; `notifying` while one sleeps all the time, so that each has to wake it."""
    app = Treadle(url)
    sleeper = app.store.waiter(["queue:default"])
    if notifying:
        sleeper.idle(True)
    context = multiprocessing.get_context("spawn")
    ready, told = context.Barrier(PRODUCERS), context.Queue()
    crowd = [context.Process(target=produce, args=(url, ready, told)) for _ in range(PRODUCERS)]
    for each in crowd:
        each.start()
    spans = [told.get(timeout=120) for _ in crowd]
    for each in crowd:
        each.join()
    sleeper.close()
    app.close()
    return float(PRODUCERS * EACH / (max(end for _, end in spans) - min(began for began, _ in spans)))


def measure(site: Site, rounds: int, waiting: int) -> None:
    """Everything, in the first setting of the site."""
    setting = site.settings[0]
    print(f"{site.title}, {setting}")

    def url() -> str:
        return site.url(site.fresh(setting), setting)

    postgres = site.title.startswith("PostgreSQL")
    shallow: list[float] = []
    deep: list[float] = []
    watched: list[float] = []
    last: list[float] = []
    for _ in range(rounds):
        shallow.append(drained(url(), TAIL, TAIL)["rate"])
        deep.append(drained(url(), waiting, TAIL)["rate"] / shallow[-1])
        if postgres:
            figures = under_a_snapshot(url())
            watched.append(figures["rate"] / shallow[-1])
            last.append(figures["tail_rate"] / shallow[-1])
    note(f"drain of {TAIL:,} (jobs/s)", shallow)
    note(f"the same before {waiting:,} waiting, share", deep)
    if postgres:
        note(f"drain of {LONG:,} under a held snapshot, share", watched)
        note(f"the last {TAIL:,} of them, share", last)
        pairs = [(produced(url(), notifying=False), produced(url(), notifying=True)) for _ in range(rounds)]
        note(f"{PRODUCERS} producers (jobs/s)", [quiet for quiet, _ in pairs])
        note("the same, times those that notify in each transaction", [quiet / loud for quiet, loud in pairs])


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.depth", description="deep backlogs, held snapshots, crowds of producers")
    parser.add_argument("--engine", default="sqlite", choices=list(SITES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--waiting", type=int, default=1_000_000)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="treadle-bench-") as folder:
        site = SITES[chosen.engine](Path(folder))
        try:
            measure(site, chosen.rounds, chosen.waiting)
        finally:
            site.close()


if __name__ == "__main__":
    main()
