"""Writes the moves of running jobs: one statement for each table they touch."""

from treadle.engine.moving import Moves
from treadle.engine.plan import Steps
from treadle.engine.rows import to_text
from treadle.engine.source import Source
from treadle.engine.sqlite.edges import finish
from treadle.engine.sqlite.entering import Entry, enter
from treadle.engine.sqlite.steps import Do


def write_moves(sql: Source, moves: Moves) -> Steps[None]:
    """Write every move decided so far."""
    if moves.reentries:
        seqs: dict[int, int] = {}
        if moves.back:
            entered = yield from enter(sql, [Entry(job.n, job.queue, job.priority, job.flow) for job in moves.back])
            seqs = dict(zip((job.n for job in moves.back), entered, strict=True))
        rows = [(n, seqs.get(n, 0), *rest) for n, *rest in moves.reentries]
        yield Do(sql("shared", "reenter"), {"rows": to_text(rows)})
    if moves.finishes:
        yield from finish(sql, moves.finishes, moves.now)
    if moves.deaths:
        yield Do(sql("shared", "bury"), {"rows": to_text(moves.deaths), "now": moves.now})
    if moves.attempts:
        yield Do(sql("shared", "attempts"), {"rows": to_text(moves.attempts), "now": moves.now})
