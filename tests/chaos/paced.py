"""Two tasks that start at a rate: what the workers of a pace run serve."""

import os

from treadle import Treadle

BURST = 20

app = Treadle()
rate = f"{os.environ.get('PACE_RATE', '100')}/{os.environ.get('PACE_PERIOD', '60')}s"


@app.task(limits=[app.limit("spaced", rate=rate, burst=BURST)])
async def spaced() -> None:
    """A job whose start is spaced from the others'."""


@app.task(limits=[app.limit("strict", rate=rate, strict=True)])
def strict() -> None:
    """A job that counts for a whole period after its start."""
