"""Who keeps the write-ahead log short, and that a reader who keeps it long is told of."""

import asyncio
import fcntl
import logging
import os
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from treadle.engine.sqlite import log
from treadle.engine.sqlite.place import runtime_directory
from treadle.engine.sqlite.store import SqliteStore
from treadle.model.filter import Retention
from treadle.model.job import NewJob
from treadle.worker.chores import Chores
from treadle.worker.outage import Outage


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every length counts as long, so that a few jobs do."""
    for name in ("WORTHWHILE", "LONG", "PINNED"):
        monkeypatch.setattr(log, name, 1)


def some_jobs(store: SqliteStore, name: str) -> None:
    session = store.session()
    session.run(store.engine.enqueue([NewJob(f"{name}-{i}", "work") for i in range(10)]))
    session.close()


def test_a_store_that_is_not_there_yet_is_left_alone(store: SqliteStore, path: Path) -> None:
    assert store.tend() is None
    assert not path.exists()


def test_a_short_log_is_left_alone(store: SqliteStore, path: Path) -> None:
    store.migrate()
    with closing(apsw.Connection(str(path))) as other:  # the last to close would empty the log
        other.execute("SELECT count(*) FROM treadle_jobs").fetchall()
        some_jobs(store, "a")
        before = log.length(path)
        assert store.tend() is None
        assert log.length(path) == before > 0


@pytest.mark.usefixtures("short")
def test_a_long_log_is_cut_and_its_jobs_stay(store: SqliteStore, path: Path) -> None:
    store.migrate()
    with closing(apsw.Connection(str(path))) as other:
        some_jobs(store, "a")
        assert store.tend() is None
        assert log.length(path) == 0
        assert other.execute("SELECT count(*) FROM treadle_jobs").fetchall() == [(10,)]


@pytest.mark.usefixtures("short")
def test_one_process_at_a_time_does_it(store: SqliteStore, path: Path) -> None:
    store.migrate()
    with closing(apsw.Connection(str(path))) as other:
        other.execute("SELECT count(*) FROM treadle_jobs").fetchall()
        some_jobs(store, "a")
        owner = os.open(runtime_directory(path) / "checkpoint", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(owner, fcntl.LOCK_EX)
        assert store.tend() is None
        assert log.length(path) > 0
        os.close(owner)
        assert store.tend() is None
        assert log.length(path) == 0


@pytest.mark.usefixtures("short")
def test_a_reader_who_keeps_the_log_long_is_told_of_once(
    store: SqliteStore, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store.migrate()

    async def three_turns() -> None:
        session = store.session()
        chores = Chores(store, session, Retention(), Outage(store.location, "", 5.0), poll=1.0, lease=30.0, crash_delay=1.0)
        tend = next(chore for chore in chores.rows if chore.name == "tend")
        for _ in range(3):
            await tend.work()
        session.close()

    with closing(apsw.Connection(str(path))) as reader:
        reader.execute("BEGIN; SELECT count(*) FROM treadle_jobs")
        some_jobs(store, "a")
        with caplog.at_level(logging.WARNING, "treadle.worker"):
            asyncio.run(three_turns())
        assert [record.getMessage().startswith(f"{path}: the write-ahead log has") for record in caplog.records] == [True]
        reader.execute("COMMIT")
        assert store.tend() is None
    assert log.length(path) == 0
