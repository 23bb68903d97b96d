"""Where a database lies: its file system, its runtime directory, and which SQLite library this process opened it with."""

import os
import stat
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from treadle.engine.forking import renew_in_children
from treadle.model.errors import CannotOpen, MixedSQLite, NetworkFileSystem

_NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ncpfs", "ceph", "glusterfs", "lustre", "davfs", "afpfs", "webdav"}
)
_SOCKET_ROOM = 60
"""Bytes that the name of a runtime directory may take, so that a socket's whole path stays under the system's 104."""

_open: dict[tuple[int, int], list[str]] = {}
"""The library of each open connection, by file. Leaving takes no lock: a finalizer does it, and may run in any of our calls."""
_lent: dict[tuple[int, int, str], str] = {}


class _Lock:
    """Guards both."""

    def __init__(self) -> None:
        renew_in_children(self)

    def renew_locks(self) -> None:
        """Begin with a lock that nobody holds."""
        self.lock = threading.RLock()


_guard = _Lock()


def file_system(path: Path) -> str:
    """The type of the file system that holds `path`, as the mount table names it; empty where there is none to read."""
    table = Path("/proc/self/mounts")
    if not table.exists():
        return ""
    best, kind = "", ""
    wanted = os.path.realpath(path)
    for line in table.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        _, mount, fstype, *_ = line.split(" ")
        mount = mount.encode("utf-8", "surrogateescape").decode("unicode_escape")
        if len(mount) >= len(best) and (wanted == mount or wanted.startswith(mount.rstrip("/") + "/")):
            best, kind = mount, fstype
    return kind


def is_network(kind: str) -> bool:
    """Whether SQLite's locks cannot be trusted on a file system of this type."""
    return kind in _NETWORK or kind.startswith("fuse.") or kind == "fuse"


def check_place(path: Path) -> None:
    """Refuse a place where a database cannot live, before anything is created there.

    Raises `CannotOpen` and `NetworkFileSystem`.
    """
    directory = path.parent
    if not directory.is_dir():
        raise CannotOpen(f"{path}: the directory {directory} does not exist. Create it, or correct the path in the URL.")
    if path.is_dir():
        raise CannotOpen(f"{path}: this is a directory. Name a file in it, for example {path / 'treadle.db'}.")
    if not os.access(directory, os.W_OK | os.X_OK):
        raise CannotOpen(
            f"{path}: {directory} is not writable for this user, and SQLite keeps its log beside the database. "
            "Grant write access to the directory, or choose another place."
        )
    if path.exists() and not os.access(path, os.R_OK | os.W_OK):
        raise CannotOpen(f"{path}: the file is not readable and writable for this user. Correct its owner or its mode.")
    kind = file_system(path)
    if is_network(kind):
        raise NetworkFileSystem(
            f"{path}: it lies on a network file system ({kind}), where SQLite's locks cannot be trusted. "
            "Put the file on a local disk, or use a server engine for several machines."
        )


def enter_library(path: Path, library: str) -> tuple[int, int]:
    """Note that this process opens `path` through `library`; returns what `leave_library` wants to know.

    Raises `MixedSQLite` if another library has the file open, or a connection of another one was borrowed.
    """
    status = path.stat()
    key = (status.st_dev, status.st_ino)
    with _guard.lock:
        opened = _open.setdefault(key, [])
        known = _lent.get((*key, os.path.realpath(path)), _first(opened, library))
        if known != library:
            raise _mixed(path, known, library)
        opened.append(library)
    return key


def leave_library(key: tuple[int, int]) -> None:
    """Note that one connection is closed."""
    _open[key].pop()


def lend_library(path: Path, library: str) -> None:
    """Note that a user's connection to `path` was borrowed: nobody tells us when it is closed, so this stays.

    Raises `MixedSQLite` if another library has the file open.
    """
    status = path.stat()
    key = (status.st_dev, status.st_ino)
    with _guard.lock:
        known = _lent.setdefault((*key, os.path.realpath(path)), _first(_open.get(key, ()), library))
        if known != library:
            raise _mixed(path, known, library)


def _first(opened: Sequence[str], library: str) -> str:
    """The library that has the file open already, or this one. The last connection may be left in the middle of the look."""
    return next(iter(opened), library)


def _mixed(path: Path, known: str, library: str) -> MixedSQLite:
    return MixedSQLite(
        f"{path}: this process uses it through {known}, and {library} would drop {known}'s locks. Use one library for both: "
        "open the store with the ?driver= of the connections that you borrow (sqlite3 or apsw)."
    )


def runtime_directory(path: Path) -> Path:
    """A private directory for the locks and sockets of one database, made on demand.

    Raises `CannotOpen` when somebody else owns the name.
    """
    import hashlib  # both here, because a command that only reads needs neither
    import tempfile

    digest = hashlib.sha256(os.fsencode(os.path.realpath(path))).hexdigest()[:16]
    root = Path(tempfile.gettempdir())
    if len(os.fsencode(root)) > _SOCKET_ROOM:
        root = Path("/tmp")  # noqa: S108
    own = root / f"treadle-{os.getuid()}"
    directory = own / digest
    for each in (own, directory):
        with suppress(FileExistsError):
            each.mkdir(mode=0o700)
    status = own.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or stat.S_IMODE(status.st_mode) & 0o077:
        raise CannotOpen(
            f"{own}: treadle keeps its locks here, and it is not a private directory of this user. "
            f"Remove it (rm -r {own}) or set TMPDIR to a directory of your own."
        )
    return directory
