"""Whether an open connection still stands on the file that its path names.

Somebody may delete the file, or put another in its place (a backup, say), while processes have it open. SQLite goes on with
the old one, which nobody can open any more: whatever is written there is lost without a word.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_ASIDE = "-of-a-file-replaced"


class Footing(NamedTuple):
    """The file and its two companions, each as device and inode, or None where there is none."""

    file: tuple[int, int] | None
    log: tuple[int, int] | None
    shared: tuple[int, int] | None


def identity(path: str) -> tuple[int, int] | None:
    """What the path names now."""
    try:
        status = os.stat(path)  # noqa: PTH116 - a Path costs more than the call, and this stands before every transaction
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_dev, status.st_ino


def footing(path: str) -> Footing:
    """What a connection just opened stands on."""
    real = os.path.realpath(path)  # SQLite puts the companions beside the file itself, not beside a link to it
    return Footing(identity(real), identity(real + "-wal"), identity(real + "-shm"))


def clear_after(old: Footing, path: str) -> None:
    """Move the write-ahead log of a file that is gone out of the way of its successor; nothing is thrown away.

    SQLite would take it for the log of the file that now has the name, and damage that one. A log that is not the old one
    belongs to the successor, whose connections are open already, and stays.
    """
    real = os.path.realpath(path)
    for companion, mine in (("-wal", old.log), ("-shm", old.shared)):
        if mine is not None and identity(real + companion) == mine:
            with suppress(FileNotFoundError):  # another process was faster
                Path(real + companion).replace(f"{real}{companion}{_ASIDE}")


def left_aside(path: str) -> list[str]:
    """What `clear_after` moved out of the way and still lies beside the file, by path."""
    real = os.path.realpath(path)
    return [aside for companion in ("-wal", "-shm") if os.path.lexists(aside := f"{real}{companion}{_ASIDE}")]
