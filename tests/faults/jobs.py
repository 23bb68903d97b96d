"""Jobs that misbehave, served by real workers. Each writes its start and its end where the tests can see it."""

import asyncio
import os
import signal
import threading
import time
from pathlib import Path

from chaos.tasks import FOLDER, Result, app, body
from treadle import Context, Retries

from .nasty import NASTY

__all__ = ["app"]

ONCE = Retries(max_failures=1)


def wait_for(name: str) -> Path:
    """Hold on until the test makes a file of this name; polls, because it is also called where nothing can be awaited."""
    path = FOLDER / name
    pause = threading.Event()
    while not path.exists():
        pause.wait(0.02)
    return path


@app.task
async def hold_async(ctx: Context, gate: str) -> Result:
    """Runs on the loop until the test opens the gate."""
    with body(ctx, "async", 0) as result:
        while not (FOLDER / gate).exists():
            await asyncio.sleep(0.02)
    return result


@app.task
def hold_thread(ctx: Context, gate: str) -> Result:
    """Runs in a thread until the test opens the gate of this attempt."""
    with body(ctx, "thread", 0) as result:
        wait_for(f"{gate}-{ctx.attempt}")
    return result


@app.task(executor="process")
def hold_process(ctx: Context, gate: str) -> Result:
    """Runs in a child process until the test opens the gate of this attempt."""
    with body(ctx, "process", 0) as result:
        wait_for(f"{gate}-{ctx.attempt}")
    return result


@app.task(executor="process")
def kill_child(ctx: Context) -> Result:
    """Kills the child process under it, each time."""
    with body(ctx, "process", 0):
        os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("nothing survives SIGKILL")


@app.task(executor="process", timeout=1.0, retry=ONCE)
def endless_process(ctx: Context) -> Result:
    """Never ends, and swallows every exception on the way."""
    with body(ctx, "process", 0) as result:
        while True:
            try:
                while True:
                    pass
            except BaseException:
                result["attempt"] = 0


@app.task(timeout=1.0, retry=ONCE)
def endless_thread(ctx: Context) -> Result:
    """Never ends, and cannot be killed."""
    with body(ctx, "thread", 0):
        while True:
            pass


@app.task
async def block(ctx: Context, seconds: float) -> Result:
    """Blocks the event loop, as a synchronous call in an async job would."""
    with body(ctx, "async", 0) as result:
        time.sleep(seconds)
    return result


@app.task
async def block_once(ctx: Context, seconds: float) -> Result:
    """Blocks the event loop at its first attempt."""
    with body(ctx, "async", 0) as result:
        if ctx.attempt == 1:
            time.sleep(seconds)
    return result


@app.task(retry=ONCE)
async def nasty_async(name: str) -> None:
    """Raises on the loop."""
    NASTY[name]()


@app.task(retry=ONCE)
def nasty_thread(name: str) -> None:
    """Raises in a thread."""
    NASTY[name]()


@app.task(executor="process", retry=ONCE)
def nasty_process(name: str) -> None:
    """Raises in a child process."""
    NASTY[name]()


@app.task
async def well() -> str:
    """Nothing wrong here."""
    return "well"
