"""A schedule for the tests with real workers: each run of a slot leaves a line."""

import os
from pathlib import Path

from treadle import Context, Treadle

app = Treadle()


def lines() -> Path:
    """The file with one line for each attempt: the slot in whole seconds, and the job."""
    return Path(os.environ["CHAOS_FOLDER"]) / "slots"


@app.schedule(every="1s", catch_up="all", name="tick")
@app.task(name="tick")
def tick(ctx: Context) -> None:
    slot = ctx.slot
    assert slot is not None
    with lines().open("a") as file:
        file.write(f"{slot.at.timestamp():.0f} {ctx.id}\n")
