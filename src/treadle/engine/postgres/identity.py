"""Whether a user's connection leads to the store's own database, and not to another of the same name on another server."""

import time
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from treadle.engine.postgres.statements import compiled
from treadle.engine.postgres.steps import Rows, Statement
from treadle.model.errors import CannotOpen, NotTransactional, StoreBusy

WHO: Statement = compiled(
    "SELECT (date_part('epoch', pg_postmaster_start_time()) * 1e6)::int8 || ' ' || "
    "(SELECT oid FROM pg_database WHERE datname = current_database())"
)
"""What no two databases answer alike, whatever the session's time zone: since when the server runs, to the microsecond, and the
database's own number."""

PATIENCE = 1.0
"""Seconds that a user's transaction waits until the store can be asked. A host that takes no connection is given two: libpq and
psycopg wait no shorter."""
AGAIN = 60.0
"""Seconds until it is asked again where it could not be."""


class Identity:
    """Who the store is, asked on a connection of its own, which also finds what is wrong with its schema."""

    def __init__(self, location: str, ask: Callable[[], Rows]) -> None:
        self._location = location
        self._ask = ask
        self._ours: str | None = None
        self._again_at = float("-inf")

    def vouch(self, theirs: Rows) -> bool:
        """Raise `NotTransactional` unless this answer to `WHO` is the store's own, and `SchemaMismatch` as opening it does.

        False where nobody can say: behind a pooler with one connection, that one is the user's now.
        """
        [[answer]] = theirs
        if answer != self._ours:
            if time.monotonic() < self._again_at:
                return False
            try:
                self._ours = self._ask()[0][0]  # the first time, or the server was started anew
            except (StoreBusy, CannotOpen):
                self._again_at = time.monotonic() + AGAIN
                return False
        if answer != self._ours:
            raise NotTransactional(
                f"The connection is to another server than {self._location}, or to another database there. Nothing was stored. "
                "Open the store on the database that your transaction writes."
            )
        return True


def same_database(theirs: str | None, ours: str) -> None:
    """Raise `NotTransactional` where the names are known and differ: that needs no question to the server."""
    if theirs and ours and theirs != ours:
        raise NotTransactional(
            f"The connection is to the database {theirs!r}, and the store is in {ours!r}. Open the store on the database that "
            "your transaction writes."
        )


Marks = WeakSet[Identity]
"""The stores that one connection is known to lead to, for as long as it is open."""

_marks: WeakKeyDictionary[Any, Marks] = WeakKeyDictionary()


def marks_of(connection: Any) -> Marks:
    """The marks of a driver's own connection."""
    return _marks.setdefault(connection, WeakSet())


class Marked:
    """A driver's own connection that is lent: its marks are at hand, and nobody is asked for them."""

    def __init__(self, connection: Any) -> None:
        self._marked = connection

    def marks(self) -> Marks:
        """What is known of the connection."""
        return marks_of(self._marked)

    async def amarks(self) -> Marks:
        """The awaitable twin of `marks`."""
        return self.marks()
