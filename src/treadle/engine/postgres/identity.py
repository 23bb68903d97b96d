"""Whether a user's connection leads to the store's own database, and not to another of the same name on another server."""

from collections.abc import Callable, MutableMapping
from typing import Any
from weakref import WeakKeyDictionary

from treadle.engine.postgres.statements import compiled
from treadle.engine.postgres.steps import Rows, Statement
from treadle.model.errors import NotTransactional

WHO: Statement = compiled(
    "SELECT pg_postmaster_start_time()::text || ' ' || (SELECT oid FROM pg_database WHERE datname = current_database())"
)
"""What no two databases answer alike: since when the server runs, to the microsecond, and the database's own number."""

Marks = MutableMapping[Any, Any]
"""What is known of one connection, for as long as it is open."""

_marks: WeakKeyDictionary[Any, dict[Any, Any]] = WeakKeyDictionary()


def marks_of(connection: Any) -> Marks:
    """The marks of a driver's own connection."""
    return _marks.setdefault(connection, {})


class Identity:
    """Who the store is, asked on a connection of its own, which also finds what is wrong with its schema."""

    def __init__(self, location: str, ask: Callable[[], Rows]) -> None:
        self._location = location
        self._ask = ask
        self._ours: str | None = None

    def vouch(self, theirs: Rows) -> None:
        """Raise `NotTransactional` unless this answer to `WHO` is the store's own; and whatever opening the store raises."""
        [[answer]] = theirs
        if answer != self._ours:
            self._ours = self._ask()[0][0]  # the first time, or the server was started anew
        if answer != self._ours:
            raise NotTransactional(
                f"The connection is to another server than {self._location}, or to another database there. Nothing was stored. "
                "Open the store on the database that your transaction writes."
            )
