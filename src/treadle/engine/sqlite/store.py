"""One SQLite file as a store: opening it, its schema, its wake port, and what an operator may ask about it."""

import os
import sqlite3
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apsw

from treadle.engine.forking import renew_in_children
from treadle.engine.lenders import loan
from treadle.engine.migrate import Migration, migrations, pending
from treadle.engine.session import Check, Durability, Session, Wake
from treadle.engine.sqlite.doctor import examine
from treadle.engine.sqlite.driver import (
    ApswLink,
    Link,
    Settings,
    Sqlite3Link,
    is_vulnerable,
    library_version,
    open_link,
    telling,
)
from treadle.engine.sqlite.engine import SqliteEngine
from treadle.engine.sqlite.gate import Gate
from treadle.engine.sqlite.lent import LoanedSession
from treadle.engine.sqlite.log import LONG, keep_short
from treadle.engine.sqlite.mode import SCHEMA, write_ahead
from treadle.engine.sqlite.place import check_place, enter_library, leave_library, lend_library, runtime_directory
from treadle.engine.sqlite.session import BorrowedSession, SqliteSession
from treadle.engine.sqlite.wake import Bell, SqliteWaiter
from treadle.model.errors import CannotOpen, NotTransactional, SchemaMismatch, VulnerableSQLite

_CLASSES = {
    "FULL": "D2: survives a power loss",
    "NORMAL": "D1: survives the crash of a process, not a power loss",
    "OFF": "D1: survives the crash of a process; a power loss may damage the file",
}
_PRAGMAS = (
    "cache_size = -8192",
    "mmap_size = 0",
    "temp_store = MEMORY",
    "wal_autocheckpoint = 4000",
    f"journal_size_limit = {LONG}",
)
"""Of our own connections only; what a user's connection has set stays as it is.

The page cache is small, since every write of another process empties it; behind it stands the system's own. With 64 MB a
worker grew by two fifths between its 100,000th and its 500,000th job, and drained no faster.
"""


