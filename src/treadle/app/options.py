"""What may be said about one call: the options, checked the moment they are given."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, TypedDict

from treadle.app.flow import READERS, Ordered
from treadle.app.keys import By
from treadle.app.limit import Limit
from treadle.app.unique import Unique
from treadle.engine.session import Durability
from treadle.model.errors import InvalidOption, InvalidTime
from treadle.model.job import Edge, JobId, Micros, OnDead
from treadle.model.kind import is_a, is_list, is_whole
from treadle.policy.duration import Duration, seconds
from treadle.policy.retry import Retries

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_QUEUE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,99}", re.ASCII)
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


class HasId(Protocol):
    """A job handle, or a call that is not stored yet."""

    @property
    def id(self) -> JobId: ...


Parent = HasId | str
After = Sequence[Parent | tuple[Parent, OnDead | str]]


class OptionWords(TypedDict, total=False):
    """The options of one call, as a user writes them."""

    delay: Duration | None
    run_at: datetime | None
    priority: int | None
    queue: str | None
    timeout: Duration | None
    start_within: Duration | None
    tags: Sequence[str]
    key: str | None
    job_id: str | None
    after: After
    durability: Durability | str | None
    retry: Retries | None
    limits: Sequence[Limit] | None
    costs: Mapping[str, int] | None
    ordered_by: By | Ordered | None
    unique: Unique | None
    fair_by: By | None
    idempotency_key: str | None


@dataclass(slots=True, frozen=True, kw_only=True)
class Options:
    """The options of one call, checked. None, or nothing in it, means that the task decides.

    `flow` is what was said about limits, order and uniqueness, by the names of the fields of `Flow`.
    """

    delay: float | None = None
    run_at: Micros | None = None
    priority: int | None = None
    queue: str | None = None
    timeout: float | None = None
    start_within: float | None = None
    tags: tuple[str, ...] = ()
    key: str | None = None
    job_id: JobId | None = None
    after: tuple[Edge, ...] = ()
    durability: Durability | None = None
    retry: Retries | None = None
    flow: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def over(self, below: "Options") -> "Options":
        """These options, and those below where these say nothing. A delay here replaces a `run_at` there."""
        if below == UNSAID:
            return self
        merged: dict[str, Any] = {each.name: getattr(self, each.name) or getattr(below, each.name) for each in fields(self)}
        for name in ("delay", "priority", "timeout", "start_within"):
            mine = getattr(self, name)
            merged[name] = getattr(below, name) if mine is None else mine
        merged["flow"] = {**below.flow, **self.flow}
        if self.delay is not None or self.run_at is not None:
            merged["delay"], merged["run_at"] = self.delay, self.run_at
        return Options(**merged)


UNSAID = Options()


def read_options(words: OptionWords) -> Options:
    """The options in their checked form. Raises `InvalidOption`, `InvalidTime` or `InvalidDuration`."""
    given: dict[str, Any] = dict(words)
    unknown = given.keys() - OptionWords.__annotations__.keys()
    if unknown:
        name = min(unknown)
        raise InvalidOption(name, "there is no such option", f"Use one of: {', '.join(OptionWords.__annotations__)}.")
    if given.get("delay") is not None and given.get("run_at") is not None:
        raise InvalidOption("delay and run_at", "a job has one due time", "Give one of the two.")
    read = {name: _READERS[name](value) for name, value in given.items() if value is not None}
    flow = {name: read.pop(word) for word, name in _FLOW.items() if word in read}
    return Options(**read, flow=flow)


def check_queue(value: str) -> str:
    """A queue's name. Raises `InvalidOption`."""
    if is_a(value, str) and _QUEUE.fullmatch(value):
        return value
    raise InvalidOption(value, "this is not a queue name", "Use 1 to 100 letters, digits, dots, dashes and underscores.")


def check_priority(value: int) -> int:
    """A priority from -100 to 100. Raises `InvalidOption`."""
    if not is_whole(value, -100, 100):
        raise InvalidOption(value, "a priority is a whole number from -100 to 100", "Larger is sooner; HIGH is 50, LOW is -50.")
    return value


def check_tags(value: Iterable[str]) -> tuple[str, ...]:
    """Tags, each of at most 200 bytes, at most 20 of them, without repetition. Raises `InvalidOption`."""
    if not is_list(value):
        raise InvalidOption(repr(value), "tags must be a list", f'Write tags=["{value}"].')
    found = tuple(dict.fromkeys(_label("tag", each) for each in value))
    if len(found) > 20:
        raise InvalidOption(f"{len(found)} tags", "a job carries at most 20", "Tag what you search or erase by.")
    return found


