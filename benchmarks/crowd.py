"""What a crowd of producers stores on PostgreSQL, with a notification in every transaction and without.

    python -m benchmarks.crowd [--rounds 3]

Sixteen processes with a connection each, and as many that do nothing but insert a row into one table by psycopg; and sixteen
tasks of one process on as many connections, as a web server has them: by `aenqueue`, which stores those that meet in one
transaction; by the verb beneath it, which takes a transaction for each job; and by bare inserts of asyncpg. Each ratio is of
one round; machines drift.
"""

import argparse
import asyncio
import json
import multiprocessing
import re
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import asyncpg  # pyright: ignore[reportMissingTypeStubs]
import psycopg

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
    one_of_many(task.enqueue, ready, told)
    app.close()


def one_bare_process(place: str, statement: str, ready: Barrier, told: Any) -> None:
    """One of many that insert rows."""
    text = re.sub(r"\$\d", "%s", statement)
    with psycopg.connect(place, autocommit=True) as connection, connection.cursor(binary=True) as cursor:
        one_of_many(lambda number: cursor.execute(text, values(number), prepare=True), ready, told)


def one_of_many(store: Callable[[int], Any], ready: Barrier, told: Any) -> None:
    """Store jobs one after the other, together with others, and say when that began and ended."""
    for _ in range(WARM):
        store(0)
    ready.wait()
    began = time.monotonic()
    for number in range(EACH):
        store(number)
    told.put((began, time.monotonic()))


def many(target: Callable[..., None], *given: str) -> float:
    """Jobs per second of sixteen processes."""
    context = multiprocessing.get_context("spawn")
    ready, told = context.Barrier(PRODUCERS), context.Queue()
    crowd = [context.Process(target=target, args=(*given, ready, told)) for _ in range(PRODUCERS)]
    for each in crowd:
        each.start()
    spans = [told.get(timeout=120) for _ in crowd]
    for each in crowd:
        each.join()
    return float(PRODUCERS * EACH / (max(end for _, end in spans) - min(began for began, _ in spans)))


def bare_processes(place: str, statement: str) -> float:
    """Jobs per second of sixteen processes that insert a row each time."""
    with psycopg.connect(place, autocommit=True) as listener:
        listener.execute(TABLE)
        listener.execute("LISTEN jobs")
        return many(one_bare_process, place, statement)


async def together(producers: list[Callable[[int], Awaitable[Any]]]) -> float:
    """Jobs per second of these producers, each one job after the other."""

    async def produce(store: Callable[[int], Awaitable[Any]], count: int) -> None:
        for number in range(count):
            await store(number)

    await asyncio.gather(*(produce(each, WARM) for each in producers))
    began = time.monotonic()
    await asyncio.gather(*(produce(each, EACH) for each in producers))
    return len(producers) * EACH / (time.monotonic() - began)


async def tasks(url: str, *, apart: bool) -> float:
    """Jobs per second of sixteen tasks of one process; `apart`, each job takes a transaction of its own."""
    app = Treadle(f"{url}&connections={PRODUCERS}" if "?" in url else f"{url}?connections={PRODUCERS}")
    task = app.task(name="benchmarks.target.no_op")(_no_op)

    async def alone(number: int) -> None:
        await app.session.arun(app.connection.engine.enqueue([task.call(number).to_job()]))

    with closing(app):
        return await together([alone if apart else task.aenqueue] * PRODUCERS)


def values(number: int) -> tuple[str, int, str]:
    """What a bare insert takes."""
    return "default", 5, f'{{"n":{number},"user":"user@example.org"}}'


async def bare(place: str, statement: str) -> float:
    """Jobs per second of sixteen connections that insert a row each time."""
    connections: list[Any] = [await asyncpg.connect(place) for _ in range(PRODUCERS)]
    await connections[0].execute(TABLE)
    listener: Any = await asyncpg.connect(place)
    await listener.add_listener("jobs", lambda *_: None)
    inserts = [await each.prepare(statement) for each in connections]

    def inserting(insert: Any) -> Callable[[int], Awaitable[Any]]:
        return lambda number: insert.fetch(*values(number))

    rate = await together([inserting(each) for each in inserts])
    for each in (*connections, listener):
        await each.close()
    return rate


def by_tasks(url: str, *, apart: bool) -> float:
    """`tasks`, in a process of its own."""
    return float(child("benchmarks.crowd", "apart" if apart else "tasks", url))


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
    meeting, apart = partial(by_tasks, apart=False), partial(by_tasks, apart=True)
    processes = partial(many, one_process)
    ways: dict[str, Callable[[bool], float]] = {
        "processes": lambda loud: watched(site.url(site.fresh(setting), setting), processes, asleep=loud),
        "processes, bare inserts": lambda loud: bare_processes(site.fresh(setting), LOUD if loud else QUIET),
        "tasks of one process": lambda loud: watched(site.url(site.fresh(setting), setting), meeting, asleep=loud),
        "tasks, a transaction each": lambda loud: watched(site.url(site.fresh(setting), setting), apart, asleep=loud),
        "tasks, bare inserts": lambda loud: asyncio.run(bare(site.fresh(setting), LOUD if loud else QUIET)),
    }
    pairs: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            pairs[name].append((way(False), way(True)))
    for name, found in pairs.items():
        note(f"{PRODUCERS} {name} (jobs/s)", [quiet for quiet, _ in found])
        note("the same, times those that notify in each transaction", [quiet / loud for quiet, loud in found])
    met = zip(pairs["tasks of one process"], pairs["tasks, a transaction each"], strict=True)
    note("tasks of one process, times a notifying transaction each", [quiet / loud for (quiet, _), (_, loud) in met])


def main() -> None:
    if sys.argv[1:2] in (["tasks"], ["apart"]):
        print(json.dumps(asyncio.run(tasks(sys.argv[2], apart=sys.argv[1] == "apart"))))
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
