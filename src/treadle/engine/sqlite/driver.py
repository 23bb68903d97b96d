"""The two SQLite libraries behind one face: APSW, which brings its own SQLite, and Python's own `sqlite3`."""

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import apsw

from treadle.engine.sqlite.steps import Values
from treadle.model.errors import CannotOpen, StoreBusy, StoreError

BUSY = (5, 6)
UNUSABLE = {
    3: "access was refused. Correct the owner or the mode of the file and its directory.",
    8: "it cannot be written. Correct the mode of the file, its directory, and the mount.",
    14: "SQLite cannot open it. Correct the path, or the mode of the file and its directory.",
    23: "access was refused. Correct the owner or the mode of the file and its directory.",
    26: "this file is not a SQLite database. Name another file in the URL, or move this one away.",
}
BROKEN = {
    10: "the disk reported an error. Look at the system's log and the disk's health.",
    11: "the database is damaged. Stop every worker, keep a copy, and restore a backup or run SQLite's `.recover`.",
    13: "the disk is full. Nothing was changed; free some space and call again.",
}


@dataclass(slots=True, frozen=True, kw_only=True)
class Settings:
    """What a URL may say about a SQLite store."""

    driver: str = "apsw"
    synchronous: str = "FULL"
    timeout: float = 5.0


class Link(Protocol):
    """One connection. Statements outside `BEGIN` and `COMMIT` stand alone."""

    def ask(self, sql: str, values: Values = ()) -> list[tuple[Any, ...]]:
        """Run a statement and fetch all its rows."""
        ...

    def do(self, sql: str, values: Values = ()) -> int:
        """Run a statement without rows; returns how many rows it changed."""
        ...

    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


class ApswLink:
    """A connection of APSW."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection: Any = connection  # its stubs leave the types of values open

    def ask(self, sql: str, values: Values = ()) -> list[tuple[Any, ...]]:
        """Run a statement and fetch all its rows."""
        rows: list[Any] = self._connection.execute(sql, values).fetchall()
        return rows

    def do(self, sql: str, values: Values = ()) -> int:
        """Run a statement without rows; returns how many rows it changed."""
        self._connection.execute(sql, values)
        changed: int = self._connection.changes()
        return changed

    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return bool(self._connection.in_transaction)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class Sqlite3Link:
    """A connection of Python's own `sqlite3`. Rows come as plain tuples whatever the owner has set."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._cursor = connection.cursor()
        self._cursor.row_factory = None

    def ask(self, sql: str, values: Values = ()) -> list[tuple[Any, ...]]:
        """Run a statement and fetch all its rows."""
        return self._cursor.execute(sql, values).fetchall()

    def do(self, sql: str, values: Values = ()) -> int:
        """Run a statement without rows; returns how many rows it changed."""
        return self._cursor.execute(sql, values).rowcount

    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return self._connection.in_transaction

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


_BUG = ((3, 7, 0), (3, 51, 3))
_FIXED = (((3, 44, 6), (3, 45, 0)), ((3, 50, 7), (3, 51, 0)))


def is_vulnerable(version: tuple[int, ...]) -> bool:
    """Whether this SQLite can damage a write-ahead log that several processes share (the WAL-reset bug)."""
    if any(low <= version < high for low, high in _FIXED):
        return False
    return _BUG[0] <= version < _BUG[1]


def library_version(driver: str) -> tuple[int, ...]:
    """The version of the SQLite library behind a driver."""
    text = apsw.sqlite_lib_version() if driver == "apsw" else sqlite3.sqlite_version
    return tuple(int(each) for each in text.split("."))


def open_link(driver: str, path: Path, timeout: float) -> Link:
    """Open a file, creating it if need be. Raises what the library raises: see `translated`."""
    if driver == "apsw":
        connection = apsw.Connection(str(path), statementcachesize=256)
        connection.set_busy_timeout(max(1, round(timeout * 1000)))
        # Plans may not depend on bound values: where they may, SQLite compiles a statement anew each time it is bound. That
        # was most of a small claim's price: 65 us against 8 for its query, and 369 against 83 after an idle moment.
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
        return ApswLink(connection)
    plain = sqlite3.connect(path, timeout=timeout, isolation_level=None, check_same_thread=False, cached_statements=256)
    return Sqlite3Link(plain)


Errors: tuple[type[Exception], ...] = (apsw.Error, sqlite3.Error)
"""What the libraries raise."""


def translated(error: Exception, location: str, timeout: float) -> StoreError | None:
    """The house's error for a library's, or None for one that only a mistake of ours can cause."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    primary = (getattr(error, "result", 0) if code is None else code) & 0xFF
    if primary in BUSY:
        return StoreBusy(
            f"{location}: another connection kept the database locked for {timeout:g} s. Nothing was changed; call again, "
            "find the long transaction, or raise ?timeout= in the URL."
        )
    if primary in UNUSABLE:
        return CannotOpen(f"{location}: {UNUSABLE[primary]}")
    if primary in BROKEN:
        return StoreError(f"{location}: {BROKEN[primary]}")
    return None


@contextmanager
def telling(location: str, timeout: float) -> Generator[None]:
    """Raise the house's errors for a library's."""
    try:
        yield
    except Errors as error:
        told = translated(error, location, timeout)
        if told is None:
            raise
        raise told from error
