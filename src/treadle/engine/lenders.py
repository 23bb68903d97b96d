"""What a user may hand in instead of a driver's own connection: what SQLAlchemy and Django make of one.

Neither is imported here: whoever has an object of theirs has imported it.

SQLAlchemy is always asked through itself, never through the raw connection beneath: that one may not have begun yet, and
what is written there then commits alone (seen with asyncpg: not in a transaction before SQLAlchemy's first statement).
"""

import sys
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from treadle.model.errors import NotTransactional

R = TypeVar("R")


class Loan(Protocol):
    """A connection that is asked through SQLAlchemy or Django."""

    @property
    def dialect(self) -> str:
        """The kind of database, as they name it: `postgresql`, `sqlite`."""
        ...

    @property
    def awaited(self) -> bool:
        """True when only `aask` can be used."""
        ...

    def ask(self, ask: Callable[[Any], R]) -> R:
        """Call `ask` with a blocking connection: SQLAlchemy's `Connection` or Django's."""
        ...

    async def aask(self, ask: Callable[[Any], R]) -> R:
        """The awaitable twin of `ask`."""
        ...


class Blocking:
    """SQLAlchemy's `Connection`, or that of a `Session`, or Django's."""

    awaited = False

    def __init__(self, connection: Any, dialect: str) -> None:
        self._connection = connection
        self.dialect: str = dialect

    def ask(self, ask: Callable[[Any], R]) -> R:
        """Call `ask` with the connection."""
        return ask(self._connection)

    async def aask(self, ask: Callable[[Any], R]) -> R:
        """As `ask`: there is nothing to await."""
        return ask(self._connection)


class Awaited:
    """SQLAlchemy's `AsyncConnection` or `AsyncSession`."""

    awaited = True

    def __init__(self, given: Any, dialect: str, *, session: bool) -> None:
        self._given = given
        self._session = session
        self.dialect: str = dialect

    def ask(self, ask: Callable[[Any], R]) -> R:  # noqa: ARG002 - the shape of a loan
        """Cannot be: SQLAlchemy awaits here."""
        raise NotTransactional(
            f"{type(self._given).__name__} is awaited. Use the awaitable twin of the call: aenqueue_in, acomplete_in."
        )

    async def aask(self, ask: Callable[[Any], R]) -> R:
        """Call `ask` with the blocking `Connection` that SQLAlchemy keeps beneath, in its own greenlet."""

        def through(given: Any) -> R:
            return ask(given.connection() if self._session else given)

        answer: R = await self._given.run_sync(through)
        return answer


def loan(given: Any) -> Loan | None:
    """The loan of what SQLAlchemy or Django gave the user; None for anything else. Raises `NotTransactional`."""
    return _from_sqlalchemy(given) or _from_django(given)


def _from_sqlalchemy(given: Any) -> Loan | None:
    sqlalchemy = sys.modules.get("sqlalchemy")
    if sqlalchemy is None:
        return None
    if isinstance(given, sqlalchemy.Connection):
        _must_have_begun(given)
        return Blocking(given, given.dialect.name)
    orm = sys.modules.get("sqlalchemy.orm")
    if orm is not None and isinstance(given, orm.scoped_session | orm.Session):
        connection = given.connection()
        return Blocking(connection, connection.dialect.name)
    asynchronous = sys.modules.get("sqlalchemy.ext.asyncio")
    if asynchronous is None:
        return None
    if isinstance(given, asynchronous.AsyncConnection):
        if given.sync_connection is None:
            raise NotTransactional("The SQLAlchemy connection is not started. Hand in one inside `async with engine.begin()`.")
        _must_have_begun(given.sync_connection)
        return Awaited(given, given.dialect.name, session=False)
    if isinstance(given, asynchronous.async_scoped_session | asynchronous.AsyncSession):
        return Awaited(given, given.get_bind().dialect.name, session=True)
    return None


def _must_have_begun(connection: Any) -> None:
    """A session begins by itself; a connection in autocommit never does."""
    if connection.closed:
        raise NotTransactional(
            "The SQLAlchemy connection is closed. Hand in one with a transaction: `with engine.begin() as c`."
        )
    if connection._is_autocommit_isolation():  # noqa: SLF001 - public ways ask the server, or miss what the engine says
        raise NotTransactional("The SQLAlchemy connection is in AUTOCOMMIT. Hand in one with a transaction.")


def _from_django(given: Any) -> Loan | None:
    base = sys.modules.get("django.db.backends.base.base")
    if base is None:
        return None
    utils = sys.modules.get("django.utils.connection")
    if utils is not None and isinstance(given, utils.ConnectionProxy):
        given = given._connections[given._alias]  # noqa: SLF001 - `django.db.connection` is this proxy, for the default database
    if not isinstance(given, base.BaseDatabaseWrapper):
        return None
    if not given.in_atomic_block:
        raise NotTransactional(
            f"Django's connection {given.alias!r} is in no transaction. Enqueue inside `with transaction.atomic():`, so that "
            "your rows and the job are committed together."
        )
    return Blocking(given, given.vendor)
