"""What the process of every adapter does, whatever queue it drives: offer jobs and time that, or work and record each run.

Only the standard library is imported here, since this runs in the environment of each queue. The measuring process says what
to do in the arguments and these variables:

    RIVAL_URL      the store                RIVAL_ROOM     the folder of this measurement
    RIVAL_SLOTS    jobs at once             RIVAL_SETTING  the name of the setting

A job is a number. Its body appends that number and the time to `journal` in the room: 16 bytes in one system call, so each
run of each job is on record whatever happens to the process afterwards. `perf_counter_ns` is the system's monotonic clock,
which all processes of a machine share.
"""

import asyncio
import json
import os
import struct
import sys
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

USER, TEMPLATE = "user@example.org", "welcome"
NAP = 0.05
CHUNK = 1_000

_record = struct.Struct("<qq").pack
_journal: int | None = None


def url() -> str:
    return os.environ["RIVAL_URL"]


def slots() -> int:
    return int(os.environ["RIVAL_SLOTS"])


def setting() -> str:
    return os.environ.get("RIVAL_SETTING", "")


def ran(number: int) -> None:
    """Record that the body of this job has run."""
    global _journal
    if _journal is None:
        path = os.path.join(os.environ["RIVAL_ROOM"], "journal")  # noqa: PTH118 - pathlib is slower to be imported
        _journal = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(_journal, _record(number, time.perf_counter_ns()))


def gate() -> None:
    """Say that everything is imported, and wait until all workers may begin together."""
    room = Path(os.environ["RIVAL_ROOM"])
    (room / f"ready-{os.getpid()}").touch()
    while not (room / "go").exists():
        time.sleep(0.002)


class Producer(Protocol):
    """A queue's producer, connected. Queues with a blocking client simply do not await anything in it."""

    async def one(self, number: int) -> object: ...
    async def many(self, numbers: range) -> object: ...
    async def close(self) -> object: ...


def without_loop(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run what never waits, with no event loop around it."""
    with suppress(StopIteration):
        coroutine.send(None)
        raise RuntimeError("a blocking producer has waited")


class Adapter:
    """What an adapter fills in. A task is "no_op" or "nap", which waits for 50 ms."""

    def run(self, coroutine: Coroutine[Any, Any, None]) -> object:
        """What runs the producer's coroutines."""
        return asyncio.run(coroutine)

    async def prepare(self) -> None:
        """Make the queue's schema in an empty store."""

    async def connect(self, task: str) -> Producer:
        """A producer of this task's jobs."""
        raise NotImplementedError

    def work(self) -> None:
        """Be one worker process until SIGTERM comes."""
        raise NotImplementedError


async def _produce(adapter: Adapter, task: str, numbers: range, warm: int, gap: float, many: bool) -> dict[str, Any]:
    """Store these jobs, one by one or 1,000 in a call; the first `warm` of them before the clock starts."""
    producer = await adapter.connect(task)
    for number in numbers[:warm]:
        await producer.one(number)
    numbers = numbers[warm:]
    sent = []
    began = time.perf_counter_ns()
    if many:
        for start in range(0, len(numbers), CHUNK):
            await producer.many(numbers[start : start + CHUNK])
    else:
        for number in numbers:
            if gap:
                time.sleep(gap)
                sent.append((number, time.perf_counter_ns()))
            await producer.one(number)
    took = time.perf_counter_ns() - began
    await producer.close()
    return {"seconds": took / 1e9, "sent": sent}


def main(make: Callable[[], Adapter]) -> None:
    """Do what the arguments say.

    prepare | produce TASK FIRST N WARM GAP one|many | work

    Whatever is learned is printed as one line of JSON.
    """
    role, *rest = sys.argv[1:]
    adapter = make()
    if role == "work":
        adapter.work()
    elif role == "prepare":
        adapter.run(adapter.prepare())
    else:
        task, first, n, warm, gap, how = rest
        numbers = range(int(first), int(first) + int(n))
        found: dict[str, Any] = {}

        async def go() -> None:
            found.update(await _produce(adapter, task, numbers, int(warm), float(gap), how == "many"))

        adapter.run(go())
        print(json.dumps(found))
