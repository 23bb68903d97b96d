"""From a URL to a store: what is read, what is refused, and that no password is ever shown."""

from typing import Any

import psycopg
import pytest

from conformance.desk import Bench, Desk
from conformance.ways import blocking
from servers.postgres import shared
from treadle.engine.open import open_store
from treadle.engine.postgres.place import address
from treadle.engine.postgres.store import PostgresStore
from treadle.engine.session import Store
from treadle.model.errors import CannotOpen, InvalidURL, SchemaMismatch
from treadle.model.flow import Hold, Ordering
from treadle.model.record import Space
from treadle.model.state import State

SECRET = "s3cr3t"


def open_(url: str, namespace: str = "treadle") -> Store:
    return open_store(url, namespace=namespace)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"postgresql://ada:{SECRET}@db.example:5433/shop", "postgresql://ada@db.example:5433/shop"),
        (f"postgres://ada:{SECRET}@db.example/shop?sslmode=require", "postgresql://ada@db.example/shop"),
        (f"postgresql://db.example/shop?user=ada&password={SECRET}", "postgresql://ada@db.example/shop"),
        (f"postgresql://ada:{SECRET}@one:1,two:2/shop", "postgresql://ada@one:1,two:2/shop"),
        (f"postgresql://ada%40corp:{SECRET}%40@[::1]:1/shop", "postgresql://ada%40corp@::1:1/shop"),
        (f"postgresql://db.example/shop?user=ada@corp&password={SECRET}@", "postgresql://ada%40corp@db.example/shop"),
        ("postgresql:///shop?host=/run/postgresql", "postgresql://%2Frun%2Fpostgresql/shop"),
    ],
)
def test_the_location_shows_no_password(url: str, shown: str) -> None:
    store = open_(url)
    assert store.location == shown
    assert SECRET not in repr(address(url, ()))
    assert store.local is False


@pytest.mark.parametrize(
    ("url", "error", "says"),
    [
        (f"postgresql://ada:{SECRET}@h/shop?colour=red", InvalidURL, "colour"),
        (f"postgresql://ada:{SECRET}@h:many/shop?timeout=soon", InvalidURL, "timeout=soon"),
        (f"postgresql://ada:{SECRET}@h/shop?connections=0", InvalidURL, "connections=0"),
        (f"postgresql://h/shop?password={SECRET}&colour=red", InvalidURL, "colour"),
        (f"postgresql://h/shop?timeout=5;password={SECRET}", InvalidURL, "& between"),
        (f"postgresql://h/shop?timeout=5?password={SECRET}", InvalidURL, "& between"),
        (f"postgresql://h/shop?timeout=5%3Bpassword%3D{SECRET}", InvalidURL, "& between"),
        (f"postgresql://h/shop?sslmode=require;password={SECRET}", InvalidURL, "& between"),
        (f"postgresql://h/shop;password={SECRET}", InvalidURL, "in front of the first"),
        (f"postgresql://h/shop?password={SECRET}&password={SECRET}", InvalidURL, "given twice"),
        (f"postgresql://ada:{SECRET}@h:many/shop", InvalidURL, "its port is not a number"),
        (f"postgresql://ada:{SECRET}@one:1,two:many/shop", InvalidURL, "its port is not a number"),
        (f"postgresql://ada:{SECRET}?x@h/shop", InvalidURL, "%3F"),
    ],
)
def test_what_makes_no_sense_is_refused_without_the_password(url: str, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says) as told:
        open_(url)
    assert SECRET not in str(told.value)
    assert told.value.__cause__ is None


def test_nobody_answers() -> None:
    store = open_(f"postgresql://ada:{SECRET}@127.0.0.1:1/shop?timeout=1")
    session = store.session()
    with pytest.raises(CannotOpen, match=r"127\.0\.0\.1:1") as told:
        session.run(store.engine.read(Space.PAUSED))
    assert SECRET not in str(told.value)
    with pytest.raises(CannotOpen):
        store.pending_migrations()


def test_a_database_that_does_not_exist() -> None:
    store = open_(shared().url("nowhere"))
    with pytest.raises(CannotOpen, match="nowhere"):
        store.session().run(store.engine.read(Space.PAUSED))


def test_the_schema_waits_for_migrate_and_says_so() -> None:
    server = shared()
    store = open_(server.url(server.database()), "shop_jobs")
    session = store.session()
    with pytest.raises(SchemaMismatch, match="treadle migrate"):
        session.run(store.engine.read(Space.PAUSED))
    assert [(name, 'CREATE SCHEMA "shop_jobs";' in text) for name, text in store.pending_migrations()] == [("0001_begin", True)]
    assert store.migrate() == ["0001_begin"]
    assert store.migrate() == []
    assert store.pending_migrations() == []
    assert session.run(store.engine.read(Space.PAUSED)) == []
    session.close()
    store.close()


def test_the_sql_that_is_shown_is_the_sql_that_is_needed() -> None:
    server = shared()
    url = server.url(server.database())
    store = open_(url)
    [(name, text)] = store.pending_migrations()
    with psycopg.connect(url) as connection:
        connection.execute(text.encode())
        connection.execute("INSERT INTO treadle.meta VALUES ('version', 1)")
    assert name == "0001_begin"
    assert store.pending_migrations() == []


def test_a_store_that_is_too_new_is_left_alone(database: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute("UPDATE treadle.meta SET value = 99 WHERE name = 'version'")
    store = PostgresStore(address(database, ()))
    try:
        for call in (store.migrate, store.pending_migrations, lambda: store.session().run(store.engine.read(Space.PAUSED))):
            with pytest.raises(SchemaMismatch, match="99"):
                call()
    finally:
        with psycopg.connect(database) as connection:
            connection.execute("UPDATE treadle.meta SET value = 1 WHERE name = 'version'")


def test_two_namespaces_share_a_database_and_nothing_else(database: str) -> None:
    other = open_(database, "other")
    other.migrate()
    first = open_(database)
    from treadle.model.record import Write

    one, two = first.session(), other.session()
    one.run(first.engine.write([Write(Space.PAUSED, "red", "{}")]))
    assert two.run(other.engine.read(Space.PAUSED)) == []
    for each in (one, two):
        each.close()
    with psycopg.connect(database) as connection:
        connection.execute("DROP SCHEMA other CASCADE")


@pytest.mark.parametrize("namespace", ["select", "user", "a" * 41])
def test_a_word_of_sql_is_a_namespace_like_any_other(namespace: str) -> None:
    server = shared()
    store = open_(server.url(server.database()), namespace)
    assert f'CREATE SCHEMA "{namespace}"' in store.pending_migrations()[0][1]
    store.migrate()
    bench = Bench(store, lambda: pytest.fail("not lent here"), list)
    with blocking(bench) as run:
        desk = Desk(bench, run)
        lease = desk.worker()
        gates: list[dict[str, Any]] = [{}, {"holds": (Hold("mail", "ada"),)}, {"ordering": Ordering("cart")}, {"fair": "acme"}]
        for gate in gates:
            claimed = desk.claim_one(lease, desk.add(**gate))
            assert desk.finish(lease, claimed).state is State.COMPLETED
        assert desk.prune_all() == 4
        assert [check.level for check in store.doctor() if check.level == "error"] == []
    store.close()
