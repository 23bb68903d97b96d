"""What doctor finds, and which SQLite libraries must not be shared."""

from pathlib import Path

import pytest

from treadle.engine.sqlite import doctor, driver, log
from treadle.engine.sqlite import store as store_room
from treadle.engine.sqlite.doctor import is_vulnerable
from treadle.engine.sqlite.driver import Settings
from treadle.engine.sqlite.store import SqliteStore
from treadle.model.errors import VulnerableSQLite
from treadle.model.job import NewJob


@pytest.mark.parametrize(
    ("version", "vulnerable"),
    [
        ((3, 6, 23), False),
        ((3, 7, 0), True),
        ((3, 40, 1), True),
        ((3, 44, 5), True),
        ((3, 44, 6), False),
        ((3, 45, 0), True),
        ((3, 50, 6), True),
        ((3, 50, 7), False),
        ((3, 51, 0), True),
        ((3, 51, 2), True),
        ((3, 51, 3), False),
        ((3, 54, 1), False),
    ],
)
def test_which_libraries_have_the_bug(version: tuple[int, ...], vulnerable: bool) -> None:
    assert is_vulnerable(version) is vulnerable


def test_one_process_may_use_any_library(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_room, "library_version", lambda _: (3, 40, 1))
    store = SqliteStore(path)
    store.guard_processes(1)
    with pytest.raises(VulnerableSQLite, match=r"3\.40\.1.*driver=apsw"):
        store.guard_processes(2)


def test_the_default_library_is_safe(path: Path) -> None:
    assert not is_vulnerable(driver.library_version("apsw"))
    SqliteStore(path).guard_processes(64)


def levels(store: SqliteStore) -> dict[str, str]:
    return {check.name: check.level for check in store.doctor()}


def test_a_healthy_store(store: SqliteStore, path: Path) -> None:
    session = store.session()
    session.run(store.engine.enqueue([NewJob("one", "work")]))
    findings = {check.name: check.message for check in store.doctor()}
    session.close()
    assert set(levels(store).values()) == {"ok"}
    assert findings["location"] == str(path)
    assert findings["durability"].startswith("synchronous=OFF, D1")
    assert findings["schema"] == "version 1"
    assert findings["quick check"] == "no fault found"


def test_a_store_that_is_not_there_yet_is_left_alone(store: SqliteStore, path: Path) -> None:
    assert levels(store)["file"] == "warning"
    assert not path.exists()


def test_a_store_without_our_tables_is_left_alone(store: SqliteStore, path: Path) -> None:
    path.touch()
    found = levels(store)
    assert (found["schema"], found["journal mode"]) == ("warning", "warning")
    assert path.stat().st_size == 0


def test_a_place_that_cannot_be(tmp_path: Path) -> None:
    assert levels(SqliteStore(tmp_path / "missing" / "jobs.db"))["file"] == "error"


def test_a_damaged_file_is_told(store: SqliteStore, path: Path) -> None:
    session = store.session()
    session.run(store.engine.enqueue([NewJob(f"job-{i}", "work", args='"' + "x" * 500 + '"') for i in range(100)]))
    session.close()
    data = bytearray(path.read_bytes())
    data[-4096 * 3 : -4096] = b"\x07" * 4096 * 2
    path.write_bytes(data)
    assert "error" in levels(store).values()


def test_a_vulnerable_library_is_told(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "library_version", lambda _: (3, 40, 1))
    assert levels(store)["library"] == "warning"


def test_a_log_that_a_reader_keeps_long_is_told(store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = store.session()
    session.run(store.engine.enqueue([NewJob("one", "work")]))
    assert path.with_name("jobs.db-wal").stat().st_size > 0
    monkeypatch.setattr(log, "PINNED", 1)
    assert levels(store)["write-ahead log"] == "warning"
    session.close()


def test_the_other_driver(path: Path) -> None:
    store = SqliteStore(path, settings=Settings(driver="sqlite3"))
    store.migrate()
    library = next(check for check in store.doctor() if check.name == "library")
    assert "through sqlite3" in library.message
