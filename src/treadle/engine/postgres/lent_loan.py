"""A PostgreSQL connection that SQLAlchemy or Django keeps, blocking or awaitable, with whichever driver lies beneath."""

import re
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any, cast
from weakref import WeakSet

from treadle.engine.lenders import Loan, loan
from treadle.engine.postgres.identity import Marks, marks_of, same_database
from treadle.engine.postgres.steps import Rows, Statement, told
from treadle.model.errors import NotTransactional

_PLACE = re.compile(r"\$(\d+)")
_COLON = re.compile(r"(?<!:):(?=\w)")


class LentLoan:
    """What SQLAlchemy or Django keeps, asked statement by statement."""

    def __init__(self, given: Loan, database: str) -> None:
        self._loan = given
        self._database = database

    @property
    def ask(self) -> Callable[[Statement, list[Any]], Rows] | None:
        """Run a statement and fetch all its rows; None where SQLAlchemy awaits."""
        return None if self._loan.awaited else self._ask

    @property
    def aask(self) -> Callable[[Statement, list[Any]], Awaitable[Rows]] | None:
        """The awaitable twin of `ask`; None where nothing is awaited."""
        return self._aask if self._loan.awaited else None

    def marks(self) -> Marks:
        """What is known of the driver's connection that lies beneath now."""
        return self._loan.ask(_marks)

    async def amarks(self) -> Marks:
        """The awaitable twin of `marks`."""
        return await self._loan.aask(_marks)

    def _ask(self, statement: Statement, values: list[Any]) -> Rows:
        return self._loan.ask(lambda connection: self._run(connection, statement, values))

    async def _aask(self, statement: Statement, values: list[Any]) -> Rows:
        return await self._loan.aask(lambda connection: self._run(connection, statement, values))

    def _run(self, connection: Any, statement: Statement, values: list[Any]) -> Rows:
        texts = [told(value) for value in values]
        if hasattr(connection, "exec_driver_sql"):
            same_database(connection.engine.url.database, self._database)
            answer = connection.execute(_clause(statement.text), {f"p{place}": text for place, text in enumerate(texts, 1)})
            return [tuple(row) for row in answer] if answer.returns_rows else []
        same_database(connection.settings_dict["NAME"], self._database)
        sql, order = _formatted(statement.text)
        with connection.cursor() as cursor:
            cursor.execute(sql, [texts[place] for place in order])
            return [tuple(row) for row in cursor.fetchall()] if cursor.description else []


def lend(connection: Any, database: str) -> LentLoan | None:
    """Lend what SQLAlchemy or Django keeps; None for anything else. Raises `NotTransactional`."""
    given = loan(connection)
    if given is None:
        return None
    if given.dialect != "postgresql":
        raise NotTransactional(
            f"The connection is to {given.dialect}, and the store is in PostgreSQL. Use one to its database."
        )
    return LentLoan(given, database)


def _marks(connection: Any) -> Marks:
    if hasattr(connection, "exec_driver_sql"):
        # SQLAlchemy keeps it for as long as the driver's connection.
        return cast("Marks", connection.info.setdefault("treadle", WeakSet()))
    connection.ensure_connection()
    return marks_of(connection.connection)


@cache
def _clause(text: str) -> Any:
    """A statement as SQLAlchemy takes it, whatever driver it speaks through: `(:p1)::text` for `$1`."""
    import sqlalchemy

    return sqlalchemy.text(_PLACE.sub(r"(:p\1)::text", _COLON.sub(r"\\:", text)))


@cache
def _formatted(text: str) -> tuple[str, list[int]]:
    """A statement as Django takes it: `%s` for each place, and whose value stands there."""
    return _PLACE.sub("%s", text.replace("%", "%%")), [int(place) - 1 for place in _PLACE.findall(text)]
