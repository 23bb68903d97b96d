"""Where jobs enter their queue: at the back of their priority, unless tenants share it; and the place of those in a line."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from treadle.engine.admission import weights
from treadle.engine.plan import Steps
from treadle.engine.ranking import NOBODY, Standing
from treadle.engine.rows import to_text
from treadle.engine.source import Source
from treadle.engine.sqlite.steps import Ask, Do


class Entry(NamedTuple):
    """A job on its way into its queue; `flow` is what `live` says of it."""

    n: int
    queue: str
    priority: int
    flow: int


def take_numbers(sql: Source, count: int) -> Steps[tuple[int, bool]]:
    """Take `count` numbers from the one sequence; returns the first, and whether any queue has tenants."""
    rows = yield Ask(sql("shared", "seq"), {"count": count})
    last, tenants = rows[0]
    return last - count + 1, bool(tenants)


def enter(sql: Source, entries: Sequence[Entry]) -> Steps[list[int]]:
    """The seq of each job that enters its queue now, in this order."""
    first, tenants = yield from take_numbers(sql, len(entries))
    seqs = list(range(first, first + len(entries)))
    yield from arrange(sql, entries, seqs, tenants=tenants)
    return seqs


def arrange(sql: Source, entries: Sequence[Entry], seqs: list[int], *, tenants: bool) -> Steps[None]:
    """Give places in lines to those that want one, and move the seqs of those that share their queue with tenants."""
    flowing = [entry.n for entry in entries if entry.flow]
    if not flowing and not tenants:
        return
    known: dict[int, tuple[str | None, int | None, str | None]] = {}
    if flowing:
        rows = yield Ask(sql("flows", "known"), {"ns": to_text(flowing)})
        known = {n: (line, place, tenant) for n, line, place, tenant in rows}
    placed: list[tuple[str, int, int]] = []
    for entry, number in zip(entries, seqs, strict=True):
        line, place, _ = known.get(entry.n, (None, None, None))
        if line is not None and place is None:
            placed.append((line, number, entry.n))
    if placed:
        values = {"rows": to_text(placed)}
        yield Do(sql("flows", "place"), values)
        yield Do(sql("flows", "placed"), values)
    whose = [known[entry.n][2] if entry.n in known else None for entry in entries]
    if tenants or any(tenant is not None for tenant in whose):
        yield from _rank(sql, entries, whose, seqs)


def _rank(sql: Source, entries: Sequence[Entry], whose: Sequence[str | None], seqs: list[int]) -> Steps[None]:
    at = [(entry.queue, entry.priority) for entry in entries]
    groups = list(dict.fromkeys(at))
    values: dict[str, Any] = {
        "groups": to_text(groups),
        "tenants": to_text(list({NOBODY, *(tenant for tenant in whose if tenant is not None)})),
    }
    standings: dict[tuple[str, int], Standing] = {}
    for key, head, back, text in (yield Ask(sql("flows", "standings"), values)):
        standings[groups[key]] = Standing(head, back, {}, False, weights(text))
    for key, tenant, last in (yield Ask(sql("flows", "lasts"), values)):
        standing = standings[groups[key]]
        standing.shared = True
        if tenant is not None:
            standing.lasts[tenant] = last
    for i, tenant in enumerate(whose):
        seqs[i] = standings[at[i]].enter(tenant, seqs[i])
    emptied = [group for group in groups if standings[group].emptied]
    if emptied:
        yield Do(sql("flows", "forget-tenants"), {"groups": to_text(emptied)})
    lasts = [(*group, *each) for group in groups if standings[group].shared for each in standings[group].lasts.items()]
    if lasts:
        yield Do(sql("flows", "put-tenants"), {"rows": to_text(lasts)})
