"""A SQLite store in a folder of its own, and the few words its tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from treadle.engine.sqlite.driver import Settings
from treadle.engine.sqlite.store import SqliteStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(path, settings=Settings(synchronous="OFF", timeout=30.0))
    yield store
    store.close()
