"""What a crowd of producers stores on PostgreSQL, each job in a transaction of its own, with a notification in it and without.

    python -m benchmarks.crowd [--rounds 3]

Sixteen processes with a connection each; and sixteen tasks of one process on as many connections, as a web server has them,
beside bare inserts into one table by asyncpg. Each ratio is of one round; machines drift.
"""

import argparse
import asyncio
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import asyncpg  # pyright: ignore[reportMissingTypeStubs]

from benchmarks.run import child, note
from benchmarks.sites import PostgresSite
from treadle import Treadle

PRODUCERS = 16
EACH = 300
WARM = 10
TABLE = """CREATE SCHEMA bare;
CREATE TABLE bare.jobs(id int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY, queue text NOT NULL, priority int2 NOT NULL,
  state int2 NOT NULL DEFAULT 0, payload text NOT NULL);
CREATE INDEX ready ON bare.jobs(queue, priority, id) WHERE state = 0;"""
QUIET = "INSERT INTO bare.jobs(queue, priority, payload) VALUES($1, $2, $3)"
LOUD = f"WITH i AS ({QUIET}) SELECT pg_notify('jobs', '')"


async def _no_op(n: int) -> None: ...


def one_process(url: str, ready: Barrier, told: Any) -> None:
    """One producer of many: says when it began and ended."""
    app = Treadle(url)
    task = app.task(name="benchmarks.target.no_op")(_no_op)
    for _ in range(WARM):
        task.enqueue(0)
    ready.wait()
    began = time.monotonic()
    for number in range(EACH):
        task.enqueue(number)
    told.put((began, time.monotonic()))
    app.close()


def processes(url: str) -> float:
    """Jobs per second of sixteen processes."""
    context = multiprocessing.get_context("spawn")
    ready, told = context.Barrier(PRODUCERS), context.Queue()
    crowd = [context.Process(target=one_process, args=(url, ready, told)) for _ in range(PRODUCERS)]
    for each in crowd:
        each.start()
    spans = [told.get(timeout=120) for _ in crowd]
    for each in crowd:
        each.join()
    return float(PRODUCERS * EACH / (max(end for _, end in spans) - min(began for began, _ in spans)))


async def together(producers: list[Callable[[int], Awaitable[Any]]]) -> float:
    """Jobs per second of these producers, each one job after the other."""

    async def produce(store: Callable[[int], Awaitable[Any]], count: int) -> None:
        for number in range(count):
            await store(number)

    await asyncio.gather(*(produce(each, WARM) for each in producers))
    began = time.monotonic()
    await asyncio.gather(*(produce(each, EACH) for each in producers))
    return len(producers) * EACH / (time.monotonic() - began)


async def tasks(url: str) -> float:
    """Jobs per second of sixteen tasks of one process."""
    app = Treadle(f"{url}&connections={PRODUCERS}" if "?" in url else f"{url}?connections={PRODUCERS}")
    task = app.task(name="benchmarks.target.no_op")(_no_op)
    with closing(app):
        return await together([task.aenqueue] * PRODUCERS)


async def bare(place: str, statement: str) -> float:
    """Jobs per second of sixteen connections that insert a row each time."""
    connections: list[Any] = [await asyncpg.connect(place) for _ in range(PRODUCERS)]
    await connections[0].execute(TABLE)
    listener: Any = await asyncpg.connect(place)
    await listener.add_listener("jobs", lambda *_: None)
    inserts = [await each.prepare(statement) for each in connections]

    def inserting(insert: Any) -> Callable[[int], Awaitable[Any]]:
        return lambda number: insert.fetch("default", 5, f'{{"n":{number},"user":"user@example.org"}}')

    rate = await together([inserting(each) for each in inserts])
    for each in (*connections, listener):
        await each.close()
    return rate


def by_tasks(url: str) -> float:
    """`tasks`, in a process of its own."""
    return float(child("benchmarks.crowd", "tasks", url))


def watched(url: str, produce: Callable[[str], float], *, asleep: bool) -> float:
    """What is stored while one waits for it; `asleep` all the time, so that each transaction has to wake him."""
    app = Treadle(url)
    waiter = app.store.waiter(["queue:default"])
    with closing(app), closing(waiter):
        waiter.idle(asleep)
        return produce(url)


def measure(site: PostgresSite, rounds: int) -> None:
    """Everything, in the first setting of the site."""
    setting = site.settings[0]
    print(f"{site.title}, {setting}")
    ways: dict[str, Callable[[bool], float]] = {
        "processes": lambda loud: watched(site.url(site.fresh(setting), setting), processes, asleep=loud),
        "tasks of one process": lambda loud: watched(site.url(site.fresh(setting), setting), by_tasks, asleep=loud),
        "tasks, bare inserts": lambda loud: asyncio.run(bare(site.fresh(setting), LOUD if loud else QUIET)),
    }
    pairs: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            pairs[name].append((way(False), way(True)))
    for name, found in pairs.items():
        note(f"{PRODUCERS} {name} (jobs/s)", [quiet for quiet, _ in found])
        note("the same, times those that notify in each transaction", [quiet / loud for quiet, loud in found])


def main() -> None:
    if sys.argv[1:2] == ["tasks"]:
        print(json.dumps(asyncio.run(tasks(sys.argv[2]))))
        return
    parser = argparse.ArgumentParser(prog="benchmarks.crowd", description="crowds of producers on PostgreSQL")
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="treadle-bench-") as folder:
        site = PostgresSite(Path(folder))
        try:
            measure(site, chosen.rounds)
        finally:
            site.close()


if __name__ == "__main__":
    main()
