"""Jobs in a transaction that SQLAlchemy or Django keeps on the store's own file."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from treadle import NotTransactional, Treadle
from treadle.testing import drain

Opener = Callable[[], AbstractContextManager[tuple[Any, Callable[[str], Any]]]]


def double(number: int) -> int:
    return number * 2


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "own.db"


@pytest.fixture
def app(path: Path) -> Iterator[Treadle]:
    app = Treadle(f"sqlite:///{path}?driver=sqlite3&synchronous=OFF")
    app.task(name="double")(double)
    app.store.migrate()
    yield app
    app.close()


@pytest.fixture(params=["connection", "session", "django"])
def opener(request: pytest.FixtureRequest, path: Path) -> Iterator[Opener]:
    """Opens a transaction: gives what is handed to treadle, and what runs the user's own SQL."""
    if request.param == "django":
        with django_connection(path) as connection:
            yield lambda: django_transaction(connection)
        return
    engine = sa.create_engine(f"sqlite:///{path}")

    @contextmanager
    def open_() -> Iterator[tuple[Any, Callable[[str], Any]]]:
        if request.param == "connection":
            with engine.begin() as connection:
                yield connection, lambda sql: connection.execute(sa.text(sql))
        else:
            with Session(engine) as session, session.begin():
                yield session, lambda sql: session.execute(sa.text(sql))

    yield open_
    engine.dispose()


@contextmanager
def django_connection(path: Path) -> Iterator[Any]:
    import django
    from django.conf import settings
    from django.db.utils import ConnectionHandler

    if not settings.configured:
        settings.configure(USE_TZ=True, LOGGING_CONFIG=None)
        django.setup()

    connection = ConnectionHandler({"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(path)}})["default"]
    try:
        yield connection
    finally:
        connection.close()


@contextmanager
def django_transaction(connection: Any) -> Iterator[tuple[Any, Callable[[str], Any]]]:
    """As `transaction.atomic()` does for the connections of `django.db`."""
    from unittest import mock

    from django.db import transaction

    with mock.patch("django.db.transaction.get_connection", return_value=connection), transaction.atomic():
        yield connection, lambda sql: connection.cursor().execute(sql)


def rows(path: Path) -> int:
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(path)) as connection:
        found: int = connection.execute("SELECT count(*) FROM mine").fetchone()[0]
        return found


def test_rows_and_job_are_there_together(app: Treadle, path: Path, opener: Opener) -> None:
    task: Any = app.registry.expect("double")
    with opener() as (connection, own):
        own("CREATE TABLE mine (a)")
        handle = task.enqueue_in(connection, 4)
        own("INSERT INTO mine VALUES (1)")
        app.enqueue_many_in(connection, [task.options(tags=["x"]).call(each) for each in range(120)])
    assert rows(path) == 1
    assert len(drain(app)) == 121
    assert handle.result(timeout=0) == 8


def test_neither_is_there_after_an_error(app: Treadle, path: Path, opener: Opener) -> None:
    task: Any = app.registry.expect("double")
    with opener() as (_, own):
        own("CREATE TABLE mine (a)")

    def attempt() -> None:
        with opener() as (connection, own):
            own("INSERT INTO mine VALUES (1)")
            task.enqueue_in(connection, 4)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        attempt()
    assert rows(path) == 0
    assert len(drain(app)) == 0


def test_a_job_first_and_nothing_else(app: Treadle, path: Path, opener: Opener) -> None:
    """The driver has not begun when SQLAlchemy says it has: the job must begin the transaction itself."""
    task: Any = app.registry.expect("double")

    def attempt() -> None:
        with opener() as (connection, _):
            task.enqueue_in(connection, 4)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        attempt()
    assert len(drain(app)) == 0
    with opener() as (connection, _):
        task.enqueue_in(connection, 4)
    assert len(drain(app)) == 1


def test_a_savepoint_that_rolls_back_takes_its_job_along(app: Treadle, path: Path) -> None:
    task: Any = app.registry.expect("double")
    engine = sa.create_engine(f"sqlite:///{path}")
    with Session(engine) as session, session.begin():
        kept = task.enqueue_in(session, 1)
        savepoint = session.begin_nested()
        task.enqueue_in(session, 2)
        savepoint.rollback()
    engine.dispose()
    assert [each.id for each in drain(app).ran] == [kept.id]


def test_another_database_is_refused(app: Treadle, tmp_path: Path) -> None:
    task: Any = app.registry.expect("double")
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'another.db'}")
    with engine.begin() as connection, pytest.raises(NotTransactional, match=r"not to this store's file"):
        task.enqueue_in(connection, 1)
    engine.dispose()


def test_django_without_a_transaction_is_refused(app: Treadle, path: Path) -> None:
    task: Any = app.registry.expect("double")
    with django_connection(path) as connection, pytest.raises(NotTransactional, match=r"transaction\.atomic"):
        task.enqueue_in(connection, 1)


def test_an_engine_is_no_transaction(app: Treadle, path: Path) -> None:
    task: Any = app.registry.expect("double")
    engine = sa.create_engine(f"sqlite:///{path}")
    with pytest.raises(NotTransactional, match=r"Engine: a SQLite store takes part"):
        task.enqueue_in(engine, 1)
    engine.dispose()
