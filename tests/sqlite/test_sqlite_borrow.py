"""A session inside the user's transaction: theirs to commit, theirs to roll back, and refused where it cannot be."""

import sqlite3
from pathlib import Path
from typing import Any

import apsw
import pytest

from treadle.engine.sqlite.driver import Settings
from treadle.engine.sqlite.store import SqliteStore
from treadle.model.errors import MixedSQLite, NotTransactional
from treadle.model.filter import Axis, Filter
from treadle.model.job import NewJob, Stored


@pytest.fixture(params=["apsw", "sqlite3"])
def driver(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def served(path: Path, driver: str) -> SqliteStore:
    store = SqliteStore(path, settings=Settings(driver=driver, synchronous="OFF"))
    store.migrate()
    return store


def connect(driver: str, path: Path | str) -> Any:
    return apsw.Connection(str(path)) if driver == "apsw" else sqlite3.connect(path, isolation_level=None)


def count(store: SqliteStore) -> int:
    session = store.session()
    [total] = session.run(store.engine.count(Filter(), ()))
    session.close()
    return total.count


def test_the_job_lives_and_dies_with_the_users_rows(served: SqliteStore, driver: str, path: Path) -> None:
    mine = connect(driver, path)
    mine.execute("CREATE TABLE mine (a)")
    for end, expected in (("ROLLBACK", 0), ("COMMIT", 1)):
        mine.execute("BEGIN IMMEDIATE")
        mine.execute("INSERT INTO mine VALUES (1)")
        [answer] = served.borrow(mine).run(served.engine.enqueue([NewJob("one", "work")]))
        assert answer.verdict is Stored.STORED
        mine.execute(end)
        assert mine.execute("SELECT count(*) FROM mine").fetchall() == [(expected,)]
        assert count(served) == expected
    mine.close()


def test_an_expected_refusal_does_not_spoil_the_transaction(served: SqliteStore, driver: str, path: Path) -> None:
    mine = connect(driver, path)
    mine.execute("BEGIN IMMEDIATE")
    borrowed = served.borrow(mine)
    borrowed.run(served.engine.enqueue([NewJob("one", "work")]))
    [again] = borrowed.run(served.engine.enqueue([NewJob("one", "work")]))
    mine.execute("COMMIT")
    assert again.verdict is Stored.ALREADY
    assert count(served) == 1
    mine.close()


def test_a_row_factory_of_the_users_is_not_in_the_way(path: Path) -> None:
    store = SqliteStore(path, settings=Settings(driver="sqlite3"))
    store.migrate()
    mine = sqlite3.connect(path)
    mine.row_factory = sqlite3.Row
    mine.execute("BEGIN IMMEDIATE")
    borrowed = store.borrow(mine)
    borrowed.run(store.engine.enqueue([NewJob("one", "work")]))
    assert [each.key for each in borrowed.run(store.engine.count(Filter(), (Axis.QUEUE,)))] == [("default",)]
    mine.rollback()
    mine.close()


def test_without_a_transaction(served: SqliteStore, driver: str, path: Path) -> None:
    mine = connect(driver, path)
    with pytest.raises(NotTransactional, match="not in a transaction"):
        served.borrow(mine)
    mine.close()


@pytest.mark.parametrize("where", ["other.db", ":memory:"])
def test_another_file(served: SqliteStore, driver: str, tmp_path: Path, where: str) -> None:
    mine = connect(driver, where if where == ":memory:" else tmp_path / where)
    mine.execute("BEGIN IMMEDIATE")
    with pytest.raises(NotTransactional, match="not to this store's file"):
        served.borrow(mine)
    mine.close()


def test_something_that_is_no_connection(served: SqliteStore) -> None:
    with pytest.raises(NotTransactional, match="str"):
        served.borrow("connection")


def test_the_other_library_while_this_process_has_the_file_open(path: Path) -> None:
    store = SqliteStore(path, settings=Settings(driver="apsw"))
    session = store.session()
    session.run(store.engine.count(Filter()))
    mine = sqlite3.connect(path)
    mine.execute("BEGIN IMMEDIATE")
    with pytest.raises(MixedSQLite, match=r"\?driver="):
        store.borrow(mine)
    mine.rollback()
    mine.close()
    session.close()


def test_the_other_library_after_a_connection_was_borrowed(path: Path) -> None:
    SqliteStore(path).migrate()
    store = SqliteStore(path, settings=Settings(driver="apsw"))
    mine = sqlite3.connect(path)
    mine.execute("BEGIN IMMEDIATE")
    store.borrow(mine).run(store.engine.enqueue([NewJob("one", "work")]))
    mine.commit()
    with pytest.raises(MixedSQLite, match="sqlite3"):
        store.session().run(store.engine.count(Filter()))
    mine.close()
    assert count(SqliteStore(path, settings=Settings(driver="sqlite3"))) == 1


def test_a_file_without_our_tables_gets_them_in_the_users_transaction(path: Path, driver: str) -> None:
    mine = connect(driver, path)
    mine.execute("CREATE TABLE mine (a)")
    store = SqliteStore(path, settings=Settings(driver=driver))
    for end, tables in (("ROLLBACK", 0), ("COMMIT", 1)):
        mine.execute("BEGIN IMMEDIATE")
        [answer] = store.borrow(mine).run(store.engine.enqueue([NewJob("one", "work")]))
        assert answer.verdict is Stored.STORED
        mine.execute(end)
        assert mine.execute("SELECT count(*) FROM sqlite_master WHERE name = 'treadle_jobs'").fetchall() == [(tables,)]
    assert mine.execute("PRAGMA journal_mode").fetchall() == [("delete",)]
    mine.close()
    assert count(store) == 1
