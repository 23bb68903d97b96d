"""What a job asks of others before it may start or be stored: room at limits, its turn, a key of its own.

Names of limits, keys and tenants are text without line breaks. Moments and periods are whole microseconds.
"""

import json
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any, NamedTuple, cast

from treadle.model.errors import InvalidOption
from treadle.model.state import LIVE, State

WAITING_OR_RUNNING = tuple(state for state in State if state in LIVE)
"""The states of a job that has not ended."""
RATE_CAP = 1_000_000
"""Starts' cost per second, at most: an interval is a whole microsecond."""


class Hold(NamedTuple):
    """What one job asks of one limit each time it starts: `cost` of the rate, and one slot, both under `key`.

    A limit that has no rule yet allows everything; what runs meanwhile counts as soon as it has one.
    """

    limit: str
    key: str = ""
    cost: int = 1


class Ordering(NamedTuple):
    """Jobs of one `key` start one at a time, in the order in which they became ready.

    A job takes its place when it first enters the queue, and keeps it over retries, snoozes and releases until it ends. With
    `stop` it keeps it as an open dead letter as well: nothing of the key starts until that is replayed, resolved or erased.
    """

    key: str
    stop: bool = False


class OnConflict(StrEnum):
    """What becomes of a new job whose unique key is taken."""

    RETURN = "return"
    """It is not stored; the answer names the holder."""
    REPLACE = "replace"
    """A holder that waits is cancelled and the new job stored; one that runs or has ended is returned."""


class Unique(NamedTuple):
    """A key that one job has at a time: while its holder is in a state of `during`, or was stored within `within` seconds."""

    key: str
    during: tuple[State, ...] = WAITING_OR_RUNNING
    within: float | None = None
    on_conflict: OnConflict = OnConflict.RETURN


class Idempotency(NamedTuple):
    """A request that is served once: for `ttl` seconds the same `key` with the same `digest` is the same job, whatever becomes
    of it, and the same key with another digest is a mistake.
    """

    key: str
    digest: str
    ttl: float


@dataclass(frozen=True, slots=True)
class Rule:
    """What a limit allows: the value of its record in `Space.LIMIT`. None of a field: no bound.

    `rate` is the cost that may start in each `period`. Starts are spaced evenly, and up to `burst` may follow each other at
    once after a rest: in any window of length T never more than burst + rate * T / period. With `strict` it is never more
    than `rate` in any window of one period, and `burst` is not looked at. A cost above the burst (`strict`: the rate) starts
    alone, when nothing of what went before counts any more.
    `concurrency` is how many may run at once under one key; a cost does not matter there.
    `closed_until`: before it nobody starts, under any key. From then on, until a rule without it is written, no more than
    `probes` run at once over all keys.
    """

    rate: int | None = None
    period: int | None = None
    burst: int = 1
    strict: bool = False
    concurrency: int | None = None
    closed_until: int | None = None
    probes: int = 1

    def __post_init__(self) -> None:
        for name, least in (("rate", 1), ("period", 1), ("burst", 1), ("concurrency", 1), ("closed_until", 0), ("probes", 1)):
            value: object = getattr(self, name)
            if value is None and name not in ("burst", "probes"):
                continue
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 2**53:
                raise InvalidOption(value, f"{name} of a limit is a whole number, {least} or more", "Correct the rule.")
        if type(self.strict) is not bool:
            raise InvalidOption(self.strict, "strict of a limit is true or false", "Correct the rule.")
        if (self.rate is None) != (self.period is None):
            raise InvalidOption(self.rate, "a rate is a number in each period", "Give rate and period, or neither.")
        if self.rate is not None and self.period is not None and self.rate * 1_000_000 > RATE_CAP * self.period:
            raise InvalidOption(self.rate, f"a rate is {RATE_CAP:,} a second at most", "Leave it out to allow everything.")

    @property
    def interval(self) -> int:
        """Microseconds from one start of cost 1 to the next, rounded up; 0 without a rate."""
        return 0 if self.rate is None or self.period is None else -(-self.period // self.rate)

    def to_text(self) -> str:
        """The rule as the JSON text of a record."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_text(cls, text: str) -> "Rule":
        """Read a record's value; what it holds beside the rule is passed by. Raises `InvalidOption`."""
        try:
            value: object = json.loads(text)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise InvalidOption(text, "the record of a limit holds its rule as a JSON object", "Write Rule(...).to_text().")
        found = cast("dict[str, Any]", value)
        return cls(**{each.name: found[each.name] for each in fields(cls) if each.name in found})


class Parked(NamedTuple):
    """Where a gated job waits that may not start: at a key of a limit, or for its turn.

    `limit` and `key` name the room, `key` None the limit as a whole, which is closed. Without a `limit` it waits for its turn:
    `behind` is the job that is first in line, `state` where that is (`dead`: a letter that stops the line). `behind` is None
    for the moment in which the job is first itself and about to come back.
    """

    limit: str | None = None
    key: str | None = None
    behind: str | None = None
    state: State | None = None


class Gate(NamedTuple):
    """One key of a limit as it stands: how many run, how many are parked at it, and when those are looked at again.

    `key` None is the limit as a whole: what waits there waits for a closed limit to open. `wakes_at` None: not before
    something that runs ends.
    """

    limit: str
    key: str | None
    running: int
    parked: int
    wakes_at: int | None
