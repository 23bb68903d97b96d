"""What may be asked, changed and swept: values that every engine understands in full."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, cast

from treadle.model.errors import InvalidOption
from treadle.model.job import JobId, LeaseId, Micros
from treadle.model.kind import is_whole
from treadle.model.state import State

_STATES = tuple(State)
_STATUSES = ("open", "replayed", "resolved")

REMARK_CAP = 2_000
"""Characters of a reason or a note: as many as are kept of what a failed body said."""
ACTOR_CAP = 200
"""Characters of the name that the audit keeps."""


def check_text(name: str, value: object) -> None:
    """Raise `InvalidOption` for what no store can look for or keep as text; None is nothing to check."""
    if value is None:
        return
    if not isinstance(value, str):
        raise InvalidOption(value, f"{name} must be text", f'Write {name}="...".')
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidOption(value, f"{name} holds a character that is no Unicode", "Correct the text.") from None


def check_remark(name: str, value: object, most: int = REMARK_CAP) -> None:
    """Raise `InvalidOption` for what `check_text` refuses, and for more than `most` characters."""
    check_text(name, value)
    if isinstance(value, str) and len(value) > most:
        raise InvalidOption(
            f"{name} of {len(value):,} characters",
            f"at most {most:,} are kept with a job",
            "Shorten it, and say where the rest is to be found.",
        )


def _check_texts(name: str, value: object) -> None:
    if value is None:
        return
    if isinstance(value, (str, bytes)) or not isinstance(value, Collection):
        raise InvalidOption(value, f"{name} must be a list", f"Write {name}=[...].")
    for each in cast("Collection[object]", value):
        check_text(f"each of {name}", each)


@dataclass(slots=True, frozen=True, kw_only=True)
class Filter:
    """Which jobs are meant. Every field narrows; None does not. An empty sequence matches nothing.

    `tag` and `key` match exactly; `status` is the state of the dead letter (`open`, `replayed`, `resolved`);
    `enqueued_before` and `enqueued_after` are exclusive; `finished_before` is exclusive.
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
    enqueued_before: Micros | None = None
    enqueued_after: Micros | None = None
    finished_before: Micros | None = None

    def __post_init__(self) -> None:
        for name in ("ids", "queues", "tasks"):
            _check_texts(name, getattr(self, name))
        for name in ("lease", "tag", "key", "fingerprint"):
            check_text(name, getattr(self, name))
        _check_texts("states", self.states)
        for state in self.states or ():
            if state not in _STATES:
                raise InvalidOption(state, "there is no such state", f"Use one of {', '.join(_STATES)}.")
        if self.status not in (None, *_STATUSES):
            raise InvalidOption(self.status, "a dead letter has no such status", f"Use one of {', '.join(_STATUSES)}.")


class Order(StrEnum):
    """How `find` sorts: by the moment of enqueue, newest or oldest first."""

    NEWEST = "newest"
    OLDEST = "oldest"


@dataclass(slots=True, frozen=True, kw_only=True)
class Page:
    """How much of an answer is wanted.

    `after` is the id of the last job of the page before; `details` fills the lists of a `Job`.
    """

    limit: int = 100
    after: JobId | None = None
    order: Order = Order.NEWEST
    details: bool = False

    def __post_init__(self) -> None:
        if not is_whole(self.limit, 0, 2**31 - 1):
            raise InvalidOption(self.limit, "limit is how many jobs are wanted, a whole number", "Write for example limit=100.")
        check_text("after", self.after)
        if self.order not in tuple(Order):
            raise InvalidOption(self.order, "there is no such order", "Use Order.NEWEST or Order.OLDEST.")


class Axis(StrEnum):
    """What `count` may group by."""

    STATE = "state"
    QUEUE = "queue"
    TASK = "task"
    STATUS = "status"


@dataclass(slots=True, frozen=True)
class Count:
    """How many jobs share one value on each axis asked for, and since when the oldest of them waits.

    `oldest` is the earliest due (else enqueue) time among them, None when there are none.
    """

    key: tuple[str | None, ...]
    count: int
    oldest: Micros | None


@dataclass(slots=True, frozen=True)
class Cancel:
    """Cancel: final at once unless the job runs, in which case a request is left for its worker."""

    reason: str = ""

    def __post_init__(self) -> None:
        check_remark("reason", self.reason)


@dataclass(slots=True, frozen=True)
class Replay:
    """Send back to the queue with fresh budgets, after `delay` seconds, with new arguments if `args` (JSON text) is given.

    All four counters begin at 0; `attempt` goes on. The start-by deadline, the suspect mark and, without a delay, `due_at`
    are gone. A dead letter becomes `replayed`. A waiting job can only be sent at once: a delay is not permitted there. Nor is
    it where another job has the unique key that this one asked for.
    """

    delay: float = 0.0
    args: str | None = None
    note: str | None = None

    def __post_init__(self) -> None:
        check_text("args", self.args)
        check_remark("note", self.note)


@dataclass(slots=True, frozen=True)
class Resolve:
    """Close an open dead letter for good; children held by it are cancelled."""

    note: str | None = None

    def __post_init__(self) -> None:
        check_remark("note", self.note)


@dataclass(slots=True, frozen=True)
class Annotate:
    """Write a note on a dead letter, open or not; who changed its status, and when, stays as it was."""

    note: str

    def __post_init__(self) -> None:
        check_remark("note", self.note)


@dataclass(slots=True, frozen=True)
class Erase:
    """Remove every trace of the jobs except the audit line. Running jobs are refused: cancel them first.

    Children that still wait for one are settled as if it had been cancelled.
    """


@dataclass(slots=True, frozen=True)
class Prioritise:
    """Give waiting jobs another priority. One that is queued or parked goes to the back of it, to be judged there anew.

    Permitted for every job that waits; one that has the priority already stays where it stands.
    """

    priority: int

    def __post_init__(self) -> None:
        if not is_whole(self.priority, -100, 100):
            raise InvalidOption(self.priority, "a priority is a whole number from -100 to 100", "Larger is sooner.")


Change = Cancel | Replay | Resolve | Annotate | Erase | Prioritise


class Altered(NamedTuple):
    """One job that a change touched: its states before and after (None: erased).

    `done` is false when the move is not permitted; `holder` is the job whose unique key stood in its way, if that was it.
    """

    id: JobId
    before: State
    after: State | None
    done: bool
    holder: JobId | None = None


@dataclass(slots=True, frozen=True, kw_only=True)
class Retention:
    """How long finished jobs are kept, in seconds by state, and how many completed ones at most (None: for ever).

    A dead letter is kept while it is open; `dead` seconds are counted from its resolution or replay. `audit` is for the lines
    that say who changed what.
    """

    completed: float | None = 86_400.0
    completed_count: int | None = 1_000_000
    cancelled: float | None = 7 * 86_400.0
    expired: float | None = 7 * 86_400.0
    dead: float | None = 30 * 86_400.0
    audit: float | None = 90 * 86_400.0
