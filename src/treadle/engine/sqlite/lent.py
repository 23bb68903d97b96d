"""A SQLite connection that SQLAlchemy or Django keeps, behind the face of our own links."""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from treadle.engine.lenders import Loan
from treadle.engine.plan import Plan
from treadle.engine.session import Durability, Session
from treadle.engine.sqlite.driver import Link, Sqlite3Link
from treadle.engine.sqlite.steps import Values
from treadle.model.errors import NotTransactional

R = TypeVar("R")


class SqlalchemyLink:
    """SQLAlchemy's blocking `Connection`, asked through SQLAlchemy itself."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def ask(self, sql: str, values: Values = ()) -> list[tuple[Any, ...]]:
        """Run a statement and fetch all its rows."""
        result = self._connection.exec_driver_sql(sql, _shape(values))
        return [tuple(row) for row in result] if result.returns_rows else []

    def do(self, sql: str, values: Values = ()) -> int:
        """Run a statement without rows; returns how many rows it changed."""
        changed: int = self._connection.exec_driver_sql(sql, _shape(values)).rowcount
        return changed

    def in_transaction(self) -> bool:
        """Whether a transaction is open; Python's driver begins one only at the first change, so that is done here."""
        if not self._connection.in_transaction():
            self._connection.begin()
        driver = self._connection.connection.driver_connection
        if not getattr(driver, "in_transaction", True):
            self._connection.exec_driver_sql("BEGIN IMMEDIATE")
        return True

    def close(self) -> None:
        """The connection is the user's."""


class LoanedSession:
    """Plans inside the transaction that SQLAlchemy or Django keeps. `enter` makes a session of the link beneath."""

    def __init__(self, loan: Loan, enter: Callable[[Link], Session]) -> None:
        self._loan = loan
        self._enter = enter

    def run(self, plan: Plan[R], durability: Durability = Durability.DEFAULT) -> R:  # noqa: ARG002 - the user's setting rules
        """Run a plan as part of the user's transaction, in the calling thread."""
        return self._loan.ask(partial(self._run, plan))

    async def arun(self, plan: Plan[R], durability: Durability = Durability.DEFAULT) -> R:  # noqa: ARG002
        """As `run`, where SQLAlchemy awaits its own way."""
        return await self._loan.aask(partial(self._run, plan))

    def close(self) -> None:
        """Nothing to give back: the connection is the user's."""

    def _run(self, plan: Plan[R], connection: Any) -> R:
        return self._enter(link_through(self._loan, connection)).run(plan)


def link_through(loan: Loan, connection: Any) -> SqlalchemyLink | Sqlite3Link:
    """The link for what a loan calls us with. Raises `NotTransactional` for another database's connection."""
    if loan.dialect != "sqlite":
        raise NotTransactional(f"The connection is to {loan.dialect}, and this store is a SQLite file. Use one to that file.")
    if hasattr(connection, "exec_driver_sql"):
        return SqlalchemyLink(connection)
    connection.ensure_connection()
    return Sqlite3Link(connection.connection)  # inside `atomic` Django has begun the transaction on this very connection


def _shape(values: Values) -> Any:
    """Values as SQLAlchemy passes them on untouched: a dict, or a tuple for one row."""
    if isinstance(values, dict):
        return values
    return tuple(values) if not hasattr(values, "keys") else dict(values)
