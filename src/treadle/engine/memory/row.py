"""A job as the tables hold it: one immutable row, replaced whole with every change."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from treadle.model.flow import Hold, Ordering, Unique
from treadle.model.job import AttemptRecord, Claimed, DeadLetter, Edge, Job, JobId, LeaseId, Micros
from treadle.model.outcome import NoteKind
from treadle.model.state import BlockedOn, State


@dataclass(slots=True, frozen=True, kw_only=True)
class Row:
    """Everything one job is. `waits_for` are the parents that have not freed it yet; `seq` its turn among the queued.

    `number` tells it from a job that had the same id before it was pruned. `place` is None while it is in no line. `parked_at`
    is the key of a limit, or None for who waits for its turn.
    """

    id: JobId
    number: int
    task: str
    version: int
    codec: str
    queue: str
    priority: int
    args: str
    options: str | None
    headers: str | None
    tags: tuple[str, ...]
    key: str | None
    max_crashes: int
    enqueued_at: Micros
    holds: tuple[Hold, ...] = ()
    ordering: Ordering | None = None
    fair: str | None = None
    unique: Unique | None = None
    state: State = State.BLOCKED
    blocked_on: BlockedOn = BlockedOn.PARENTS
    parked_at: tuple[str, str] | None = None
    place: int | None = None
    seq: int = 0
    edges: tuple[Edge, ...] = ()
    waits_for: frozenset[JobId] = frozenset()
    due_at: Micros | None = None
    start_by: Micros | None = None
    attempt: int = 0
    failures: int = 0
    crashes: int = 0
    snoozes: int = 0
    releases: int = 0
    first_failed_at: Micros | None = None
    claimed_at: Micros | None = None
    finished_at: Micros | None = None
    lease: LeaseId | None = None
    cancel_requested: bool = False
    stuck: bool = False
    suspect: bool = False
    result: str | None = None
    reason: str | None = None
    dead: DeadLetter | None = None
    attempts: tuple[AttemptRecord, ...] = ()
    notes: Mapping[tuple[NoteKind, str], str] = field(default_factory=dict[tuple[NoteKind, str], str])
    progress: str | None = None

    @property
    def age(self) -> int:
        """What "oldest first" sorts by."""
        return self.number

    @property
    def letter_open(self) -> bool:
        """True while the job is dead and nobody has replayed or resolved it."""
        return self.state is State.DEAD and self.dead is not None and self.dead.status == "open"

    @property
    def gated(self) -> bool:
        """True for a job that the claim judges."""
        return bool(self.holds) or self.ordering is not None

    @property
    def keeps_place(self) -> bool:
        """True for a dead letter that nothing of its ordering may pass."""
        return self.letter_open and self.ordering is not None and self.ordering.stop

    def late(self, now: Micros) -> bool:
        """True when the start-by deadline has passed."""
        return self.start_by is not None and self.start_by < now


def claimed(row: Row) -> Claimed:
    """What a worker is handed of a running row."""
    assert row.claimed_at is not None
    return Claimed(
        ref=row.number,
        id=row.id,
        task=row.task,
        version=row.version,
        codec=row.codec,
        queue=row.queue,
        priority=row.priority,
        attempt=row.attempt,
        failures=row.failures,
        crashes=row.crashes,
        snoozes=row.snoozes,
        enqueued_at=row.enqueued_at,
        claimed_at=row.claimed_at,
        first_failed_at=row.first_failed_at,
        start_by=row.start_by,
        suspect=row.suspect,
        args=row.args,
        options=row.options,
        headers=row.headers,
    )


def shown(row: Row, worker: str | None) -> Job:
    """The row as it is looked at, without details; `worker` is the name of who holds it."""
    return Job(
        id=row.id,
        task=row.task,
        version=row.version,
        codec=row.codec,
        queue=row.queue,
        priority=row.priority,
        state=row.state,
        blocked_on=row.blocked_on if row.state is State.BLOCKED else None,
        attempt=row.attempt,
        failures=row.failures,
        crashes=row.crashes,
        snoozes=row.snoozes,
        releases=row.releases,
        enqueued_at=row.enqueued_at,
        due_at=row.due_at,
        start_by=row.start_by,
        claimed_at=row.claimed_at,
        finished_at=row.finished_at,
        lease=row.lease,
        worker=worker,
        cancel_requested=row.cancel_requested,
        stuck=row.stuck,
        suspect=row.suspect,
        key=row.key,
        tags=row.tags,
        args=row.args,
        options=row.options,
        headers=row.headers,
        result=row.result,
        reason=row.reason,
        progress=row.progress,
        dead=row.dead,
    )
