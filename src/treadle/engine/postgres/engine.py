"""The PostgreSQL engine: the verbs of the contract, gathered from their rooms."""

from treadle.engine.postgres.facts import Facts
from treadle.engine.postgres.keeping import Keeping
from treadle.engine.postgres.operating import Operating
from treadle.engine.postgres.producing import Producing
from treadle.engine.postgres.statements import Statements, statements
from treadle.engine.postgres.working import Working


class PostgresEngine(Producing, Working, Keeping, Operating, Facts):
    """Plans over three narrow tables joined by a number: what was asked, what is in motion, what has ended."""

    def __init__(self, namespace: str) -> None:
        self.sql: Statements = statements(namespace)
