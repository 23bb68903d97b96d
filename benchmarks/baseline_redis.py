"""The bare loop on Redis: the least that any queue there must do, with no feature at all. Never tuned together with treadle.

redis-py with hiredis, one list of ids, one hash of payloads, one sorted set of leases, a script for each of enqueue, claim and
delete in batches of 500, the next claim under way while no-op coroutines run on a pool of 100 runners, settling on a second
connection. No history, results, fences, retries or errors.

    python -m benchmarks.baseline_redis drain PORT - N      jobs per second
    python -m benchmarks.baseline_redis wake PORT - N       wake-and-claim latency, as JSON
    python -m benchmarks.baseline_redis enqueue PORT - N    one at a time: microseconds per job
"""

import asyncio
import json
import subprocess
import sys
import time
from collections import deque
from typing import Any

import msgspec
import redis.asyncio

import redis
from benchmarks.baseline import PAYLOAD, RUNNERS, Job, no_op

BATCH = 500
ENQUEUE = """local n = #ARGV local last = redis.call('INCRBY', KEYS[1]..':seq', n) local ids, pairs = {}, {}
for i = 1, n do local id = string.format('%d', last - n + i) ids[i] = id pairs[2*i-1] = id pairs[2*i] = ARGV[i] end
redis.call('HSET', KEYS[1]..':jobs', unpack(pairs)) redis.call('RPUSH', KEYS[1]..':ready', unpack(ids)) return n"""
CLAIM = """local ids = redis.call('LPOP', KEYS[1]..':ready', ARGV[1]) if not ids then return {} end local leases, out = {}, {}
for i, id in ipairs(ids) do leases[2*i-1] = ARGV[2] leases[2*i] = id end
redis.call('ZADD', KEYS[1]..':leases', unpack(leases))
local found = redis.call('HMGET', KEYS[1]..':jobs', unpack(ids))
for i, id in ipairs(ids) do out[2*i-1] = id out[2*i] = found[i] end return out"""
DELETE = """local n = redis.call('ZREM', KEYS[1]..':leases', unpack(ARGV)) redis.call('HDEL', KEYS[1]..':jobs', unpack(ARGV))
return n"""
KEY = "{bare}"


def fill(port: int, n: int) -> None:
    """Store n jobs."""
    client = redis.Redis(port=port)
    enqueue = client.register_script(ENQUEUE)
    for start in range(0, n, BATCH):
        enqueue(keys=[KEY], args=[PAYLOAD] * min(BATCH, n - start))
    client.close()


async def drain(port: int, n: int) -> float:
    """Jobs per second of one process."""
    fill(port, n)
    first: Any = redis.asyncio.Redis(port=port, single_connection_client=True)
    second: Any = redis.asyncio.Redis(port=port, single_connection_client=True)
    claim, delete = await first.script_load(CLAIM), await second.script_load(DELETE)
    decode = msgspec.json.Decoder(Job).decode
    registry = {"mail.send": no_op}
    loop = asyncio.get_running_loop()
    ready: deque[tuple[bytes, bytes]] = deque()
    parked: deque[asyncio.Future[None]] = deque()
    done: list[bytes] = []

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

    def claiming() -> asyncio.Task[list[bytes]]:
        return loop.create_task(first.execute_command("EVALSHA", claim, 1, KEY, BATCH, "1700000000"))

    runners = [loop.create_task(runner()) for _ in range(RUNNERS)]
    await asyncio.sleep(0)
    settled = 0
    began = time.perf_counter()
    coming = claiming()
    while settled < n:
        flat = await coming
        coming = claiming()
        ready.extend(zip(flat[::2], flat[1::2], strict=True))
        while parked and ready:
            parked.popleft().set_result(None)
        while ready:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        if done:
            settled += await second.execute_command("EVALSHA", delete, 1, KEY, *done)
            done.clear()
    took = time.perf_counter() - began
    await coming
    for each in runners:
        each.cancel()
    assert await first.hlen(f"{KEY}:jobs") == 0
    await first.aclose()
    await second.aclose()
    return n / took


def enqueue(port: int, n: int) -> float:
    """Microseconds for one insert of its own."""
    client = redis.Redis(port=port)
    script = client.register_script(ENQUEUE)
    script(keys=[KEY], args=[PAYLOAD])
    began = time.perf_counter()
    for _ in range(n):
        script(keys=[KEY], args=[PAYLOAD])
    return (time.perf_counter() - began) / n * 1e6


def sleeper(port: int, n: int) -> None:
    """The other process: waits for a token, claims, and notes when each job was in its hands."""
    client: Any = redis.Redis(port=port, socket_timeout=None)
    claim = client.register_script(CLAIM)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    waits: list[float] = []
    while len(waits) < n:
        client.blpop([f"{KEY}:wake"], timeout=0)
        flat = claim(keys=[KEY], args=[10, "1700000000"])
        now = time.perf_counter_ns()
        waits.extend((now - int(payload)) / 1e3 for payload in flat[1::2])
    sys.stdout.write(json.dumps(waits) + "\n")


def wake(port: int, n: int) -> list[float]:
    """Microseconds from before the insert until another process has claimed the job, for each of n inserts."""
    client: Any = redis.Redis(port=port)
    script = client.register_script(ENQUEUE)
    child = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.baseline_redis", "sleeper", str(port), "-", str(n)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    for _ in range(n):
        time.sleep(0.015)
        script(keys=[KEY], args=[str(time.perf_counter_ns())])
        client.rpush(f"{KEY}:wake", "w")
    waits: list[float] = json.loads(child.stdout.readline())
    child.wait(timeout=10)
    return waits


def main() -> None:
    what, port, _, number = sys.argv[1:]
    n = int(number)
    if what == "sleeper":
        sleeper(int(port), n)
    elif what == "drain":
        print(asyncio.run(drain(int(port), n)))
    elif what == "enqueue":
        print(enqueue(int(port), n))
    else:
        print(json.dumps(wake(int(port), n)))


if __name__ == "__main__":
    main()
