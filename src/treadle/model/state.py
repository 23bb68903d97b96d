"""The nine states of a job and every move between them, as one table.

The table is read by the engines' tests (each state is tried with each move), by the docs (the diagram is drawn from it)
and by nobody at run time: an engine encodes the same moves in its own language, and the conformance suite holds the two
together.
"""

from enum import StrEnum
from typing import NamedTuple


class State(StrEnum):
    """Where a job is. The first five are live, the last four are final."""

    SCHEDULED = "scheduled"
    BLOCKED = "blocked"
    QUEUED = "queued"
    RUNNING = "running"
    RETRYING = "retrying"
    COMPLETED = "completed"
    DEAD = "dead"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def final(self) -> bool:
        """True when no worker will ever touch the job again unless an operator sends it back."""
        return self in FINAL


FINAL = frozenset({State.COMPLETED, State.DEAD, State.CANCELLED, State.EXPIRED})
LIVE = frozenset(State) - FINAL


class BlockedOn(StrEnum):
    """Why a blocked job is out of the claim index. Exactly one cause at a time."""

    PARENTS = "parents"
    """A parent has not ended well yet."""
    KEY = "key"
    """It is not its turn, all slots of a key of a limit are taken or meant for others before it, or the key is paused."""
    LIMIT = "limit"
    """A limit's rate is used up, or the limit is closed."""


class Move(StrEnum):
    """What can happen to a job; the verb that does it is in the table."""

    ENQUEUE = "enqueue"
    PROMOTE = "promote"
    EXPIRE = "expire"
    CLAIM = "claim"
    PARK = "park"
    COMPLETE = "complete"
    RETRY = "retry"
    SNOOZE = "snooze"
    RELEASE = "release"
    DIE = "die"
    CRASH = "crash"
    CANCEL = "cancel"
    FREE = "free"
    REPLAY = "replay"


class Transition(NamedTuple):
    """One permitted move: `source` is None for a job that does not exist yet."""

    move: Move
    verb: str
    source: State | None
    target: State
    when: str


