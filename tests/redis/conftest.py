"""Stores on Valkey servers: the one that all tests share, in a namespace of its own, and servers for one test alone."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conformance.desk import Bench, Desk
from servers import valkey
from treadle.engine.redis.store import RedisStore


@pytest.fixture
def store() -> Iterator[RedisStore]:
    """A store on the shared server."""
    store = RedisStore(valkey.shared().address(), namespace=f"t{uuid.uuid4().hex[:12]}")
    yield store
    store.close()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., valkey.Valkey]]:
    """Start a server for this test alone, with these settings."""
    servers: list[valkey.Valkey] = []

    def start(**options: str) -> valkey.Valkey:
        folder = tmp_path / f"valkey-{len(servers)}"
        folder.mkdir()
        server = valkey.Valkey(folder, options)
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def desk_at() -> Iterator[Callable[[RedisStore], Desk]]:
    """Short words for the verbs on a store, through a session of its own."""
    opened: list[Any] = []

    def nowhere() -> Any:
        raise AssertionError("nobody looks at it here")

    def make(store: RedisStore) -> Desk:
        session = store.session()
        opened.append(session)
        return Desk(Bench(store, nowhere, nowhere), session.run)

    yield make
    for session in opened:
        session.close()


@pytest.fixture
def desk(store: RedisStore, desk_at: Callable[[RedisStore], Desk]) -> Desk:
    """Short words for the verbs on the shared server."""
    return desk_at(store)
