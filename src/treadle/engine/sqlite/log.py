"""The write-ahead log's length: one process at a time keeps it short, so that few commits have to stop for that.

Whoever commits past `wal_autocheckpoint` moves the log into the database while its caller waits. A worker that does it in
the background leaves them little to move. Without workers SQLite's own rule stands.
"""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

from treadle.engine.sqlite.driver import Link

WORTHWHILE = 4 * 1024 * 1024
"""Bytes from which the log is moved into the database, beside readers and writers, who do not wait for it."""
LONG = 64 * 1024 * 1024
"""Bytes from which the log is cut as well, for which writers wait up to `_PATIENCE`. As our `journal_size_limit`."""
PINNED = 2 * LONG
"""Bytes that the log only reaches when somebody keeps a read transaction open."""
_PATIENCE = 200
"""Milliseconds."""


def length(path: Path) -> int:
    """Bytes in the log of a database, 0 without one."""
    log = path.with_name(path.name + "-wal")
    return log.stat().st_size if log.exists() else 0


def keep_short(path: Path, connect: Callable[[], Link], shut: Callable[[Link], None], runtime: Path) -> str | None:
    """Move what lies in the log if that is worthwhile; returns what an operator should hear, or None.

    One process at a time does it; the others pass on.
    """
    size = length(path)
    if size < WORTHWHILE:
        return None
    owner = os.open(runtime / "checkpoint", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
        link = connect()
        try:
            link.ask(f"PRAGMA busy_timeout = {_PATIENCE}")
            link.ask(f"PRAGMA wal_checkpoint({'TRUNCATE' if size >= LONG else 'PASSIVE'})")
        finally:
            shut(link)
    except BlockingIOError:
        return None
    finally:
        os.close(owner)
    return pinned(length(path))


def pinned(size: int) -> str | None:
    """What is wrong with a log of so many bytes, and the cure; None when it is short enough."""
    if size < PINNED:
        return None
    return (
        f"the write-ahead log has {size / 1e6:.0f} MB: some reader keeps a transaction open, so that it cannot be emptied. "
        "Find it and end it."
    )
