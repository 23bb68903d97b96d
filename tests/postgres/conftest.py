"""A PostgreSQL store in a database of its own, and the few words its tests share."""

from collections.abc import Iterator

import pytest

from conformance.desk import Bench, Desk
from conformance.ways import blocking
from servers.postgres import shared
from treadle.engine.postgres.place import Settings, address
from treadle.engine.postgres.store import PostgresStore


@pytest.fixture
def database() -> Iterator[str]:
    """The URL of an empty, migrated database."""
    server = shared()
    with server.lent() as name:
        yield server.url(name)


@pytest.fixture
def store(database: str) -> Iterator[PostgresStore]:
    store = PostgresStore(address(database, ()), settings=Settings(timeout=30.0))
    yield store
    store.close()


@pytest.fixture
def own_desk(store: PostgresStore) -> Iterator[Desk]:
    bench = Bench(store, lambda: pytest.fail("not lent here"), list)
    with blocking(bench) as run:
        yield Desk(bench, run)
