"""What an operator should know about a SQLite store: read, never written."""

from pathlib import Path
from typing import Protocol

from treadle.engine.session import Check
from treadle.engine.sqlite.driver import Errors, Link, Settings, is_vulnerable, library_version, translated
from treadle.engine.sqlite.footing import left_aside
from treadle.engine.sqlite.log import length, pinned
from treadle.engine.sqlite.place import check_place, file_system
from treadle.model.errors import StoreError


class Patient(Protocol):
    """What an examination needs of a store."""

    path: Path
    settings: Settings
    timeout: float

    @property
    def location(self) -> str:
        """The absolute path of the file."""
        ...

    @property
    def durability(self) -> str:
        """The durability class and what it survives."""
        ...

    def connect(self) -> Link:
        """Open a connection without migrating."""
        ...

    def shut(self, link: Link) -> None:
        """Close it."""
        ...

    def version(self, link: Link) -> int:
        """The schema's version in the file."""
        ...

    def newest_version(self) -> int:
        """The newest version that this code knows."""
        ...


def examine(store: Patient) -> list[Check]:
    """Every finding about a store, from the outside in; the file itself is only read."""
    checks = [
        Check("location", "ok", store.location),
        _library(store.settings.driver),
        _durability(store),
        Check("file system", "ok", file_system(store.path) or "unknown"),
    ]
    try:
        check_place(store.path)
        if not store.path.exists():
            return [*checks, Check("file", "warning", "not created yet; the first enqueue or worker creates it")]
        link = store.connect()
    except StoreError as error:
        return [*checks, Check("file", "error", str(error))]
    try:
        return [*checks, *_inside(store, link)]
    except StoreError as error:
        return [*checks, Check("schema", "error", str(error))]
    except Errors as error:
        told = translated(error, store.location, store.timeout)
        return [*checks, Check("file", "error", str(told or error))]
    finally:
        store.shut(link)


def _library(driver: str) -> Check:
    version = library_version(driver)
    text = f"SQLite {'.'.join(map(str, version))} through {driver}"
    if is_vulnerable(version):
        return Check("library", "warning", f"{text} has the WAL-reset bug: safe with one process only. Use ?driver=apsw.")
    return Check("library", "ok", text)


def _durability(store: Patient) -> Check:
    return Check("durability", "ok", f"synchronous={store.settings.synchronous}, {store.durability}")


def _inside(store: Patient, link: Link) -> list[Check]:
    version, newest = store.version(link), store.newest_version()
    if version > newest:
        schema = Check("schema", "error", f"version {version}, and this treadle knows up to {newest}: upgrade treadle")
    elif version < newest:
        schema = Check("schema", "warning", f"version {version} of {newest}; the next use migrates it")
    else:
        schema = Check("schema", "ok", f"version {version}")
    mode = str(link.ask("PRAGMA journal_mode")[0][0])
    journal = Check("journal mode", "ok", mode)
    if mode != "wal":
        cure = "readers and writers wait for each other; `PRAGMA journal_mode=WAL` on your file cures it"
        journal = Check("journal mode", "warning", f"{mode}: {cure}")
    faults = [str(row[0]) for row in link.ask("PRAGMA quick_check(3)")]
    if faults == ["ok"]:
        sound = Check("quick check", "ok", "no fault found")
    else:
        sound = Check("quick check", "error", f"{'; '.join(faults)}. Stop every worker, keep a copy, restore a backup.")
    return [schema, journal, sound, _log(store.path), *_aside(store.path)]


def _aside(path: Path) -> list[Check]:
    left = left_aside(str(path))
    if not left:
        return []
    story = "the log of a database file that was deleted or replaced here while it was in use. Nothing reads it any more"
    return [Check("left aside", "warning", f"{', '.join(left)}: {story}; delete it, unless you want to save that file")]


def _log(path: Path) -> Check:
    size = length(path)
    trouble = pinned(size)
    return Check("write-ahead log", "warning" if trouble else "ok", trouble or f"{size / 1e6:.1f} MB")
