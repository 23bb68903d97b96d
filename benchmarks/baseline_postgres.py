"""The bare loop on PostgreSQL: the least that any queue there must do, with no feature at all. Never tuned with treadle.

asyncpg, one table, one partial index, claim by `UPDATE ... WHERE ctid = ANY(... SKIP LOCKED) RETURNING` in batches of 500 with
the next claim under way while no-op coroutines run on a pool of 100 runners, deletion on a second connection. No history,
results, leases to renew, fences, retries or errors. One insert at a time is a prepared statement of psycopg's.

    python -m benchmarks.baseline_postgres drain URL COMMIT N      jobs per second
    python -m benchmarks.baseline_postgres wake URL COMMIT N       wake-and-claim latency, as JSON
    python -m benchmarks.baseline_postgres enqueue URL COMMIT N    one at a time: microseconds per job
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections import deque
from typing import Any

import asyncpg  # pyright: ignore[reportMissingTypeStubs]
import msgspec
import psycopg

from benchmarks.baseline import PAYLOAD, RUNNERS, Job, no_op

BATCH = 500
SCHEMA = """
CREATE SCHEMA bare;
CREATE TABLE bare.jobs(
  id int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY, queue text NOT NULL, priority int2 NOT NULL, state int2 NOT NULL DEFAULT 0,
  attempt int2 NOT NULL DEFAULT 0, lease_until timestamptz, worker int4, payload bytea NOT NULL);
CREATE INDEX ready ON bare.jobs(queue, priority, id) WHERE state = 0;
"""
INSERT = b"INSERT INTO bare.jobs(queue, priority, payload) VALUES('default', 5, %b)"
FILL = b"INSERT INTO bare.jobs(queue, priority, payload) SELECT 'default', 5, %b FROM generate_series(1, %s)"
CLAIM = """UPDATE bare.jobs SET state = 1, attempt = attempt + 1, lease_until = now() + interval '60s', worker = $2
WHERE ctid = ANY(ARRAY(
  SELECT ctid FROM bare.jobs WHERE queue = 'default' AND priority = 5 AND state = 0 AND id > $3
  ORDER BY priority, id LIMIT $1 FOR UPDATE SKIP LOCKED)) RETURNING id, payload"""
DELETE = "WITH d AS (DELETE FROM bare.jobs WHERE id = ANY($1::int8[]) AND worker = $2 RETURNING 1) SELECT count(*) FROM d"


def connect(url: str, commit: str) -> "psycopg.Connection[Any]":
    return psycopg.connect(url, autocommit=True, options=f"-c synchronous_commit={commit}")


def create(connection: "psycopg.Connection[Any]") -> None:
    for statement in SCHEMA.split(";"):
        if statement.strip():
            connection.execute(statement.encode())


async def drain(url: str, commit: str, n: int) -> float:
    """Jobs per second of one process."""
    with connect(url, commit) as filler:
        create(filler)
        for start in range(0, n, BATCH):
            filler.execute(FILL, (PAYLOAD, min(BATCH, n - start)))
    settings = {"synchronous_commit": commit, "jit": "off"}
    first: Any = await asyncpg.connect(url, server_settings=settings)
    second: Any = await asyncpg.connect(url, server_settings=settings)
    claim, delete = await first.prepare(CLAIM), await second.prepare(DELETE)
    decode = msgspec.json.Decoder(Job).decode
    registry = {"mail.send": no_op}
    loop = asyncio.get_running_loop()
    ready: deque[Any] = deque()
    parked: deque[asyncio.Future[None]] = deque()
    done: list[int] = []
    worker, mark = os.getpid(), 0

    async def runner() -> None:
        while True:
            while ready:
                row, payload = ready.popleft()
                job = decode(payload)
                await registry[job.task](*job.args, **job.kw)
                done.append(row)
            turn = loop.create_future()
            parked.append(turn)
            await turn

    runners = [loop.create_task(runner()) for _ in range(RUNNERS)]
    await asyncio.sleep(0)
    settled = 0
    began = time.perf_counter()
    coming = loop.create_task(claim.fetch(BATCH, worker, mark))
    while settled < n:
        rows = await coming
        mark = max((row[0] for row in rows), default=mark)
        coming = loop.create_task(claim.fetch(BATCH, worker, mark))
        ready.extend(rows)
        while parked and ready:
            parked.popleft().set_result(None)
        while ready:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        if done:
            settled += await delete.fetchval(done, worker)
            done.clear()
    took = time.perf_counter() - began
    await coming
    for each in runners:
        each.cancel()
    assert await first.fetchval("SELECT count(*) FROM bare.jobs") == 0
    await first.close()
    await second.close()
    return n / took


def enqueue(url: str, commit: str, n: int) -> float:
    """Microseconds for one durable insert in a transaction of its own."""
    with connect(url, commit) as connection:
        create(connection)
        connection.execute(INSERT, (PAYLOAD,), prepare=True)
        began = time.perf_counter()
        for _ in range(n):
            connection.execute(INSERT, (PAYLOAD,), prepare=True)
        return (time.perf_counter() - began) / n * 1e6


async def _sleep(url: str, n: int) -> list[float]:
    listener: Any = await asyncpg.connect(url)
    claimer: Any = await asyncpg.connect(url)
    claim = await claimer.prepare(CLAIM)
    await claim.fetch(0, 1, 0)
    woken = asyncio.Event()
    await listener.add_listener("bare", lambda *_: woken.set())
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    waits: list[float] = []
    while len(waits) < n:
        await woken.wait()
        woken.clear()
        rows = await claim.fetch(10, 1, 0)
        now = time.perf_counter_ns()
        waits.extend((now - int(payload)) / 1e3 for _, payload in rows)
    await listener.close()
    await claimer.close()
    return waits


def wake(url: str, commit: str, n: int) -> list[float]:
    """Microseconds from before the insert until another process has claimed the job, for each of n inserts."""
    with connect(url, commit) as connection:
        create(connection)
        child = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.baseline_postgres", "sleeper", url, commit, str(n)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        notify = (
            b"WITH i AS (INSERT INTO bare.jobs(queue, priority, payload) VALUES('default', 5, %b)) SELECT pg_notify('bare', '')"
        )
        for _ in range(n):
            time.sleep(0.015)
            connection.execute(notify, (str(time.perf_counter_ns()).encode(),), prepare=True)
        waits: list[float] = json.loads(child.stdout.readline())
        child.wait(timeout=10)
    return waits


def main() -> None:
    what, url, commit, number = sys.argv[1:]
    n = int(number)
    if what == "sleeper":
        print(json.dumps(asyncio.run(_sleep(url, n))))
    elif what == "drain":
        print(asyncio.run(drain(url, commit, n)))
    elif what == "enqueue":
        print(enqueue(url, commit, n))
    else:
        print(json.dumps(wake(url, commit, n)))


if __name__ == "__main__":
    main()
