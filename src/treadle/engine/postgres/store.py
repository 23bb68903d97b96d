"""One schema of a PostgreSQL database as a store: opening it, its migrations, its wake port, and what an operator may ask."""

import logging
import os
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg import pq

from treadle.engine.forking import renew_in_children
from treadle.engine.jitter import jittered
from treadle.engine.migrate import Migration, migrations, pending
from treadle.engine.postgres.borrow import borrowed
from treadle.engine.postgres.doctor import durability_of, examine
from treadle.engine.postgres.driver import Link, Overdue
from treadle.engine.postgres.engine import PostgresEngine
from treadle.engine.postgres.identity import PATIENCE, WHO, Identity
from treadle.engine.postgres.place import Address, Settings
from treadle.engine.postgres.pooler import gives_away
from treadle.engine.postgres.rights import lacking
from treadle.engine.postgres.session import PATIENT, PostgresSession
from treadle.engine.postgres.statements import Statements, compiled
from treadle.engine.postgres.steps import Ask, Rows, Statement
from treadle.engine.postgres.telling import denied, may_pass, overdue, silent, translated, unmigrated, unowned, unreachable
from treadle.engine.postgres.wake import Hub, PostgresWaiter
from treadle.engine.session import Check, Session
from treadle.model.errors import StoreError

log: logging.Logger = logging.getLogger("treadle.postgres")

SCHEMA = Path(__file__).parent / "schema"
_PAUSE = 0.02
"""Seconds until the first try after a connection that could not be made, or broke before it was of use."""

_LOCK_PATIENCE = 60
"""Seconds that a migration waits for the locks it needs."""


