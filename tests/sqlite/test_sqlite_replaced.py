"""The file is deleted or replaced while a session has it open."""

import asyncio
import secrets
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from treadle import Treadle
from treadle.engine.session import Durability
from treadle.engine.sqlite import session as room
from treadle.engine.sqlite.driver import Settings
from treadle.engine.sqlite.store import SqliteStore
from treadle.model.filter import Filter, Page
from treadle.model.job import NewJob
from treadle.worker.heartbeat import EXIT_LOST
from treadle.worker.options import WorkerOptions
from treadle.worker.worker import Worker

PATIENCE = 30.0


@pytest.fixture(autouse=True)
def _looking_each_time(monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction]
    monkeypatch.setattr(room, "_LOOK", 0.0)


def new(name: str) -> list[NewJob]:
    return [NewJob(name, "work")]


def stored(path: Path) -> list[str]:
    """What a stranger finds under the path, in a file that is whole."""
    with closing(sqlite3.connect(path)) as stranger:
        assert stranger.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return sorted(name for (name,) in stranger.execute("SELECT id FROM treadle_jobs"))


def open_store(path: Path) -> SqliteStore:
    return SqliteStore(path, settings=Settings(driver="sqlite3", timeout=30.0))


@pytest.mark.parametrize("companions", [False, True])
def test_what_is_enqueued_after_a_deletion_is_in_the_file_that_is_there(path: Path, *, companions: bool) -> None:
    store = open_store(path)
    session, other = store.session(), store.session()
    session.run(store.engine.enqueue(new("before")))
    session.run(store.engine.enqueue(new("relaxed")), Durability.RELAXED)
    other.run(store.engine.enqueue(new("other")))
    path.unlink()
    if companions:
        for each in ("-wal", "-shm"):
            Path(f"{path}{each}").unlink()
    session.run(store.engine.enqueue(new("after")))
    other.run(store.engine.enqueue(new("too")), Durability.RELAXED)
    session.run(store.engine.enqueue(new("last")), Durability.RELAXED)
    assert stored(path) == ["after", "last", "too"]
    session.close()
    other.close()
    assert stored(path) == ["after", "last", "too"]


def test_what_is_enqueued_after_a_replacement_joins_what_was_put_there(path: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup.db"
    aside = open_store(backup)
    first = aside.session()
    first.run(aside.engine.enqueue(new("saved")))
    first.close()
    store = open_store(path)
    session, other = store.session(), store.session()
    for number in range(20):
        session.run(store.engine.enqueue(new(f"before-{number}")))
    other.run(store.engine.enqueue(new("other")))
    shutil.copy(backup, tmp_path / "copy.db")
    (tmp_path / "copy.db").replace(path)
    session.run(store.engine.enqueue(new("after")))
    assert {job.id for job in other.run(store.engine.find(Filter(), Page()))} == {"saved", "after"}
    other.run(store.engine.enqueue(new("too")))
    assert stored(path) == ["after", "saved", "too"]
    session.close()
    other.close()
    assert stored(path) == ["after", "saved", "too"]
    assert Path(f"{path}-wal-of-a-file-replaced").exists(), "what only the old log held is kept"
    (left,) = [check for check in store.doctor() if check.name == "left aside"]
    assert left.level == "warning"
    assert f"{path}-wal-of-a-file-replaced" in left.message
    assert "delete it" in left.message
    for each in path.parent.glob("*-of-a-file-replaced"):
        each.unlink()
    assert "left aside" not in {check.name for check in store.doctor()}


def test_a_worker_whose_file_is_gone_is_replaced(path: Path) -> None:
    app = Treadle(f"sqlite:///{path}")

    async def stage() -> int:
        ready = asyncio.Event()
        options = WorkerOptions(target="tests:app", lease=10.0, poll=0.05)
        worker = Worker(app, options, lease=secrets.token_hex(16), ready=ready.set)
        serving = asyncio.create_task(worker.serve())
        await asyncio.wait_for(ready.wait(), PATIENCE)
        path.unlink()
        return await asyncio.wait_for(serving, PATIENCE)

    @app.task(name="work")
    async def work() -> None:
        pass

    assert asyncio.run(stage()) == EXIT_LOST
    app.close()
