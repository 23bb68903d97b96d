"""The house's errors for PostgreSQL's."""

import re
from collections.abc import Mapping, Sequence
from typing import Protocol

import psycopg
from psycopg import errors

from treadle.engine.postgres.rights import NEEDED, grants, quoted
from treadle.model.errors import CannotOpen, SchemaMismatch, StoreBusy, StoreError

AGAIN = (errors.DeadlockDetected, errors.SerializationFailure)
"""Nothing was changed, and the same thing done again will most likely succeed."""

_STALE = (errors.InvalidSqlStatementName, errors.DuplicatePreparedStatement)

_SOON = (
    "refused", "starting up", "shutting down", "recovery", "too many", "connection slots", "timeout", "timed out", "closed",
    "reset by peer", "no such file", "terminating", "lost", "broken pipe", "no connection", "not accepting",
)  # fmt: skip
"""Words of a failure to connect that may pass by itself."""

_MISSING = (errors.UndefinedTable, errors.InvalidSchemaName, errors.UndefinedColumn)
_BUSY = (errors.QueryCanceled, errors.LockNotAvailable, errors.IdleInTransactionSessionTimeout)


_CREDENTIALS = "Correct the user and the password in the URL: postgresql://USER:PASSWORD@HOST/DATABASE."
_FULL = "Raise max_connections, lower ?connections= in the URLs, or put a pooler in between."
_TLS = "Set ?sslmode= in the URL as the server wants it: require, where it takes encrypted connections only."
_OPENING = (
    (r"translate host name", "Correct the host in the URL."),
    (r"timed out", "Look at the server and the network."),
    (r"too many|connection slots", _FULL),
    (r"no encryption|ssl off|does not support ssl|ssl error|certificate", _TLS),
    (r"pg_hba\.conf", "Let the server's pg_hba.conf admit this user from this machine to this database."),
    (r"password|authentication failed", _CREDENTIALS),
    (r"permission denied for database", "Let its owner run GRANT CONNECT ON DATABASE for this user."),
    (r'database ".*" does not exist', "Create the database (createdb), or correct its name in the URL."),
    (r'role ".*" does not exist', "Correct the user in the URL, or create it (createuser)."),
)
"""What to do about a connection that was not made, by words of the reason; the first that are found."""

_QUESTION = re.compile(r" Is the server running[^?]*\?")


class Place(Protocol):
    """What a message says of a store."""

    namespace: str
    role: str
    """Who the server takes us for, once it was reached."""

    @property
    def location(self) -> str:
        """The URL without its password."""
        ...


def is_stale(error: BaseException) -> bool:
    """Whether what was prepared on this connection is not there (any more), or has another shape since a migration."""
    return isinstance(error, _STALE) or (isinstance(error, errors.FeatureNotSupported) and "cached plan" in str(error))


def may_pass(error: psycopg.Error) -> bool:
    """Whether a failure to connect may pass by itself."""
    text = str(error).lower()
    return any(word in text for word in _SOON)


def unreachable(location: str, error: psycopg.Error) -> CannotOpen:
    """The server cannot be reached, or does not let us in."""
    text = _QUESTION.sub("", " ".join(str(error).split())).rstrip(".")
    usual = "See that the server runs there, and that the host and the port are right."
    cure = next((cure for words, cure in _OPENING if re.search(words, text.lower())), usual)
    return CannotOpen(f"{location}: {text}. {cure}")


def silent(location: str, seconds: float) -> CannotOpen:
    """The server takes connections, or what stands before it does, and says nothing."""
    return CannotOpen(
        f"{location}: no answer within {seconds:.0f} s. Look at the server and the network, or raise ?timeout= in the URL."
    )


def overdue(location: str, seconds: float) -> StoreBusy:
    """No answer came in time."""
    return StoreBusy(
        f"{location}: no answer within {seconds:g} s. Whether the call was carried out is unknown; calling again does no harm. "
        "Look at the server and the network, or raise ?timeout= in the URL."
    )


def lost(location: str) -> StoreBusy:
    """The connection broke in the middle of a call that is not repeated by itself."""
    return StoreBusy(
        f"{location}: the connection was lost during the call. Whether it was carried out is unknown; calling again does no "
        "harm."
    )


def broken_off(location: str) -> StoreError:
    """A call failed for good when a part of it had been committed, so that nobody may hear that nothing was changed."""
    return StoreError(
        f"{location}: the call was broken off when a part of it had been carried out; calling again does no harm."
    )


def unmigrated(location: str, namespace: str) -> SchemaMismatch:
    """There are no tables of ours, or not all of them."""
    return SchemaMismatch(
        f"{location}: the tables of treadle are missing or out of date in its schema {namespace}. Run `treadle migrate` once "
        "(with --plan or --sql to see first what it would do)."
    )


def denied(place: Place, lacking: Mapping[str, Sequence[str]]) -> CannotOpen:
    """Our role may not do what is to be done; `lacking` says what, by what it would be granted on."""
    words = "; ".join(f"{', '.join(words)} on {what.lower()} {place.namespace}" for what, words in lacking.items())
    cure = grants(lacking, place.namespace, place.role)
    return CannotOpen(f'{place.location}: the role "{place.role}" lacks rights: {words}. Let an owner run: {cure}')


def unowned(error: psycopg.Error, place: Place, database: str) -> CannotOpen:
    """Our role may not make or change tables."""
    return CannotOpen(
        f'{place.location}: the role "{place.role}" may not migrate the schema {place.namespace} '
        f"({error.diag.message_primary or error}). Migrate as the owner of the schema; for a new one, let an owner run: "
        f"GRANT CREATE ON DATABASE {quoted(database)} TO {quoted(place.role)};"
    )


def translated(error: psycopg.Error, place: Place, seconds: float) -> StoreError | None:
    """The house's error for PostgreSQL's, or None for one that only a mistake of ours, or a value, can cause."""
    location = place.location
    text = " ".join(str(error.diag.message_primary or error).split())
    if isinstance(error, _BUSY):
        return StoreBusy(
            f"{location}: the server gave up after {seconds:g} s ({text}). Nothing was changed; call again, find the long "
            "transaction in pg_stat_activity, or raise ?timeout= in the URL."
        )
    if isinstance(error, AGAIN):
        return StoreBusy(f"{location}: other transactions were in the way each time ({text}). Nothing was changed; call again.")
    if isinstance(error, _MISSING):
        return unmigrated(location, place.namespace)
    if isinstance(error, errors.InsufficientPrivilege):
        return CannotOpen(
            f'{location}: {text}, says the server to the role "{place.role}". Let an owner run: '
            f"{grants(NEEDED, place.namespace, place.role)}"
        )
    if isinstance(error, errors.ReadOnlySqlTransaction):
        return StoreError(
            f"{location}: this server only reads ({text}). Name the primary, or several hosts and "
            "target_session_attrs=read-write."
        )
    if isinstance(error, errors.DiskFull):
        return StoreError(f"{location}: the server's disk is full. Nothing was changed; free some space and call again.")
    if isinstance(error, psycopg.OperationalError):
        return StoreError(f"{location}: {text}. Look at the server's log; calling again does no harm.")
    return None