def check_durability(value: Durability | str) -> Durability:
    """A durability: `default` or `relaxed`. Raises `InvalidOption`."""
    try:
        return Durability(value)
    except ValueError:
        raise InvalidOption(value, "there is no such durability", 'Use "default" or "relaxed".') from None


def check_retry(value: Retries) -> Retries:
    """A retry rule. Raises `InvalidOption`."""
    if is_a(value, Retries):
        return value
    raise InvalidOption(value, "this is not a retry rule", 'Write Retries(max_failures=3), Retries(["1m", "5m"]) or NO_RETRY.')


def check_timeout(value: Duration) -> float:
    """A time limit in seconds. Raises `InvalidOption` and `InvalidDuration`."""
    found = seconds(value)
    if found == 0:
        raise InvalidOption(repr(value), "a timeout of nothing would stop every attempt", "Leave it out for no timeout.")
    return found


def micros(value: datetime) -> Micros:
    """A moment as the store holds it. Raises `InvalidTime` for one without a time zone or before 1970."""
    if not is_a(value, datetime):
        raise InvalidTime(value, "this is not a datetime", "Give an aware datetime, such as datetime.now(UTC).")
    if value.utcoffset() is None:
        raise InvalidTime(value.isoformat(), "it has no time zone", "Add one: value.replace(tzinfo=UTC), or datetime.now(UTC).")
    found = (value - EPOCH) // timedelta(microseconds=1)
    if found < 0:
        raise InvalidTime(value.isoformat(), "it lies before 1970", "Give a later moment.")
    return found


def _label(what: str, value: object) -> str:
    if not isinstance(value, str) or not value or not value.isprintable() or len(value.encode("utf-8", "replace")) > 200:
        raise InvalidOption(value, f"{_a(what)} is 1 to 200 bytes of printable text", "Use a short, stable text such as an id.")
    return value


def _a(what: str) -> str:
    return f"{'an' if what[0] in 'aeiou' else 'a'} {what}"


def _key(value: object) -> str:
    return _label("key", value)


def _idempotency_key(value: object) -> str:
    return _label("idempotency key", value)


def _job_id(value: object) -> JobId:
    if isinstance(value, str) and _ID.fullmatch(value):
        return value
    raise InvalidOption(value, "a job id is a UUID version 7 in lower case", "Leave it out, or make it with treadle.new_id().")


def _retry(value: Retries) -> Retries:
    rule = check_retry(value)
    if rule.on != (Exception,) or rule.give_up_on:
        raise InvalidOption(
            rule, "on and give_up_on cannot travel with a job", "Say them on the task; say numbers and delays here."
        )
    return rule


def _after(value: After) -> tuple[Edge, ...]:
    if not is_list(value):
        raise InvalidOption(repr(value), "after must be a list of jobs", "Write after=[job] or after=[(job, OnDead.RUN)].")
    edges = [_edge(each) for each in value]
    if len({each.parent for each in edges}) < len(edges):
        raise InvalidOption("after", "it names one parent twice", "Name each parent once.")
    return tuple(edges)


def _edge(value: Parent | tuple[Parent, OnDead | str]) -> Edge:
    pair = value if isinstance(value, tuple) else (value, OnDead.HOLD)
    if len(pair) != 2:  # pyright: ignore[reportUnnecessaryComparison]
        raise InvalidOption(pair, "this is not a job and what to do when it dies", "Write (job, OnDead.RUN).")
    parent, on_dead = pair
    try:
        policy = OnDead(on_dead)
    except ValueError:
        raise InvalidOption(on_dead, "an edge does not know this", 'Use "hold", "cancel" or "run".') from None
    identity = parent if isinstance(parent, str) else getattr(parent, "id", None)
    if not isinstance(identity, str) or not identity.isprintable():
        raise InvalidOption(parent, "this is not a job", "Name a job handle, a call of the same batch, or a job's id.")
    return Edge(identity, policy)


_READERS: dict[str, Any] = {
    "delay": seconds,
    "run_at": micros,
    "priority": check_priority,
    "queue": check_queue,
    "timeout": check_timeout,
    "start_within": seconds,
    "tags": check_tags,
    "key": _key,
    "job_id": _job_id,
    "after": _after,
    "durability": check_durability,
    "retry": _retry,
    "idempotency_key": _idempotency_key,
    **{word: read for word, (_, read) in READERS.items()},
}
_FLOW = {word: name for word, (name, _) in READERS.items()} | {"idempotency_key": "idempotency_key"}
