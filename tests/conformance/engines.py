"""The engines under examination. A new one joins by one entry in ENGINES; the suite then holds for it as well."""

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from functools import cache, partial
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import apsw
import msgspec
import psycopg

from conformance.desk import AuditEntry, Bench
from servers import postgres as postgres_servers
from servers import valkey
from treadle.engine.memory.session import MemoryStore
from treadle.engine.postgres.place import address
from treadle.engine.postgres.store import PostgresStore
from treadle.engine.redis.address import Address
from treadle.engine.redis.store import RedisStore
from treadle.engine.sqlite.store import Settings, SqliteStore


@contextmanager
def memory(folder: Path) -> Iterator[Bench]:
    store = MemoryStore("conformance", allow_volatile=True)

    def audit() -> list[AuditEntry]:
        return [AuditEntry(line.actor, line.change, frozenset(line.jobs)) for line in store.tables.audit]

    yield Bench(store, store.transaction, audit)
    store.close()


def _connect(driver: str, path: Path) -> Any:
    if driver == "apsw":
        return apsw.Connection(str(path))
    return sqlite3.connect(path, isolation_level=None)


@cache
def _empty_file() -> bytes:
    """A migrated file without jobs: copied for each test, since making it anew costs more than most tests do."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "empty.db"
        store = SqliteStore(path, settings=Settings(synchronous="OFF"))
        store.migrate()
        store.close()
        return path.read_bytes()


@contextmanager
def sqlite(driver: str, folder: Path) -> Iterator[Bench]:
    path = folder / "conformance.db"
    path.write_bytes(_empty_file())
    store = SqliteStore(path, settings=Settings(driver=driver, synchronous="OFF"))
    assert store.pending_migrations() == []

    @contextmanager
    def transaction() -> Iterator[Any]:
        with closing(_connect(driver, path)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def audit() -> list[AuditEntry]:
        with closing(_connect(driver, path)) as connection:
            rows = connection.execute("SELECT actor, change, jobs FROM treadle_audit ORDER BY k").fetchall()
        return [AuditEntry(actor, change, frozenset(json.loads(jobs))) for actor, change, jobs in rows]

    yield Bench(store, transaction, audit)
    store.close()


_namespaces = (f"test_{n}" for n in count(1))


@contextmanager
def redis(folder: Path) -> Iterator[Bench]:
    server = valkey.shared()
    store = RedisStore(Address(host="127.0.0.1", port=server.port, timeout=30.0), namespace=next(_namespaces))

    def transaction() -> AbstractContextManager[Any]:
        raise AssertionError("this engine borrows from nobody")

    def audit() -> list[AuditEntry]:
        dialled = store.reach()
        with closing(dialled.sock):
            lines: Any = dialled.ask(time.monotonic() + 30.0, "LRANGE", store.tag + b":audit", 0, -1)
        rows = [msgspec.msgpack.decode(line) for line in lines]
        return [AuditEntry(actor, change, frozenset(jobs)) for _, actor, change, jobs, _ in rows]

    yield Bench(store, transaction, audit)
    store.close()


@contextmanager
def postgres(folder: Path) -> Iterator[Bench]:
    server = postgres_servers.shared()
    with server.lent() as database:
        yield from _postgres(server.url(database))


def _postgres(url: str) -> Iterator[Bench]:
    store = PostgresStore(address(url, ()))
    spare: list[psycopg.Connection[Any]] = []

    @contextmanager
    def transaction() -> Iterator[Any]:
        connection = spare.pop() if spare else psycopg.connect(url)
        try:
            yield connection
        except BaseException:
            connection.rollback()
            raise
        else:
            connection.commit()
        finally:
            spare.append(connection)

    def audit() -> list[AuditEntry]:
        with transaction() as connection:
            rows = connection.execute("SELECT actor, change, jobs FROM treadle.audit ORDER BY k").fetchall()
        return [AuditEntry(actor, change, frozenset(json.loads(jobs))) for actor, change, jobs in rows]

    yield Bench(store, transaction, audit)
    store.close()
    for connection in spare:
        connection.close()


ENGINES: dict[str, Callable[[Path], AbstractContextManager[Bench]]] = {
    "memory": memory,
    "sqlite": partial(sqlite, "apsw"),
    "sqlite3": partial(sqlite, "sqlite3"),
    "postgres": postgres,
    "redis": redis,
}

TRANSACTIONAL = [name for name in ENGINES if name != "redis"]
"""The engines that can take part in a transaction of the user's."""
