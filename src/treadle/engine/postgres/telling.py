"""The house's errors for PostgreSQL's."""

import psycopg
from psycopg import errors

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


def is_stale(error: BaseException) -> bool:
    """Whether what was prepared on this connection is not there (any more), or has another shape since a migration."""
    return isinstance(error, _STALE) or (isinstance(error, errors.FeatureNotSupported) and "cached plan" in str(error))


def may_pass(error: psycopg.Error) -> bool:
    """Whether a failure to connect may pass by itself."""
    text = str(error).lower()
    return any(word in text for word in _SOON)


def unreachable(location: str, error: psycopg.Error) -> CannotOpen:
    """The server cannot be reached, or does not let us in."""
    text = " ".join(str(error).split())
    return CannotOpen(f"{location}: {text}. Is the server running, and are host, port, database, user and password right?")


def overdue(location: str, seconds: float) -> StoreBusy:
    """No answer came in time."""
    return StoreBusy(
        f"{location}: no answer within {seconds:g} s. Whether the call was carried out is unknown; calling again does no harm. "
        "Look at the server and the network, or raise ?timeout= in the URL."
    )


def lost(location: str) -> StoreError:
    """The connection broke in the middle of a call that is not repeated by itself."""
    return StoreError(
        f"{location}: the connection was lost during the call. Whether it was carried out is unknown; calling again does no "
        "harm."
    )


def unmigrated(location: str, namespace: str) -> SchemaMismatch:
    """There are no tables of ours, or not all of them."""
    return SchemaMismatch(
        f"{location}: the tables of treadle are missing or out of date in its schema {namespace}. Run `treadle migrate` once "
        "(with --plan or --sql to see first what it would do)."
    )


def translated(error: psycopg.Error, location: str, namespace: str, seconds: float) -> StoreError | None:
    """The house's error for PostgreSQL's, or None for one that only a mistake of ours, or a value, can cause."""
    text = " ".join(str(error.diag.message_primary or error).split())
    if isinstance(error, _BUSY):
        return StoreBusy(
            f"{location}: the server gave up after {seconds:g} s ({text}). Nothing was changed; call again, find the long "
            "transaction in pg_stat_activity, or raise ?timeout= in the URL."
        )
    if isinstance(error, AGAIN):
        return StoreBusy(f"{location}: other transactions were in the way each time ({text}). Nothing was changed; call again.")
    if isinstance(error, _MISSING):
        return unmigrated(location, namespace)
    if isinstance(error, errors.InsufficientPrivilege):
        return StoreError(f"{location}: {text}. Grant the user all rights on the schema {namespace} and what is in it.")
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
