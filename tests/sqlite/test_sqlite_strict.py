"""The tables refuse values of the wrong kind: a row that cannot be read would stop every claim of its queue."""

import sqlite3
from pathlib import Path

import pytest

from treadle.engine.sqlite.driver import Settings
from treadle.engine.sqlite.store import SqliteStore
from treadle.model.job import NewJob


@pytest.mark.parametrize("change", ["args = x'ff'", "version = 'x'", "queue = x'00'", "enqueued_at = 1.5"])
def test_a_value_of_the_wrong_kind_cannot_be_written(path: Path, change: str) -> None:
    store = SqliteStore(path, settings=Settings(driver="sqlite3", synchronous="OFF"))
    session = store.session()
    session.run(store.engine.enqueue([NewJob("one", "work")]))
    stranger = sqlite3.connect(path, isolation_level=None)
    with pytest.raises(sqlite3.IntegrityError, match="cannot store"):
        stranger.execute(f"UPDATE treadle_jobs SET {change}")
    stranger.close()
    session.close()
