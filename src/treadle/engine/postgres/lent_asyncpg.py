"""A user's asyncpg connection with a transaction open."""

import sys
from collections.abc import Callable
from typing import Any

from treadle.engine.postgres.identity import Marked, same_database
from treadle.engine.postgres.steps import Rows, Statement
from treadle.model.errors import NotTransactional


class LentAsyncpg(Marked):
    """An `asyncpg.Connection`, or one that a pool lends."""

    ask: Callable[[Statement, list[Any]], Rows] | None = None

    def __init__(self, connection: Any) -> None:
        super().__init__(getattr(connection, "_con", connection))  # whoever borrowed it from its pool before
        self._connection = connection

    async def aask(self, statement: Statement, values: list[Any]) -> Rows:
        """Run a statement and fetch all its rows."""
        return [tuple(row) for row in await self._connection.fetch(statement.text, *values)]


def lend(connection: Any, database: str) -> LentAsyncpg | None:
    """Lend an asyncpg connection; None for anything else. Raises `NotTransactional`."""
    asyncpg = sys.modules.get("asyncpg")  # who has such a connection has imported it
    if asyncpg is None or not isinstance(connection, asyncpg.Connection | asyncpg.pool.PoolConnectionProxy):
        return None
    if connection.is_closed():
        raise NotTransactional("The connection is closed. Hand in one with a transaction.")
    if not connection.is_in_transaction():
        raise NotTransactional(
            "The asyncpg connection has no transaction open. Use `async with connection.transaction():`, so that your rows and "
            "the job are committed together."
        )
    same_database(connection._params.database, database)  # noqa: SLF001 - asyncpg tells nobody else without asking the server
    return LentAsyncpg(connection)