class PostgresStore:
    """A schema, named by the namespace, in the database at `address`. Nothing is opened before the first use."""

    def __init__(self, address: Address, *, namespace: str = "treadle", settings: Settings | None = None) -> None:
        given = settings or Settings()
        self.timeout: float = given.timeout
        self.connections: int = given.connections
        self.namespace: str = namespace
        self.role: str = str(address.parameters.get("user") or "")
        self.engine: PostgresEngine = PostgresEngine(namespace)
        self._address = address
        renew_in_children(self)
        self._pid = os.getpid()
        self._hub: Hub | None = None
        self._pooled: bool | None = None
        self._reached = False
        self._identity = Identity(self.location, self._who)
        if pq.__impl__ == "python":
            log.warning(
                "psycopg runs in pure Python here, which makes every call many times slower. Install psycopg[binary], or a "
                "psycopg[c] that was built for the libpq of this machine."
            )

    def renew_locks(self) -> None:
        """Begin with locks that nobody holds."""
        self._lock = threading.RLock()

    @property
    def location(self) -> str:
        """The URL without its password."""
        return self._address.shown

    @property
    def statements(self) -> Statements:
        """The statements of the namespace."""
        return self.engine.sql

    @property
    def durability(self) -> str:
        """The durability class, as the server is configured, and what it survives. Raises what opening raises."""
        return durability_of(self)

    @property
    def local(self) -> bool:
        """Never: every plan is a round trip."""
        return False

    @property
    def abreast(self) -> bool:
        """Where a session may have several connections: each has a process of the server to itself."""
        return self.connections > 1

    @property
    def serial(self) -> bool:
        """Never: a plan does not see what another has not committed."""
        return False

    @property
    def look(self) -> tuple[bytes, ...]:
        """The commands that begin a transaction which only reads."""
        patience = round(self.timeout * PATIENT * 1000)
        return (
            b"BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY",
            # Questions differ from call to call, and may well walk a table.
            b"SELECT set_config('plan_cache_mode', 'auto', true), set_config('enable_seqscan', 'on', true),"
            b" set_config('statement_timeout', '%d', true)" % patience,
        )

    def session(self) -> Session:
        """A session on connections of its own."""
        return PostgresSession(self)

    def borrow(self, connection: Any) -> Session:
        """A session inside the user's open transaction: begin and commit stay the user's. Raises `NotTransactional`."""
        return borrowed(connection, self.location, str(self._address.parameters.get("dbname") or ""), self._identity)

    def waiter(self, topics: Sequence[str]) -> PostgresWaiter:
        """Somebody waiting for topics."""
        with self._lock:
            if self._hub is None or self._pid != os.getpid():
                self._pid = os.getpid()
                self._hub = Hub(self)
            return PostgresWaiter(self._hub, topics)

    def migrate(self) -> list[str]:
        """Bring the schema up to date; returns the names of the migrations applied. Safe to run in several places at once."""
        connection = self._connect(time.monotonic() + self.timeout)
        try:
            with connection.transaction():
                connection.execute(f"SET LOCAL lock_timeout TO '{_LOCK_PATIENCE}s'".encode())
                connection.execute("SET LOCAL synchronous_commit TO on")
                key = f"{self.namespace} migrations of treadle"
                connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (key,))
                missing = self._missing(connection)
                if missing and not _exists(connection, self.namespace):
                    connection.execute(f'CREATE SCHEMA "{self.namespace}"'.encode())
                for each in missing:
                    for statement in each.statements(self.namespace):
                        connection.execute(statement.encode())
                    psycopg.RawCursor(connection).execute(self.statements("meta", "put").text.encode(), (each.number,))
                return [each.name for each in missing]
        except psycopg.errors.InsufficientPrivilege as error:
            raise unowned(error, self, connection.info.dbname) from error
        except psycopg.Error as error:
            raise translated(error, self, _LOCK_PATIENCE) or error from error
        finally:
            connection.close()

    def pending_migrations(self) -> list[tuple[str, str]]:
        """The migrations not applied yet, as (name, SQL)."""
        deadline = time.monotonic() + self.timeout
        with self._bare(deadline) as link:
            missing = pending(migrations(SCHEMA), self.version(link, deadline), self.location)
            first = "" if _rows(link, self.statements("meta", "exists"), deadline) else f'CREATE SCHEMA "{self.namespace}";\n'
        texts = [";\n".join(each.statements(self.namespace)) + ";" for each in missing]
        return [(each.name, first + text if each.number == 1 else text) for each, text in zip(missing, texts, strict=True)]

    def doctor(self) -> list[Check]:
        """Examine the store. Reads only."""
        return examine(self)

    def tend(self) -> str | None:
        """Nothing: autovacuum sees to the tables."""

    def guard_processes(self, count: int) -> None:  # noqa: ARG002 - any number of processes may serve it
        """Raise `CannotOpen` when our role may not do what workers do. A server that is away may come back."""
        try:
            refusal = self.refusal()
        except StoreError:
            return
        if refusal is not None:
            raise refusal

    def refusal(self) -> StoreError | None:
        """What our role lacks of the rights that producers and workers need; None where it lacks nothing."""
        missing = lacking(self.ask(self.statements("meta", "rights").text, time.monotonic() + self.timeout))
        return denied(self, missing) if missing else None

    def close(self) -> None:
        """Stop listening. Sessions are closed by their owners."""
        with self._lock:
            hub, self._hub = self._hub, None
        if hub is not None and self._pid == os.getpid():
            hub.close()

    def open(self, deadline: float) -> Link:
        """Open one more connection, with the schema as this code knows it.

        Raises `CannotOpen`, `SchemaMismatch` and `StoreBusy`.
        """
        while True:
            link = Link(self._connect(deadline), prepares=False)
            try:
                self._introduce(link, deadline)
            except Overdue:
                link.close()
                raise overdue(self.location, self.timeout) from None
            except psycopg.Error as error:
                link.close()
                if not isinstance(error, psycopg.OperationalError):
                    raise translated(error, self, self.timeout) or error from error
                if not may_pass(error) or time.monotonic() >= deadline:
                    raise unreachable(self.location, error) from error
                time.sleep(_PAUSE)
            except BaseException:
                link.close()
                raise
            else:
                return link

    def _introduce(self, link: Link, deadline: float) -> None:
        """Let a new connection hold to our settings. Raises `SchemaMismatch` when it sees another schema than this code."""
        if self._is_pooled(link, deadline):
            link.settings = (self._settings(local=True),)
        else:
            link.prepares = True
            link.command(self._settings(local=False))
            link.sync()
            link.wait(deadline)
        if pending(migrations(SCHEMA), self.version(link, deadline), self.location):
            raise unmigrated(self.location, self.namespace)

    def _who(self) -> Rows:
        """Who the server says it is, once a connection has found the schema as this code knows it. Raises as `open`."""
        deadline = time.monotonic() + min(PATIENCE, self.timeout)
        with self._lent(self.open(deadline)) as link:
            return _rows(link, WHO, deadline)

    def ask(self, text: str, deadline: float) -> Rows:
        """The rows of one question on a connection of its own, whatever the schema is like. Raises `StoreError`."""
        with self._bare(deadline) as link:
            return _rows(link, compiled(text), deadline)

    def version(self, link: Link, deadline: float) -> int:
        """The schema version that a connection sees; 0 where there are no tables of ours."""
        try:
            rows = _rows(link, self.statements("meta", "version"), deadline)
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
            return 0
        return int(rows[0][0]) if rows else 0

    def pooled(self) -> bool:
        """Whether a pooler stands in between that gives each transaction another connection of the server."""
        deadline = time.monotonic() + self.timeout
        with self._bare(deadline) as link:
            return self._is_pooled(link, deadline)

    def _bare(self, deadline: float) -> AbstractContextManager[Link]:
        """A connection for a question or two, whatever the schema is like. Raises `StoreError`."""
        return self._lent(Link(self._connect(deadline), prepares=False))

    @contextmanager
    def _lent(self, link: Link) -> Generator[Link]:
        """This connection, which is closed behind whoever asks on it. Raises `StoreError`."""
        try:
            yield link
        except Overdue:
            raise overdue(self.location, self.timeout) from None
        except psycopg.OperationalError as error:
            raise unreachable(self.location, error) from error
        except psycopg.Error as error:
            raise translated(error, self, self.timeout) or error from error
        finally:
            link.close()

    def _is_pooled(self, link: Link, deadline: float) -> bool:
        if self._pooled is None:
            self._pooled = gives_away(link, lambda: Link(self._connect(deadline), prepares=False), deadline)
            if self._pooled:
                log.warning(
                    "%s is a pooler that lends connections by the transaction: nothing can listen through it, so workers poll, "
                    "and statements are planned anew each time. Point workers at the server itself, or pool by the session.",
                    self.location,
                )
        return self._pooled

    def _connect(self, deadline: float) -> "psycopg.Connection[Any]":
        began, pause = time.monotonic(), _PAUSE
        while True:
            left = deadline - time.monotonic()
            try:
                connection = psycopg.connect(**self._parameters(left), autocommit=True, prepare_threshold=None)
            except psycopg.errors.ConnectionTimeout as error:
                raise silent(self.location, time.monotonic() - began) from error
            except psycopg.OperationalError as error:
                if not self._reached or not may_pass(error) or deadline - time.monotonic() <= pause:
                    raise unreachable(self.location, error) from error
            else:
                self._reached = True
                self.role = connection.info.user
                return connection
            time.sleep(jittered(pause))
            pause = min(1.0, pause * 2)

    def _parameters(self, left: float) -> dict[str, Any]:
        # Each of several hosts gets its share, or one that hangs would leave no time for the others.
        hosts = str(self._address.parameters.get("host") or "").count(",") + 1
        return {
            "application_name": "treadle",
            "tcp_user_timeout": round(self.timeout * 1000),
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "keepalives_count": 3,
            **self._address.parameters,
            "connect_timeout": max(2, round(left / hosts)),
            "client_encoding": "UTF8",
        }

    def _settings(self, *, local: bool) -> bytes:
        """What holds for our connections: plans are made once and lean on the indexes, and nothing lasts for ever."""
        milliseconds = round(self.timeout * 1000)
        values = {
            "default_transaction_isolation": "read committed",
            "statement_timeout": milliseconds,
            "idle_in_transaction_session_timeout": milliseconds,
            "plan_cache_mode": "force_generic_plan",
            # A plan made while a table was empty is kept when it holds a million rows.
            "enable_seqscan": "off",
            # One row at a time through a bitmap costs twice as much as through the index, and leaves dead entries for the next.
            "enable_bitmapscan": "off",
            "jit": "off",
        }
        if local:
            del values["default_transaction_isolation"]
        truth = "true" if local else "false"
        return ("SELECT " + ", ".join(f"set_config('{name}', '{value}', {truth})" for name, value in values.items())).encode()

    def _missing(self, connection: "psycopg.Connection[Any]") -> Sequence[Migration]:
        try:
            with connection.transaction():
                row: Any = connection.execute(self.statements("meta", "version").text.encode()).fetchone()
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
            row = None
        return pending(migrations(SCHEMA), row[0] if row else 0, self.location)


def _rows(link: Link, statement: Statement, deadline: float) -> Rows:
    link.put(Ask(statement))
    link.sync()
    [rows] = link.wait(deadline)
    return rows


def _exists(connection: "psycopg.Connection[Any]", namespace: str) -> bool:
    row: Any = connection.execute("SELECT to_regnamespace(%s) IS NOT NULL", (namespace,)).fetchone()
    return bool(row[0])
