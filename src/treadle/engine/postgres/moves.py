"""Writes the moves of running jobs: one statement for each table they touch."""

from treadle.engine.moving import Moves, Reentry
from treadle.engine.plan import Steps
from treadle.engine.postgres.edges import finish
from treadle.engine.postgres.statements import Statements
from treadle.engine.postgres.steps import Do, columns

_ATTEMPT = ("n", "attempt", "outcome", "worker", "started_at", "delay", "error", "exit")
_DEATH = ("n", "cause", "reason", "fingerprint")


def write_moves(sql: Statements, moves: Moves) -> Steps[None]:
    """Write every move decided so far."""
    if moves.reentries:
        yield Do(sql("shared", "reenter"), columns(Reentry._fields, moves.reentries))
    if moves.finishes:
        yield from finish(sql, moves.finishes, moves.now)
    if moves.deaths:
        yield Do(sql("shared", "bury"), columns(_DEATH, moves.deaths) | {"now": moves.now})
    if moves.attempts:
        yield Do(sql("shared", "attempts"), columns(_ATTEMPT, moves.attempts) | {"now": moves.now})
