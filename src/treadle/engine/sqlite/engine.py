"""The SQLite engine: the verbs of the contract, gathered from their rooms."""

from functools import cache
from pathlib import Path

from treadle.engine.source import Source
from treadle.engine.sqlite.facts import Facts
from treadle.engine.sqlite.keeping import Keeping
from treadle.engine.sqlite.operating import Operating
from treadle.engine.sqlite.producing import Producing
from treadle.engine.sqlite.working import Working


@cache
def _source(namespace: str) -> Source:
    return Source(Path(__file__).parent / "sql", namespace)


class SqliteEngine(Producing, Working, Keeping, Operating, Facts):
    """Plans over three narrow tables joined by an integer: what was asked, what is in motion, what has ended."""

    def __init__(self, namespace: str) -> None:
        self.sql: Source = _source(namespace)
