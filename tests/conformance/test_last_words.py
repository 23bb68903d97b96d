"""What a program still enqueues in its last moments."""

import os
import subprocess
import sys

import pytest

from chaos.fleet import PATH
from servers import postgres, valkey
from treadle import Treadle
from treadle.model.filter import Filter

ENDING = """
import asyncio, atexit, sys
from treadle import Treadle

app = Treadle(sys.argv[1])

@app.task(name="note")
def note(number: int) -> None: ...

async def some():
    await asyncio.gather(*(note.aenqueue(number) for number in range(3)))

def last():
    asyncio.run(some())
    app.close()
    print("stored")

atexit.register(last)
"""


@pytest.mark.parametrize("engine", ["sqlite", "postgres", "valkey"])
def test_an_atexit_hook_enqueues_on_an_event_loop(engine: str, tmp_path: object) -> None:
    """No thread can be begun there any more, and its connection is opened in one."""
    if engine == "postgres":
        with postgres.shared().lent() as name:
            check(postgres.shared().url(name))
    else:
        check(valkey.shared().url if engine == "valkey" else f"sqlite:///{tmp_path}/last.db")


def check(url: str) -> None:
    app = Treadle(url)
    app.store.migrate()
    before = count(app)
    done = subprocess.run(
        [sys.executable, "-c", ENDING, url],
        env=os.environ | {"PYTHONPATH": PATH},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.strip() == "stored", done.stderr
    assert count(app) == before + 3
    app.close()


def count(app: Treadle) -> int:
    found = app.connection.run(app.connection.engine.count(Filter(), ()))
    return sum(each.count for each in found)