class SqliteStore:
    """A file, by its absolute path. Nothing is opened or created before the first use."""

    def __init__(self, path: Path, *, namespace: str = "treadle", settings: Settings | None = None) -> None:
        self.path = path
        self.settings: Settings = settings or Settings()
        self.timeout: float = self.settings.timeout
        self.engine: SqliteEngine = SqliteEngine(namespace)
        self._namespace = namespace
        self._bell = Bell(self._runtime)
        renew_in_children(self)

    def renew_locks(self) -> None:
        """Begin with locks that nobody holds."""
        self._opening = threading.RLock()  # a finalizer may open a connection while its own thread opens one

    @property
    def location(self) -> str:
        """The absolute path of the file."""
        return str(self.path)

    @property
    def durability(self) -> str:
        """The durability class and what it survives."""
        return _CLASSES[self.settings.synchronous]

    @property
    def local(self) -> bool:
        """Always: the file is on this machine."""
        return True

    @property
    def abreast(self) -> bool:
        """Never: a file has one writer at a time."""
        return False

    @property
    def serial(self) -> bool:
        """Always: a file has one writer at a time."""
        return True

    def session(self) -> Session:
        """A session on a connection of its own."""
        return SqliteSession(self)

    def borrow(self, connection: Any) -> Session:
        """A session inside the user's open transaction: begin and commit stay the user's.

        Takes a `sqlite3.Connection` or an `apsw.Connection` to this same file, or what SQLAlchemy and Django make of one.
        Raises `NotTransactional` and `MixedSQLite`.
        """
        if isinstance(connection, sqlite3.Connection):
            return self._enter(Sqlite3Link(connection), "sqlite3")
        if isinstance(connection, apsw.Connection):
            return self._enter(ApswLink(connection), "apsw")
        loaned = loan(connection)
        if loaned is not None:
            return LoanedSession(loaned, lambda link: self._enter(link, "sqlite3"))
        raise NotTransactional(
            f"{type(connection).__qualname__}: a SQLite store takes part in the transaction of a sqlite3.Connection, an "
            "apsw.Connection, SQLAlchemy's Session or Connection (also asynchronous), or Django's connection. Hand in one of "
            "these itself, not a cursor or a wrapper."
        )

    def waiter(self, topics: Sequence[str]) -> SqliteWaiter:
        """Somebody waiting for topics."""
        return SqliteWaiter(self._runtime(), topics)

    def migrate(self) -> list[str]:
        """Bring the schema up to date; returns the names of the migrations applied."""
        with self._opening, telling(self.location, self.timeout):
            link = self._connect()
            try:
                return self._migrate(link)
            finally:
                self.shut(link)

    def pending_migrations(self) -> list[tuple[str, str]]:
        """The migrations not applied yet, as (name, SQL)."""
        missing: Sequence[Migration] = migrations(SCHEMA)
        if self.path.exists():
            with telling(self.location, self.timeout):
                link = self._connect()
                try:
                    missing = pending(migrations(SCHEMA), self.version(link), self.location)
                finally:
                    self.shut(link)
        return [(each.name, ";\n".join(each.statements(self._namespace)) + ";") for each in missing]

    def doctor(self) -> list[Check]:
        """Examine the store. Reads only."""
        return examine(self)

    def guard_processes(self, count: int) -> None:
        """Raise `VulnerableSQLite` when `count` processes would share the file through a library with the WAL-reset bug."""
        version = library_version(self.settings.driver)
        if count > 1 and is_vulnerable(version):
            raise VulnerableSQLite(
                f"{self.path}: SQLite {'.'.join(map(str, version))} (driver {self.settings.driver}) can damage a database that "
                f"several processes write, and {count} were asked for. Use ?driver=apsw, which brings a fixed SQLite, or one "
                "process."
            )

    def close(self) -> None:
        """Nothing stays open in the store itself: its sessions and waiters are closed by their owners."""

    def tend(self) -> str | None:
        """Keep the write-ahead log short."""
        if not self.path.exists():
            return None
        with telling(self.location, self.timeout):
            return keep_short(self.path, self._connect, self.shut, self._runtime())

    def open(self, durability: Durability) -> Link:
        """Open one more connection, with the schema up to date."""
        with self._opening:
            link = self._connect()
            try:
                self._migrate(link)
                relaxed = durability is Durability.RELAXED and self.settings.synchronous == "FULL"
                link.ask(f"PRAGMA synchronous = {'NORMAL' if relaxed else self.settings.synchronous}")
            except BaseException:
                self.shut(link)
                raise
        return link

    def shut(self, link: Link) -> None:
        """Close a connection of ours."""
        link.close()

    def gate(self) -> Gate:
        """A gate for one session."""
        return Gate(self._runtime())

    def ring(self, wakes: list[Wake]) -> None:
        """Deliver wakes after a commit."""
        self._bell.ring(wakes)

    def version(self, link: Link) -> int:
        """The schema version that a connection sees; 0 where there are no tables of ours."""
        name = f"{self._namespace}_meta"
        if not link.ask("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (name,)):
            return 0
        rows = link.ask(f"SELECT value FROM {name} WHERE name = 'version'")  # noqa: S608 - a checked namespace
        found = rows[0][0] if rows else None
        if not isinstance(found, int) or found < 1:
            raise SchemaMismatch(
                f"{self.location}: its table {name} says that the schema's version is {found!r}, which no treadle wrote. "
                "Name another file or another namespace, or restore a backup."
            )
        return found

    def newest_version(self) -> int:
        """The schema version that this code works with."""
        return len(migrations(SCHEMA))

    def connect(self) -> Link:
        """A bare connection, for examination: the schema is left as it is."""
        with telling(self.location, self.timeout):
            return self._connect()

    def _runtime(self) -> Path:
        return runtime_directory(self.path)

    def _connect(self) -> Link:
        try:
            check_place(self.path)
            if not self.path.exists():
                self.path.touch()
        except OSError as error:
            cure = "Choose another path."
            raise CannotOpen(f"{self.path}: no file can be made or read there ({error.strerror}). {cure}") from None
        key = enter_library(self.path, self.settings.driver)
        try:
            link = open_link(self.settings.driver, self.path, self.timeout)
        except BaseException:
            leave_library(key)
            raise
        weakref.finalize(link, leave_library, key)
        for each in _PRAGMAS:
            link.ask(f"PRAGMA {each}")
        link.ask("SELECT count(*) FROM sqlite_master")
        return link

    def _migrate(self, link: Link) -> list[str]:
        missing = pending(migrations(SCHEMA), self.version(link), self.location)
        write_ahead(link, self.location, self.timeout)
        if not missing:
            return []
        link.do("BEGIN IMMEDIATE")
        try:
            applied = self._apply(link)
            link.do("COMMIT")
        except BaseException:
            if link.in_transaction():
                link.do("ROLLBACK")
            raise
        return applied

    def _apply(self, link: Link) -> list[str]:
        """Run what is missing, inside the open transaction."""
        missing = pending(migrations(SCHEMA), self.version(link), self.location)
        for each in missing:
            for statement in each.statements(self._namespace):
                link.do(statement)
            values = {"version": each.number}
            link.do(f"INSERT OR REPLACE INTO {self._namespace}_meta VALUES ('version', :version)", values)  # noqa: S608
        return [each.name for each in missing]

    def _enter(self, link: Link, library: str) -> Session:
        """A session on a user's link."""
        self._check_lent(link)
        lend_library(self.path, library)
        with telling(self.location, self.timeout):
            self._apply(link)  # in a file without our tables they become part of the user's transaction, like the job
        return BorrowedSession(link, self.location, self.timeout)

    def _check_lent(self, link: Link) -> None:
        files = [row[2] for row in link.ask("PRAGMA database_list") if row[1] == "main"]
        if not files or not files[0] or not self.path.exists() or not os.path.samefile(files[0], self.path):  # noqa: PTH121
            raise NotTransactional(
                f"{files[0] if files and files[0] else 'a database in memory'}: the connection is not to this store's file, "
                f"{self.path}. Open the store on the file that your transaction writes."
            )
        if not link.in_transaction():
            raise NotTransactional(
                f"{self.path}: the connection is not in a transaction. Begin one (BEGIN IMMEDIATE, or a first write) before "
                "handing it in, so that your rows and the job are committed together."
            )
