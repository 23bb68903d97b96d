"""A real supervisor grows its worker processes with what waits for a slot, and not with what waits at a limit."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from treadle import Treadle
from treadle.app.load import see_load
from treadle.app.loader import load as load_app
from treadle.model.state import State

PATIENCE = 60.0
TASKS = """
import time
from pathlib import Path
from treadle import Treadle

app = Treadle("sqlite:///jobs.db")
one = app.limit("one", concurrency=1)

def hold():
    while not Path("go").exists():
        time.sleep(0.01)

@app.task
def wait() -> None:
    hold()

@app.task(limits=[one])
def held() -> None:
    hold()
"""


def until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"it never came to this: {what}"
        time.sleep(0.02)


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Treadle]:
    (tmp_path / "scaled.py").write_text(TASKS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    app = load_app("scaled")
    yield app
    app.close()
    sys.modules.pop("scaled", None)


@contextlib.contextmanager
def supervised(folder: Path, *words: str) -> Iterator[Path]:
    """A supervisor that serves the module; gives the file of its log."""
    log = folder / "log"
    command = [sys.executable, "-m", "treadle", "worker", "scaled", "--threads", "1", "--poll", "100ms", *words]
    with log.open("w") as out:
        process = subprocess.Popen(command, cwd=folder, stdout=out, stderr=out, env={**os.environ, "PYTHONPATH": _path(folder)})
        try:
            yield log
        finally:
            (folder / "go").touch()
            process.terminate()
            process.wait(PATIENCE)


def _path(folder: Path) -> str:
    return os.pathsep.join([str(folder), *sys.path])


def test_it_grows_to_the_most_while_jobs_wait_for_slots(app: Treadle, tmp_path: Path) -> None:
    app.enqueue_many([app.call("scaled.wait") for _ in range(20)])
    with supervised(tmp_path, "--processes", "1:3") as log:
        until(lambda: sum(each.live for each in app.client.workers()) == 3, "three worker processes")
        until(lambda: app.client.count()[-1].count == 3 and app.client.count()[-1].key == (State.RUNNING,), "three jobs run")
        (tmp_path / "go").touch()
        until(lambda: [each.key[0] for each in app.client.count()] == [State.COMPLETED], "all is done")
    assert "3 worker processes instead of 2" in log.read_text()


def test_it_does_not_grow_with_what_waits_at_a_limit(app: Treadle, tmp_path: Path) -> None:
    app.enqueue_many([app.call("scaled.held") for _ in range(20)])
    plain = app.call("scaled.wait")
    with supervised(tmp_path, "--processes", "1:3", "--threads", "4") as log:
        until(lambda: [each.waiting for each in app.client.limits.list()] == [19], "all but one wait at the limit")
        now = time.time_ns() // 1000
        load = app.connection.run(see_load(app.connection.engine, now, ["default"]))
        assert (load.blocked, load.sight.short, load.sight.wanted) == (19, False, 1)
        plain.enqueue()
        until(lambda: plain.handle().state() is State.RUNNING, "a plain job runs beside it")
    assert "worker processes instead of" not in log.read_text()
