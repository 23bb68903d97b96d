"""The bare loop: the least that any queue on SQLite must do, with no feature at all. Never tuned together with treadle.

Python's own `sqlite3`, one table, one partial index, claim by `UPDATE ... RETURNING` in batches of 500, delete by
`executemany`, no-op coroutines on a pool of 100 runners, calls inline in the loop. No history, results, leases, fences,
retries or errors.

    python -m benchmarks.baseline drain PATH SYNCHRONOUS N      jobs per second
    python -m benchmarks.baseline wake  PATH SYNCHRONOUS N      wake-and-claim latency, as JSON
    python -m benchmarks.baseline enqueue PATH SYNCHRONOUS N    one at a time: microseconds per job
"""

import asyncio
import json
import os
import socket
import sqlite3
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

import msgspec

BATCH = 500
RUNNERS = 100
PAYLOAD = b'{"task":"mail.send","args":[12345,"user@example.org"],"kw":{"template":"welcome","lang":"en","n":1}}'

SCHEMA = """
CREATE TABLE jobs(
  id INTEGER PRIMARY KEY, queue TEXT NOT NULL, priority INT NOT NULL, state INT NOT NULL DEFAULT 0,
  attempt INT NOT NULL DEFAULT 0, run_at REAL, lease_until REAL, worker INT, payload BLOB NOT NULL);
CREATE INDEX ready ON jobs(queue, priority, id) WHERE state=0;
"""
INSERT = "INSERT INTO jobs(queue, priority, payload) VALUES('default', 5, ?)"
CLAIM = """UPDATE jobs SET state=1, attempt=attempt+1, lease_until=?, worker=? WHERE id IN (
  SELECT id FROM jobs WHERE queue=? AND state=0 ORDER BY priority, id LIMIT ?) RETURNING id, attempt, payload"""
DELETE = "DELETE FROM jobs WHERE id=? AND worker=?"


class Job(msgspec.Struct):
    task: str
    args: list[object]
    kw: dict[str, object]


def connect(path: str, synchronous: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=5, isolation_level=None, cached_statements=512)
    for pragma in (
        "journal_mode=WAL",
        f"synchronous={synchronous}",
        "temp_store=MEMORY",
        "cache_size=-65536",
        "wal_autocheckpoint=4000",
    ):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def fill(connection: sqlite3.Connection, n: int) -> None:
    connection.executescript(SCHEMA)
    for start in range(0, n, BATCH):
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(INSERT, [(PAYLOAD,)] * min(BATCH, n - start))
        connection.execute("COMMIT")


async def no_op(*_args: object, **_kw: object) -> None:
    return None


async def drain(path: str, synchronous: str, n: int) -> float:
    connection = connect(path, synchronous)
    fill(connection, n)
    decode = msgspec.json.Decoder(Job).decode
    registry = {"mail.send": no_op}
    loop = asyncio.get_running_loop()
    ready: deque[tuple[int, int, bytes]] = deque()
    parked: deque[asyncio.Future[None]] = deque()
    done: list[int] = []

    async def runner() -> None:
        while True:
            while ready:
                row, _attempt, payload = ready.popleft()
                job = decode(payload)
                await registry[job.task](*job.args, **job.kw)
                done.append(row)
            turn = loop.create_future()
            parked.append(turn)
            await turn

    runners = [loop.create_task(runner()) for _ in range(RUNNERS)]
    await asyncio.sleep(0)
    settled = 0
    worker = os.getpid()
    began = time.perf_counter()
    while settled < n:
        rows = list(connection.execute(CLAIM, (time.time() + 60, worker, "default", BATCH)))
        ready.extend(rows)
        while parked and ready:
            parked.popleft().set_result(None)
            await asyncio.sleep(0)
        while ready:
            await asyncio.sleep(0)
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(DELETE, [(row, worker) for row in done])
        connection.execute("COMMIT")
        settled += len(done)
        done.clear()
    took = time.perf_counter() - began
    for each in runners:
        each.cancel()
    left = connection.execute("SELECT count(*) FROM jobs").fetchone()
    assert left == (0,), left
    return n / took


def enqueue(path: str, synchronous: str, n: int) -> float:
    """Microseconds for one durable insert in a transaction of its own."""
    connection = connect(path, synchronous)
    connection.executescript(SCHEMA)
    began = time.perf_counter()
    for _ in range(n):
        connection.execute(INSERT, (PAYLOAD,))
    return (time.perf_counter() - began) / n * 1e6


def sleeper(path: str, synchronous: str, n: int, address: str) -> None:
    """The other process: waits for a datagram, claims, and notes when each job was in its hands."""
    connection = connect(path, synchronous)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(address)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    waits: list[float] = []
    while len(waits) < n:
        listener.recv(64)
        rows = list(connection.execute(CLAIM, (time.time() + 60, 1, "default", 10)))
        now = time.perf_counter_ns()
        waits.extend((now - int(payload)) / 1e3 for _, _, payload in rows)
    sys.stdout.write(json.dumps(waits) + "\n")


def wake(path: str, synchronous: str, n: int) -> list[float]:
    """Microseconds from before the insert until another process has claimed the job, for each of n inserts."""
    connection = connect(path, synchronous)
    connection.executescript(SCHEMA)
    address = path + ".sock"
    child = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.baseline", "sleeper", path, synchronous, str(n), address],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    for _ in range(n):
        time.sleep(0.015)
        connection.execute(INSERT, (str(time.perf_counter_ns()).encode(),))
        sender.sendto(b"w", address)
    waits: list[float] = json.loads(child.stdout.readline())
    child.wait(timeout=10)
    Path(address).unlink()
    return waits


def main() -> None:
    what, path, synchronous, number, *rest = sys.argv[1:]
    n = int(number)
    if what == "sleeper":
        sleeper(path, synchronous, n, rest[0])
    elif what == "drain":
        print(asyncio.run(drain(path, synchronous, n)))
    elif what == "enqueue":
        print(enqueue(path, synchronous, n))
    else:
        print(json.dumps(wake(path, synchronous, n)))


if __name__ == "__main__":
    main()
