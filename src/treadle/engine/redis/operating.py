"""The verbs of operators: `find`, `count`, `alter`."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from treadle.engine.contract import Now
from treadle.engine.plan import Steps, plan
from treadle.engine.redis.producing import unpacked_flow
from treadle.engine.redis.steps import Call, encode
from treadle.engine.redis.working import Asked
from treadle.model.filter import (
    Altered,
    Annotate,
    Axis,
    Cancel,
    Change,
    Count,
    Erase,
    Filter,
    Order,
    Page,
    Prioritise,
    Replay,
    Resolve,
)
from treadle.model.flow import Parked
from treadle.model.job import AttemptRecord, DeadLetter, Job, JobId, Micros, OnDead, micros
from treadle.model.state import State

MOST = 10_000
"""Jobs that one call looks at where no index helps. A larger look is made of several, so that nobody waits long for it."""

_CODES = {state: code for code, state in enumerate(State, 1)}
Kin = tuple[tuple[JobId, OnDead, State], ...]


_Place = tuple[str | Literal[False], str | Literal[False], JobId | Literal[False], State | Literal[False]]
"""The fields of `Parked`, false for None."""


class _Shown(NamedTuple):
    """A job as `find.lua` shows it."""

    state: State
    blocked_on: str | None
    attempt: int
    failures: int
    crashes: int
    snoozes: int
    releases: int
    due_at: Micros | None
    start_by: Micros | None
    claimed_at: Micros | None
    finished_at: Micros | None
    lease: str | None
    worker: str | None
    cancel_requested: bool
    stuck: bool
    suspect: bool
    result: str | None
    reason: str | None
    progress: str | None
    dead: DeadLetter | None
    attempts: tuple[AttemptRecord, ...]
    parents: Kin
    children: Kin
    notes: Mapping[str, str] | None
    parked: _Place | None
    enqueued_at: Micros
    asked: Asked


_shown = msgspec.msgpack.Decoder(list[_Shown]).decode
_groups = msgspec.msgpack.Decoder(list[tuple[tuple[str | None, ...], int, Micros]]).decode
_altered = msgspec.msgpack.Decoder(list[tuple[JobId, State, State | bool, bool, JobId | bool]]).decode


class Operating:
    """Looks are made of calls of a bounded size; a change is one call."""

    @plan
    def find(self, where: Filter, page: Page) -> Steps[list[Job]]:
        """Jobs as they are now, one page of them."""
        found: list[Job] = []

        def ask(start: int | bool) -> Call:
            left = page.limit - len(found)
            newest = page.order is Order.NEWEST
            after = False if page.after is None else page.after
            return Call("find", encode((packed_filter(where), left, after, newest, page.details, start, MOST)), read)

        def read(reply: Sequence[bytes | None]) -> list[Job] | Call:
            cursor, packed = reply
            found.extend(_job(each, details=page.details) for each in _shown(packed or b"\x90"))
            return found if cursor is None else ask(int(cursor))

        answer: list[Job] = yield ask(start=False)
        return answer

    @plan
    def count(self, where: Filter, by: Sequence[Axis] = (Axis.STATE,)) -> Steps[list[Count]]:
        """How many jobs there are, by the axes asked for."""
        totals: dict[tuple[str | None, ...], tuple[int, Micros]] = {}

        def ask(start: int | bool) -> Call:
            return Call("count", encode((packed_filter(where), list(by), start, MOST)), read)

        def read(reply: Sequence[bytes | None]) -> list[Count] | Call:
            cursor, packed = reply
            for key, number, oldest in _groups(packed or b"\x90"):
                before, since = totals.get(key, (0, oldest))
                totals[key] = (before + number, min(since, oldest))
            return _counts(totals, by) if cursor is None else ask(int(cursor))

        answer: list[Count] = yield ask(start=False)
        return answer

    @plan
    def alter(
        self, where: Filter, change: Change, *, actor: str | None, limit: int = 1000, now: Now = None
    ) -> Steps[list[Altered]]:
        """Apply one change to the oldest jobs that match, and write the audit line."""
        parameters = encode((now, packed_filter(where), limit, actor, _packed_change(change)))
        answer: list[Altered] = yield Call("alter", parameters, _read_altered)
        return answer


def _job(each: _Shown, *, details: bool) -> Job:
    asked = each.asked
    values: list[Any] = [
        *asked[:6], *each[:7], each.enqueued_at, *each[7:16], asked.key, asked.tags or (), *asked[9:12], *each[16:24],
    ]  # fmt: skip
    job = Job(*values, *(unpacked_flow(asked.flow) if details and asked.flow else ()))
    if each.parked is not None:
        limit, key, behind, state = each.parked
        job.parked = Parked(limit or None, None if key is False else key, behind or None, state or None)
    return job


def packed_filter(where: Filter) -> dict[str, Any]:
    """The fields that are set, states as codes."""
    fields = {name: getattr(where, name) for name in where.__dataclass_fields__}
    found: dict[str, Any] = {name: value for name, value in fields.items() if value is not None}
    if where.states is not None:
        found["states"] = [_CODES[State(state)] for state in where.states]
    for name in ("ids", "queues", "tasks"):
        if name in found:
            found[name] = list(found[name])
    return found


def _packed_change(change: Change) -> dict[str, Any]:
    match change:
        case Cancel(reason):
            return {"kind": "cancel", "reason": reason}
        case Replay(delay, args, note):
            return {"kind": "replay", "delay": micros(delay), "args": args, "note": note}
        case Resolve(note):
            return {"kind": "resolve", "note": note}
        case Annotate(note):
            return {"kind": "annotate", "note": note}
        case Prioritise(priority):
            return {"kind": "prioritise", "priority": priority}
        case Erase():
            return {"kind": "erase"}


def _read_altered(reply: bytes) -> list[Altered]:
    return [
        Altered(job, before, None if isinstance(after, bool) else after, done, None if isinstance(holder, bool) else holder)
        for job, before, after, done, holder in _altered(reply)
    ]


def _counts(totals: Mapping[tuple[str | None, ...], tuple[int, Micros]], by: Sequence[Axis]) -> list[Count]:
    if not by and not totals:
        return [Count((), 0, None)]
    return [Count(key, *totals[key]) for key in sorted(totals, key=_none_first)]


def _none_first(key: tuple[str | None, ...]) -> tuple[tuple[bool, str], ...]:
    return tuple((part is not None, part or "") for part in key)