_S = State
TRANSITIONS: tuple[Transition, ...] = (
    Transition(Move.ENQUEUE, "enqueue", None, _S.QUEUED, "due now, no parent to wait for"),
    Transition(Move.ENQUEUE, "enqueue", None, _S.SCHEDULED, "due later"),
    Transition(Move.ENQUEUE, "enqueue", None, _S.BLOCKED, "a parent has not ended well yet"),
    Transition(Move.ENQUEUE, "enqueue", None, _S.CANCELLED, "a parent has ended badly, its edge says cancel"),
    Transition(Move.PROMOTE, "promote", _S.SCHEDULED, _S.QUEUED, "its time has come"),
    Transition(Move.PROMOTE, "promote", _S.RETRYING, _S.QUEUED, "its delay is over"),
    Transition(Move.EXPIRE, "promote", _S.SCHEDULED, _S.EXPIRED, "its start-by deadline has passed"),
    Transition(Move.EXPIRE, "promote", _S.BLOCKED, _S.EXPIRED, "its start-by deadline has passed"),
    Transition(Move.EXPIRE, "promote", _S.QUEUED, _S.EXPIRED, "its start-by deadline has passed"),
    Transition(Move.EXPIRE, "settle", _S.RUNNING, _S.EXPIRED, "claimed, but not started by its deadline"),
    Transition(Move.CLAIM, "claim", _S.QUEUED, _S.RUNNING, "a worker takes it under its lease"),
    Transition(Move.PARK, "claim", _S.QUEUED, _S.BLOCKED, "a limit has no room for it, or it is not its turn"),
    Transition(Move.COMPLETE, "settle", _S.RUNNING, _S.COMPLETED, "the body returned"),
    Transition(Move.RETRY, "settle", _S.RUNNING, _S.RETRYING, "the body failed and may try again"),
    Transition(Move.SNOOZE, "settle", _S.RUNNING, _S.SCHEDULED, "the body asked for a later turn"),
    Transition(Move.RELEASE, "settle", _S.RUNNING, _S.QUEUED, "the worker hands it back"),
    Transition(Move.RELEASE, "rescue", _S.RUNNING, _S.QUEUED, "its worker left because the store was away"),
    Transition(Move.DIE, "settle", _S.RUNNING, _S.DEAD, "the body failed for the last time"),
    Transition(Move.CRASH, "settle", _S.RUNNING, _S.RETRYING, "the process under it died, budget left"),
    Transition(Move.CRASH, "settle", _S.RUNNING, _S.DEAD, "the process under it died, budget spent"),
    Transition(Move.CRASH, "rescue", _S.RUNNING, _S.RETRYING, "its lease ran out, budget left"),
    Transition(Move.CRASH, "rescue", _S.RUNNING, _S.DEAD, "its lease ran out, budget spent"),
    Transition(Move.CANCEL, "rescue", _S.RUNNING, _S.CANCELLED, "its lease ran out after a cancel request"),
    Transition(Move.CANCEL, "settle", _S.RUNNING, _S.CANCELLED, "the body was cancelled or asked for it"),
    Transition(Move.CANCEL, "alter", _S.SCHEDULED, _S.CANCELLED, "an operator cancels it"),
    Transition(Move.CANCEL, "alter", _S.BLOCKED, _S.CANCELLED, "an operator cancels it"),
    Transition(Move.CANCEL, "alter", _S.QUEUED, _S.CANCELLED, "an operator cancels it"),
    Transition(Move.CANCEL, "alter", _S.RETRYING, _S.CANCELLED, "an operator cancels it"),
    Transition(Move.CANCEL, "settle", _S.BLOCKED, _S.CANCELLED, "a parent ended badly and its edge says cancel"),
    Transition(Move.CANCEL, "enqueue", _S.SCHEDULED, _S.CANCELLED, "a new job takes its unique key"),
    Transition(Move.CANCEL, "enqueue", _S.BLOCKED, _S.CANCELLED, "a new job takes its unique key"),
    Transition(Move.CANCEL, "enqueue", _S.QUEUED, _S.CANCELLED, "a new job takes its unique key"),
    Transition(Move.CANCEL, "enqueue", _S.RETRYING, _S.CANCELLED, "a new job takes its unique key"),
    Transition(Move.FREE, "settle", _S.BLOCKED, _S.QUEUED, "its last parent ended, or it was parked and room came free"),
    Transition(Move.FREE, "settle", _S.BLOCKED, _S.SCHEDULED, "its last parent ended, due later"),
    Transition(Move.FREE, "promote", _S.BLOCKED, _S.QUEUED, "it was parked, and there is room or its turn has come"),
    Transition(Move.FREE, "rescue", _S.BLOCKED, _S.QUEUED, "it was parked, and a lost worker's room came free"),
    Transition(
        Move.FREE, "alter", _S.BLOCKED, _S.QUEUED, "it was parked: who stood before it is gone, or its priority changed"
    ),
    Transition(Move.FREE, "enqueue", _S.BLOCKED, _S.QUEUED, "it was parked, and who stood before it was replaced"),
    Transition(Move.REPLAY, "alter", _S.SCHEDULED, _S.QUEUED, "an operator runs it now"),
    Transition(Move.REPLAY, "alter", _S.RETRYING, _S.QUEUED, "an operator runs it now"),
    Transition(Move.REPLAY, "alter", _S.DEAD, _S.QUEUED, "an operator replays it"),
    Transition(Move.REPLAY, "alter", _S.CANCELLED, _S.QUEUED, "an operator replays it"),
    Transition(Move.REPLAY, "alter", _S.EXPIRED, _S.QUEUED, "an operator replays it"),
    Transition(Move.REPLAY, "alter", _S.DEAD, _S.SCHEDULED, "an operator replays it, with a delay"),
    Transition(Move.REPLAY, "alter", _S.CANCELLED, _S.SCHEDULED, "an operator replays it, with a delay"),
    Transition(Move.REPLAY, "alter", _S.EXPIRED, _S.SCHEDULED, "an operator replays it, with a delay"),
)
