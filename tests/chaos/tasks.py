"""The jobs of a chaos run: each writes its start and its end to a file that treadle knows nothing about.

Imported by producers, workers and the workers' children. The folder of the run comes from the environment.
"""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from treadle import Context, Retries, Treadle

from . import journal
from .journal import Journal

FOLDER = Path(os.environ["CHAOS_FOLDER"])
BODIES = Journal(FOLDER / journal.BODIES)

app = Treadle()

Result = dict[str, int]
SOON = Retries([0.2, 0.2, 0.2])


class Unlucky(Exception):
    """The failure that a job was told to have."""


@contextmanager
def body(ctx: Context, kind: str, failures: int) -> Iterator[Result]:
    """Write the start now, and how it ended afterwards; yields the result, which names the attempt that made it."""
    pid = os.getpid()
    here = {"job": ctx.id, "attempt": ctx.attempt, "kind": kind, "pid": pid}
    here["worker"] = os.getppid() if kind == "process" else pid
    BODIES.write(event="start", **here)
    try:
        yield {"attempt": ctx.attempt, "pid": pid}
        if ctx.failures < failures:
            raise Unlucky(f"failure {ctx.failures + 1} of {failures}")
    except BaseException:
        BODIES.write(event="broke", **here)
        raise
    BODIES.write(event="end", **here)


@app.task(retry=SOON)
async def hop(ctx: Context, seconds: float, failures: int = 0) -> Result:
    """A job on the event loop."""
    with body(ctx, "async", failures) as result:
        await asyncio.sleep(seconds / 2)
        ctx.progress(0.5, "half way")
        await asyncio.sleep(seconds / 2)
    return result


@app.task(retry=SOON)
def haul(ctx: Context, seconds: float, failures: int = 0) -> Result:
    """A job in a thread."""
    with body(ctx, "thread", failures) as result:
        time.sleep(seconds / 2)
        ctx.progress(0.5, "half way")
        time.sleep(seconds / 2)
    return result


@app.task(executor="process", retry=SOON)
def forge(ctx: Context, seconds: float, failures: int = 0) -> Result:
    """A job in a child process."""
    with body(ctx, "process", failures) as result:
        time.sleep(seconds / 2)
        ctx.progress(0.5, "half way")
        time.sleep(seconds / 2)
    return result


@app.task
async def poison(ctx: Context) -> Result:
    """A job that kills the worker under it, each time, and owns up to it first."""
    pid = os.getpid()
    with body(ctx, "async", 0):
        Journal(FOLDER / journal.FAULTS).write(act="kill", what="poison", pid=pid, workers=[pid], supervised=True)
        os.kill(pid, signal.SIGKILL)
    raise AssertionError("nothing survives SIGKILL")
