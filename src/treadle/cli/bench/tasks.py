"""What is enqueued to be measured: a body that does nothing, on the loop and in a thread, and one that says when it ran."""

import time

from treadle import Treadle

app: Treadle = Treadle()


@app.task(name="bench.async")
async def on_the_loop(number: int) -> None:
    """Do nothing on the event loop."""


@app.task(name="bench.thread")
def in_a_thread(number: int) -> None:
    """Do nothing in a thread."""


@app.task(name="bench.started")
async def started() -> float:
    """The moment at which the body began, as Unix seconds."""
    return time.time()
