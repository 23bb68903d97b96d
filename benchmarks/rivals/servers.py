"""The servers that every queue of a run is measured on: one PostgreSQL, one Valkey, as durable as they come."""

import os
import statistics
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from tests.servers.postgres import Postgres
from tests.servers.valkey import Valkey

import redis

# fsync and synchronous_commit stay on. The rest keeps checkpoints, which come when they come, out of short runs.
POSTGRES = {"shared_buffers": "512MB", "max_wal_size": "8GB", "checkpoint_timeout": "30min"}
VALKEY = {"appendonly": "yes", "appendfsync": "everysec"}


class PostgresServer:
    """A database for each measurement."""

    engine = "postgres"

    def __init__(self, server: Postgres) -> None:
        self.server = server
        self._databases: list[str] = []

    def fresh(self) -> str:
        """The URL of an empty store; those before it are gone."""
        for name in self._databases:
            self.server.ask(f"DROP DATABASE {name} WITH (FORCE)")
        self._databases = [self.server.database()]
        self.server.ask("CHECKPOINT")
        return self.server.url(self._databases[0])

    def facts(self) -> dict[str, Any]:
        rows = self.server.ask(
            "SELECT name, setting FROM pg_settings WHERE name IN ('fsync', 'synchronous_commit', 'full_page_writes')"
        )
        version = self.server.ask("SHOW server_version")[0][0]
        return {"name": "PostgreSQL", "version": version, "settings": {**dict(rows), **POSTGRES}}


class ValkeyServer:
    """One database, emptied for each measurement."""

    engine = "redis"

    def __init__(self, server: Valkey) -> None:
        self.server = server

    def fresh(self) -> str:
        """The URL of an empty store."""
        self.server.ask("FLUSHALL", "SYNC")
        return self.server.url

    def facts(self) -> dict[str, Any]:
        with redis.Redis.from_url(self.server.url) as client:
            found: Any = client.info("server")
        version = found.get("valkey_version") or found["redis_version"]
        return {"name": "Valkey", "version": version, "settings": VALKEY}


Server = PostgresServer | ValkeyServer


@contextmanager
def serve(engine: str) -> Generator[Server]:
    """The server of one engine, for as long as the run lasts."""
    if engine == "postgres":
        postgres = Postgres(POSTGRES)
        try:
            postgres.create()
            postgres.start()
            yield PostgresServer(postgres)
        finally:
            postgres.remove()
        return
    with tempfile.TemporaryDirectory(prefix="treadle-bench-") as folder:
        valkey = Valkey(Path(folder), VALKEY)
        try:
            valkey.start()
            yield ValkeyServer(valkey)
        finally:
            valkey.stop()


@contextmanager
def held_snapshot(url: str) -> Generator[None]:
    """A transaction that sees the store as it is now, kept open: what a forgotten report or a backup does."""
    with psycopg.connect(url) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        connection.execute("SELECT count(*) FROM pg_class")
        yield
        connection.rollback()


def sync_microseconds() -> float:
    """What it costs here to bring 8 kB to the disk: the median of 200 times."""
    times = []
    with tempfile.TemporaryFile() as file:
        for _ in range(200):
            os.pwrite(file.fileno(), b"x" * 8192, 0)
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - began)
    return statistics.median(times) * 1e6
