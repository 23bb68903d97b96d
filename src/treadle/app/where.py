"""Which jobs an operator means, in the operator's terms, and how that is said to an engine."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any

from treadle.app.options import micros
from treadle.model import filter as asked
from treadle.model.errors import InvalidOption
from treadle.model.job import JobId, LeaseId
from treadle.model.kind import is_a, is_list
from treadle.model.state import State

_TIMES = frozenset({"enqueued_before", "enqueued_after", "finished_before"})


@dataclass(slots=True, frozen=True, kw_only=True)
class Filter:
    """Which jobs are meant. Every field narrows; None does not. An empty sequence matches nothing.

    `tag` and `key` match exactly; `status` is the state of the dead letter (`open`, `replayed`, `resolved`). Times are
    aware datetimes, exclusive. Raises `InvalidOption` and `InvalidTime`.
    """

    ids: Sequence[JobId] | None = None
    states: Sequence[State] | None = None
    queues: Sequence[str] | None = None
    tasks: Sequence[str] | None = None
    lease: LeaseId | None = None
    tag: str | None = None
    key: str | None = None
    status: str | None = None
    fingerprint: str | None = None
    enqueued_before: datetime | None = None
    enqueued_after: datetime | None = None
    finished_before: datetime | None = None

    def __post_init__(self) -> None:
        self.asked()

    def asked(self) -> asked.Filter:
        """The same filter as engines take it."""
        words: dict[str, Any] = {each.name: getattr(self, each.name) for each in fields(self)}
        words.update({name: micros(words[name]) for name in _TIMES if words[name] is not None})
        return asked.Filter(**words)


Where = Filter | JobId | Iterable[JobId]
"""Which jobs: one id, several ids, or a filter."""

EVERYTHING = Filter()


def whole(where: Filter) -> asked.Filter:
    """The filter that a look needs. Raises `InvalidOption` for what is none."""
    if is_a(where, Filter):
        return where.asked()
    raise InvalidOption(where, "this is not a Filter", "Write for example Filter(ids=[...]), or ask for one job with get().")


def among(where: Where, usual: Filter) -> asked.Filter:
    """The filter that a change needs: ids as they are, so that a job in a wrong state is answered; filters in the usual."""
    if isinstance(where, Filter):
        states = usual.states if where.states is None else where.states
        return replace(where, states=states, status=where.status or usual.status).asked()
    if isinstance(where, str):
        return asked.Filter(ids=(where,))
    if not is_list(where):
        raise InvalidOption(where, "this does not say which jobs are meant", "Give a job's id, several ids or a Filter.")
    return asked.Filter(ids=tuple(where))


def narrowed(where: Where | None, tag: str | None, key: str | None) -> asked.Filter:
    """The filter of an erasure. Raises `InvalidOption` when nothing narrows it."""
    found = asked.Filter() if where is None else among(where, EVERYTHING)
    found = replace(found, tag=tag or found.tag, key=key or found.key)
    if found == asked.Filter():
        raise InvalidOption("erase", "nothing says which jobs are meant", "Name a tag, a key, ids or a filter.")
    return found
