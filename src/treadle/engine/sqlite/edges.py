"""What the end of a parent does to the children that wait for it."""

from collections.abc import Iterable, Sequence

from treadle.engine.judging import read_edges
from treadle.engine.moving import Ended, Finish, Freed
from treadle.engine.plan import Steps
from treadle.engine.rows import to_text
from treadle.engine.session import Wake, topics
from treadle.engine.source import Source
from treadle.engine.sqlite.entering import Entry, enter
from treadle.engine.sqlite.steps import Ask, Do
from treadle.model.job import JobId, Micros
from treadle.model.state import State


def finish(sql: Source, rows: Sequence[Finish], now: Micros) -> Steps[None]:
    """Move live jobs to the finished ones and close the edges above them."""
    ns = to_text([row.n for row in rows])
    yield Do(sql("shared", "finish"), {"rows": to_text(rows), "now": now})
    yield Do(sql("shared", "unlive"), {"ns": ns})
    yield Do(sql("edges", "close-all"), {"ns": ns})


def any_open(sql: Source) -> Steps[tuple[bool, bool]]:
    """Whether any job waits for a parent, and whether any gated job holds or waits for anything.

    The one question that a batch pays for whose jobs have neither edges nor holds.
    """
    rows = yield Ask(sql("edges", "any-open"))
    waits, holds = rows[0]
    return bool(waits), bool(holds)


def count_down(sql: Source, ended: Iterable[Ended], now: Micros) -> Steps[Freed]:
    """Settle every open edge below `ended`, and below the children that this cancels, and so on down."""
    queues: set[str] = set()
    cancelled: list[JobId] = []
    round_ = {each.n: each for each in ended}
    while round_:
        rows = yield Ask(sql("edges", "waiting"), {"ns": to_text(list(round_))})
        freed, lost = read_edges(rows, round_)
        if freed:
            queues |= yield from _free(sql, freed, now)
        round_ = {}
        if lost:
            yield from finish(sql, [Finish(n, State.CANCELLED, reason=f"parent {by}") for n, by in lost.items()], now)
            ids = yield Ask(sql("settle", "ids"), {"ns": to_text(list(lost))})
            round_ = {n: Ended(n, job, State.CANCELLED) for n, job in ids}
            cancelled += [each.id for each in round_.values()]
    return Freed(frozenset(queues), tuple(cancelled))


def _free(sql: Source, met: dict[int, list[int]], now: Micros) -> Steps[frozenset[str]]:
    """Count met parents down; children left with none go to the queue, or wait for their time."""
    counts = to_text([(child, len(parents)) for child, parents in met.items()])
    yield Do(sql("edges", "close"), {"pairs": to_text([(c, p) for c, parents in met.items() for p in parents])})
    yield Do(sql("edges", "count-down"), {"rows": counts})
    rows = yield Ask(sql("edges", "freed"), {"rows": counts})
    if not rows:
        return frozenset()
    later = [n for n, _, due, _, _ in rows if due is not None and due > now]
    entries = [Entry(n, queue, priority, flow) for n, queue, due, priority, flow in rows if due is None or due <= now]
    seqs = (yield from enter(sql, entries)) if entries else []
    placed = [(n, State.SCHEDULED, 0) for n in later]
    placed += [(entry.n, State.QUEUED, seq) for entry, seq in zip(entries, seqs, strict=True)]
    yield Do(sql("edges", "free"), {"rows": to_text(placed)})
    return frozenset(entry.queue for entry in entries)


def wake_children(sql: Source, ended: Iterable[Ended], now: Micros) -> Steps[None]:
    """Settle the edges below `ended`, and wake whoever waits for what came of it."""
    freed = yield from count_down(sql, ended, now)
    if freed.queues or freed.cancelled:
        yield Wake(topics(freed.queues, freed.cancelled))
