"""What the end of a parent does to the children that wait for it."""

from collections import Counter
from collections.abc import Iterable, Sequence

from treadle.engine.judging import read_edges
from treadle.engine.moving import Ended, Finish, Freed
from treadle.engine.plan import Steps
from treadle.engine.postgres.statements import Statements
from treadle.engine.postgres.steps import Ask, Do, columns, numbers
from treadle.engine.session import Wake, topics
from treadle.model.job import JobId, Micros
from treadle.model.state import State


def finish(sql: Statements, rows: Sequence[Finish], now: Micros) -> Steps[None]:
    """Move live jobs to the finished ones and close the edges above them."""
    yield Do(sql("shared", "finish"), columns(Finish._fields, rows) | {"now": now})


def any_open(sql: Statements) -> Steps[bool]:
    """Whether any job waits for a parent: the one question that a batch without edges pays for."""
    rows = yield Ask(sql("edges", "any-open"))
    return bool(rows[0][0])


def count_down(sql: Statements, ended: Iterable[Ended], now: Micros) -> Steps[Freed]:
    """Settle every open edge below `ended`, and below the children that this cancels, and so on down."""
    queues: set[str] = set()
    cancelled: list[JobId] = []
    round_ = {each.n: each for each in ended}
    while round_:
        rows = yield Ask(sql("edges", "waiting"), {"ns": numbers(round_)})
        freed, lost = read_edges(rows, round_)
        if freed:
            queues |= yield from _free(sql, freed, now)
        round_ = {}
        if lost:
            still = yield Ask(sql("edges", "doomed"), {"ns": numbers(lost)})
            lost = {n: lost[n] for (n,) in still}
        if lost:
            yield from finish(sql, [Finish(n, State.CANCELLED, reason=f"parent {by}") for n, by in lost.items()], now)
            ids = yield Ask(sql("edges", "ids"), {"ns": numbers(lost)})
            round_ = {n: Ended(n, job, State.CANCELLED) for n, job in ids}
            cancelled += [each.id for each in round_.values()]
    return Freed(frozenset(queues), tuple(cancelled))


def _free(sql: Statements, met: dict[int, list[int]], now: Micros) -> Steps[frozenset[str]]:
    """Count met parents down; children left with none go to the queue, or wait for their time."""
    yield Do(sql("edges", "hold"), {"ns": numbers(met)})
    late = yield Ask(sql("flows", "try-up"), {"ns": numbers(met)})
    pairs = [(child, parent) for child, parents in met.items() for parent in parents]
    # Somebody may have closed one since it was read: what was counted down twice ran before its other parents had ended.
    closed = Counter(child for (child,) in (yield Ask(sql("edges", "close"), columns(("child", "parent"), pairs))))
    if not closed:
        return frozenset()
    counts = columns(("n", "met"), sorted(closed.items()))
    rows = yield Ask(sql("edges", "count-down"), counts | {"now": now, "late": numbers(n for (n,) in late)})
    return frozenset(queue for queue, state in rows if state == State.QUEUED)


def wake_children(sql: Statements, ended: Iterable[Ended], now: Micros) -> Steps[None]:
    """Settle the edges below `ended`, and wake whoever waits for what came of it."""
    freed = yield from count_down(sql, ended, now)
    if freed.queues or freed.cancelled:
        yield Wake(topics(freed.queues, freed.cancelled))
