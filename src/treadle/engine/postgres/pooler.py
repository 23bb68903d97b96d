"""Whether a pooler stands between us and the server that gives each transaction another connection (pgbouncer, for one)."""

from collections.abc import Callable
from typing import Any

import psycopg

Connection = psycopg.Connection[Any]


def gives_away(first: Connection, connect: Callable[[], Connection]) -> bool:
    """Whether two clients at once are seen to take turns on one connection of the server.

    A connection straight to the server is told apart at once: its process has the number that it was greeted with. Poolers
    greet with a number of their own. One that lends by the session keeps the process for the client that has it.
    """
    before = _process(first)
    if before == first.pgconn.backend_pid:
        return False
    second = connect()
    try:
        with second.transaction():
            other = _process(second)
            after = _process(first)
        return other == before or after != before
    finally:
        second.close()


def _process(connection: Connection) -> int:
    row: Any = connection.execute("SELECT pg_backend_pid()").fetchone()
    return int(row[0])
