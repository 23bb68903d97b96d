"""Isolation levels: what locks first and looks then must see what it has waited for."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from conformance.desk import Desk
from servers.pooler import Pooler
from servers.postgres import USER, shared
from treadle import Cap, NotTransactional, QueueFull, Treadle
from treadle.app import pressure
from treadle.engine.plan import Plan, Steps
from treadle.engine.postgres.place import Settings, address
from treadle.engine.postgres.statements import compiled
from treadle.engine.postgres.steps import Ask
from treadle.engine.postgres.store import PostgresStore
from treadle.model.filter import Filter
from treadle.model.flow import Hold, Ordering, Unique
from treadle.model.job import Edge, Stored
from treadle.model.outcome import Completed, Settlement
from treadle.model.state import State

STRICTER = (psycopg.IsolationLevel.REPEATABLE_READ, psycopg.IsolationLevel.SERIALIZABLE)


def idle() -> None: ...


@pytest.mark.parametrize("level", STRICTER)
def test_no_job_ends_in_a_transaction_that_does_not_see_who_waits_for_it(
    own_desk: Desk, database: str, level: psycopg.IsolationLevel
) -> None:
    lease = own_desk.worker()
    running = own_desk.claim_one(lease, own_desk.add())
    ends = [Settlement(running.ref, running.id, running.attempt, Completed(), 0.0)]
    with psycopg.connect(database) as connection:
        connection.isolation_level = level
        connection.execute("SELECT 1")
        with pytest.raises(NotTransactional, match="READ COMMITTED"):
            own_desk.bench.store.borrow(connection).run(own_desk.engine.settle(lease, ends, now=own_desk.now))
        connection.commit()

    assert own_desk.state(running.id) is State.RUNNING


@pytest.mark.parametrize("level", STRICTER)
def test_only_a_job_that_asks_nothing_of_others_is_stored_in_such_a_transaction(
    own_desk: Desk, database: str, level: psycopg.IsolationLevel
) -> None:
    parent = own_desk.add()
    asks: list[dict[str, Any]] = [
        {"edges": (Edge(parent),)},
        {"holds": (Hold("db"),)},
        {"ordering": Ordering("k")},
        {"unique": Unique("u")},
    ]
    with psycopg.connect(database) as connection:
        connection.isolation_level = level
        connection.execute("SELECT 1")
        session = own_desk.bench.store.borrow(connection)
        for asked in asks:
            with pytest.raises(NotTransactional, match="READ COMMITTED"):
                session.run(own_desk.engine.enqueue([own_desk.new(**asked)], now=own_desk.now))
        for plain in ({}, {"tags": ("a",)}, {"delay": 5.0}):
            [answer] = session.run(own_desk.engine.enqueue([own_desk.new(**plain)], now=own_desk.now))
            assert answer.verdict is Stored.STORED
        assert len(session.run(own_desk.engine.count(Filter()))) > 0
        connection.commit()

    assert len(own_desk.find()) == 4


@pytest.mark.parametrize("level", STRICTER)
def test_whether_there_is_room_in_a_queue_may_be_asked_in_such_a_transaction(
    database: str, monkeypatch: pytest.MonkeyPatch, level: psycopg.IsolationLevel
) -> None:
    """Every ten seconds, when a producer looked for caps again, a plain enqueue was refused."""
    monkeypatch.setattr(pressure, "RECORDS", 0.0)
    app = Treadle(database)
    app.queue("bulk", cap=Cap(2))
    work = app.task(name="work", queue="bulk")(idle)
    with psycopg.connect(database) as connection:
        connection.isolation_level = level
        handles = [work.enqueue_in(connection) for _ in range(2)]
        with pytest.raises(QueueFull):
            work.enqueue_in(connection)
        connection.commit()

    assert [each.state() for each in handles] == [State.QUEUED] * 2
    app.close()


@pytest.mark.parametrize("level", STRICTER)
def test_nothing_is_shed_in_a_transaction_that_does_not_see_who_waits_for_it(
    database: str, level: psycopg.IsolationLevel
) -> None:
    app = Treadle(database)
    app.queue("bulk", cap=Cap(1, action="shed"))
    work = app.task(name="work", queue="bulk")(idle)
    there = work.enqueue()
    with psycopg.connect(database) as connection:
        connection.isolation_level = level
        with pytest.raises(NotTransactional, match="it can end no job"):
            work.options(priority=9).enqueue_in(connection)
        connection.commit()

    assert there.state() is State.QUEUED
    assert len(app.client.find()) == 1
    app.close()


def test_what_postgresql_reads_as_read_committed_will_do(own_desk: Desk, database: str) -> None:
    parent = own_desk.add()
    with psycopg.connect(database) as connection:
        connection.isolation_level = psycopg.IsolationLevel.READ_UNCOMMITTED
        session = own_desk.bench.store.borrow(connection)
        [answer] = session.run(own_desk.engine.enqueue([own_desk.new(edges=(Edge(parent),))], now=own_desk.now))
        connection.commit()

    assert answer.verdict is Stored.STORED


@pytest.fixture
def strict_database() -> Iterator[str]:
    """The name of a database in which transactions are stricter unless they say otherwise. It is lent to others afterwards."""
    server = shared()
    setting = "default_transaction_isolation"
    with server.lent() as name, psycopg.connect(server.url(name), autocommit=True) as connection:
        connection.execute(f'ALTER DATABASE "{name}" SET {setting} = "repeatable read"'.encode())
        yield name
        connection.execute(f'ALTER DATABASE "{name}" RESET {setting}'.encode())


def test_behind_a_pooler_we_say_the_level_each_time(strict_database: str) -> None:
    pooler = Pooler(shared().port, USER, strict_database, 1)
    url = f"postgresql://{USER}@127.0.0.1:{pooler.port}/{strict_database}"
    store = PostgresStore(address(url, ()), settings=Settings(timeout=20.0))
    session = store.session()

    def ask() -> Steps[Any]:
        return (yield Ask(compiled("SELECT current_setting('transaction_isolation')")))

    assert session.run(Plan("probe", ask)) == [("read committed",)]
    session.close()
    store.close()
    pooler.close()
