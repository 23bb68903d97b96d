"""A user's psycopg connection, blocking or awaitable, with a transaction open or about to open."""

from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
from psycopg.pq import PipelineStatus, TransactionStatus
from psycopg.rows import tuple_row

from treadle.engine.postgres.identity import Marked, same_database
from treadle.engine.postgres.steps import Rows, Statement, told
from treadle.model.errors import NotTransactional


class LentPsycopg(Marked):
    """A `psycopg.Connection`."""

    aask: Callable[[Statement, list[Any]], Awaitable[Rows]] | None = None

    def __init__(self, connection: "psycopg.Connection[Any]") -> None:
        super().__init__(connection)
        self._cursor = psycopg.RawCursor(connection, row_factory=tuple_row)

    def ask(self, statement: Statement, values: list[Any]) -> Rows:
        """Run a statement and fetch all its rows."""
        cursor = self._cursor.execute(statement.text.encode(), [told(value) for value in values], binary=True)
        return cursor.fetchall() if cursor.description else []


class LentAsyncPsycopg(Marked):
    """A `psycopg.AsyncConnection`."""

    ask: Callable[[Statement, list[Any]], Rows] | None = None

    def __init__(self, connection: "psycopg.AsyncConnection[Any]") -> None:
        super().__init__(connection)
        self._cursor = psycopg.AsyncRawCursor(connection, row_factory=tuple_row)

    async def aask(self, statement: Statement, values: list[Any]) -> Rows:
        """Run a statement and fetch all its rows."""
        cursor = await self._cursor.execute(statement.text.encode(), [told(value) for value in values], binary=True)
        return await cursor.fetchall() if cursor.description else []


def lend(connection: Any, database: str) -> LentPsycopg | LentAsyncPsycopg | None:
    """Lend a psycopg connection; None for anything else. Raises `NotTransactional`."""
    if not isinstance(connection, psycopg.Connection | psycopg.AsyncConnection):
        return None
    if connection.closed:
        raise NotTransactional("The connection is closed. Hand in one with a transaction.")
    same_database(connection.info.dbname, database)
    if connection.pgconn.pipeline_status != PipelineStatus.OFF:
        raise NotTransactional("The connection is in pipeline mode, where no answer can be waited for. Call outside of it.")
    status = connection.info.transaction_status
    if status == TransactionStatus.INERROR:
        raise NotTransactional("The connection's transaction has failed already. Roll it back first.")
    if connection.autocommit and status == TransactionStatus.IDLE:
        raise NotTransactional(
            "The connection is in autocommit and has no transaction open. Use `with connection.transaction():`, so that your "
            "rows and the job are committed together."
        )
    kind: Any = LentPsycopg if isinstance(connection, psycopg.Connection) else LentAsyncPsycopg
    lent: LentPsycopg | LentAsyncPsycopg = kind(connection)
    return lent
