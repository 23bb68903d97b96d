"""The journal mode: a file that holds nothing but treadle's tables has a write-ahead log, a user's file keeps its own mode."""

import re
from functools import cache
from pathlib import Path

from treadle.engine.migrate import migrations
from treadle.engine.sqlite.driver import Errors, Link, translated
from treadle.model.errors import StoreBusy

SCHEMA = Path(__file__).parent / "schema"
_TABLE = re.compile(r"CREATE TABLE \{ns\}(\w+)")
_PATIENCE = 200
"""Milliseconds."""


def write_ahead(link: Link, location: str, timeout: float) -> None:
    """Give a file that is ours alone a write-ahead log: a new one, or a backup that was restored, since `VACUUM INTO` has none.

    While somebody works in a restored file it stays as it is, for whoever opens it next.
    """
    if link.ask("PRAGMA journal_mode") == [("wal",)]:
        return
    tables = {str(row[0]) for row in link.ask("SELECT tbl_name FROM sqlite_master")}
    if not tables:
        link.ask("PRAGMA journal_mode = WAL")
        return
    if not ours_alone(tables):
        return
    link.ask(f"PRAGMA busy_timeout = {_PATIENCE}")
    try:
        link.ask("PRAGMA journal_mode = WAL")
    except Errors as error:
        if not isinstance(translated(error, location, timeout), StoreBusy):
            raise
    finally:
        link.ask(f"PRAGMA busy_timeout = {max(1, round(timeout * 1000))}")


def ours_alone(tables: set[str]) -> bool:
    """Whether a file with these tables holds nothing but treadle's, in one namespace or in several."""
    first, all_ = _endings()
    namespaces = [each.removesuffix("_meta") for each in tables if each.endswith("_meta")]
    own = {name + end for name in namespaces if all(name + each in tables for each in first) for end in all_}
    return all(each in own or each.startswith("sqlite_") for each in tables)


@cache
def _endings() -> tuple[frozenset[str], frozenset[str]]:
    """What follows the namespace in the names of our tables: of the first version, and of all."""
    found = [_TABLE.findall(each.text) for each in migrations(SCHEMA)]
    return frozenset(found[0]), frozenset(end for each in found for end in each)
