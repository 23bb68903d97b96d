"""A job, before it is stored, while it runs, and as it is looked at.

Ids are UUIDv7 text made by the caller. Times are whole microseconds since the Unix epoch, UTC (`Micros`).
Durations are float seconds. Arguments, options, headers and results are JSON text that an engine never looks into.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, NamedTuple

from treadle.model.flow import Hold, Idempotency, Ordering, Parked, Unique
from treadle.model.record import Guard
from treadle.model.state import State

Micros = int
JobId = str
LeaseId = str
Ref = int | str | tuple[int, int]


def micros(seconds: float) -> Micros:
    """Seconds as whole microseconds, rounded to the nearest."""
    return round(seconds * 1_000_000)


class OnDead(StrEnum):
    """What an edge does to its child when the parent dies.

    `hold` keeps the child blocked until the dead letter is replayed to success (the child runs) or resolved (the child is
    cancelled). `cancel` cancels the child. `run` lets the child run all the same. A parent that ends cancelled or expired
    comes back only by an operator's hand, so `hold` then cancels as well.
    """

    HOLD = "hold"
    CANCEL = "cancel"
    RUN = "run"


class Edge(NamedTuple):
    """A parent that must end before the job that carries this edge may run."""

    parent: JobId
    on_dead: OnDead = OnDead.HOLD


@dataclass(slots=True)
class NewJob:
    """A job as its producer hands it over.

    `task` and `queue` are names without line breaks. `delay` is relative (seconds, counted by the store's clock), `run_at`
    absolute; at most one of them is set. `start_within` is seconds after the job is due; later than that it expires
    unstarted. `max_crashes` is how many times the process under it may die before the job does (1 for an at-most-once
    task). `guard` is a compare-and-set that must hold in the same step, or the job is not stored. A job with `holds` or an
    `ordering` is *gated*: it is judged when it is claimed, and its claim is its start. `fair` names the tenant whose turn a
    job takes within its queue and priority.
    """

    id: JobId
    task: str
    args: str = "{}"
    queue: str = "default"
    priority: int = 0
    delay: float | None = None
    run_at: Micros | None = None
    start_within: float | None = None
    version: int = 1
    codec: str = "json"
    options: str | None = None
    headers: str | None = None
    tags: tuple[str, ...] = ()
    key: str | None = None
    edges: tuple[Edge, ...] = ()
    max_crashes: int = 3
    guard: Guard | None = None
    holds: tuple[Hold, ...] = ()
    ordering: Ordering | None = None
    unique: Unique | None = None
    idempotency: Idempotency | None = None
    fair: str | None = None

    @property
    def is_judged(self) -> bool:
        """Whether other jobs or rules have a say in how it is stored; a plain job only says when it is due."""
        return bool(
            self.edges or self.guard is not None or self.unique is not None or self.idempotency is not None
            or self.holds or self.ordering is not None or self.fair is not None
        )  # fmt: skip


class Stored(StrEnum):
    """What became of one new job."""

    STORED = "stored"
    ALREADY = "already"
    """The id was known, live or finished, or the idempotency key came with the same digest: nothing was changed."""
    GUARDED = "guarded"
    """The guard did not hold; nothing of this job was stored."""
    DUPLICATE = "duplicate"
    """Another job has its unique key; nothing of this job was stored."""
    CONFLICT = "conflict"
    """Its idempotency key came before with another digest; nothing of this job was stored."""
    UNKNOWN_PARENT = "unknown_parent"
    """An edge names a job that is neither stored nor in the batch; nothing of the whole batch was stored."""
    REFUSED = "refused"
    """Nothing wrong with this one, but the batch was refused because of another."""


class Enqueued(NamedTuple):
    """The answer for one new job: its id, what became of it, and its state (None when it was not stored).

    Where another job has its unique or idempotency key, `id` and `state` are those of that job, `state` None once it is gone.
    """

    id: JobId
    verdict: Stored
    state: State | None


class Want(NamedTuple):
    """What a worker asks of one queue: `take` jobs, and up to `up_to` if other queues leave their share unused."""

    queue: str
    take: int
    up_to: int


class Claimed(NamedTuple):
    """One job in a worker's hands: all it needs to run an attempt, and the fence it must show afterwards.

    `ref` is the engine's own address of the job, never used for another: `id` and `ref` travel together, and an engine may
    look at either, and put into it when this attempt was claimed. The fence is (`id`, `attempt`, the lease it was claimed
    under).
    `first_failed_at` is None until an attempt has failed. `suspect` marks a job that was in a worker when it died.
    """

    ref: Ref
    id: JobId
    task: str
    version: int
    codec: str
    queue: str
    priority: int
    attempt: int
    failures: int
    crashes: int
    snoozes: int
    enqueued_at: Micros
    claimed_at: Micros
    first_failed_at: Micros | None
    start_by: Micros | None
    suspect: bool
    args: str
    options: str | None
    headers: str | None


class Claims(NamedTuple):
    """A claim's answer. `lost` is true when the lease no longer holds: nothing was claimed and the worker must stop.

    `more` is true when a gated job stands next in some queue and no more of them might be taken: with a slot free for one it
    pays to claim again. `wakes_at` is the earliest moment at which what this claim parked is looked at again (None: nothing
    was parked for a time).
    """

    jobs: list[Claimed]
    lost: bool
    more: bool = False
    wakes_at: Micros | None = None


class WorkerInfo(NamedTuple):
    """Who holds a lease: shown to operators, and read to tell which tasks some live worker knows."""

    name: str
    host: str
    pid: int
    queues: tuple[str, ...]
    tasks: tuple[str, ...]
    slots: int


class Renewal(NamedTuple):
    """The store's answer to a heartbeat: still yours or not, and which of your running jobs are asked to stop."""

    lost: bool
    cancels: list[JobId]


class Witness(NamedTuple):
    """A lease whose worker somebody saw end, and how (`signal 9`, `exit 1`, or empty for a clean stop).

    `spared` when nothing that ran there had a part in its end: its jobs are handed back, and no crash is counted.
    """

    lease: LeaseId
    exit: str
    spared: bool = False


class Rescued(NamedTuple):
    """One job taken back from a lease that ran out or was witnessed to end."""

    id: JobId
    attempt: int
    lease: LeaseId
    state: State


class Promoted(NamedTuple):
    """What `promote` did: jobs now queued, jobs now expired, and when there is more to do (None: nothing waits for a time)."""

    queued: int
    expired: int
    next_due: Micros | None


class Lease(NamedTuple):
    """One worker process as the store sees it. `expires_in` is seconds, negative once the lease has run out."""

    id: LeaseId
    worker: WorkerInfo
    started_at: Micros
    expires_in: float
    running: int


class AttemptRecord(NamedTuple):
    """One attempt that did not complete. `error` is the JSON text of an `ErrorRecord`, or None.

    `outcome` is what was handed to `settle`, in lower case (`retrying`, `snoozed`, `released`, `died`, `cancelled`,
    `crashed`, `expired`), or `rescued`. `started_at` is the claim, `delay` the seconds until the next attempt where one was
    set, `exit` how the process ended where somebody saw it.
    """

    attempt: int
    outcome: str
    worker: str
    started_at: Micros
    ended_at: Micros
    delay: float | None
    error: str | None
    exit: str | None = None


def died_of(cause: str, reason: str) -> str:
    """Why a job died, in one phrase: a reason that begins with its cause says it once."""
    return reason if reason.startswith(f"{cause} ") else f"{cause}: {reason}"


class DeadLetter(NamedTuple):
    """What happened to a job that gave up, and what was done about it since."""

    cause: str
    reason: str
    fingerprint: str
    status: Literal["open", "replayed", "resolved"]
    died_at: Micros
    changed_by: str | None
    changed_at: Micros | None
    note: str | None


@dataclass(slots=True)
class Job:
    """A job as it is looked at. Details (`attempts`, `parents` and all that follow) are filled only when asked for.

    `due_at` is None for a job that never had to wait for a time. `claimed_at` is the last claim. `lease`, `worker`, `stuck`
    and `cancel_requested` speak of a running job only, `suspect` of a live one. `reason` says why it was cancelled (or is
    asked to) or died. `progress` is the latest progress note. Parents and children stand oldest first, those still stored;
    `notes` are named `KIND`, or `KIND/NAME` where the note has a name. `parked` is set while the job is blocked on `key` or
    `limit`.
    """

    id: JobId
    task: str
    version: int
    codec: str
    queue: str
    priority: int
    state: State
    blocked_on: str | None
    attempt: int
    failures: int
    crashes: int
    snoozes: int
    releases: int
    enqueued_at: Micros
    due_at: Micros | None
    start_by: Micros | None
    claimed_at: Micros | None
    finished_at: Micros | None
    lease: LeaseId | None
    worker: str | None
    cancel_requested: bool
    stuck: bool
    suspect: bool
    key: str | None
    tags: tuple[str, ...]
    args: str
    options: str | None
    headers: str | None
    result: str | None
    reason: str | None
    progress: str | None
    dead: DeadLetter | None
    attempts: tuple[AttemptRecord, ...] = ()
    parents: tuple[tuple[JobId, OnDead, State], ...] = ()
    children: tuple[tuple[JobId, OnDead, State], ...] = ()
    notes: Mapping[str, str] | None = None
    holds: tuple[Hold, ...] = ()
    ordering: Ordering | None = None
    fair: str | None = None
    parked: Parked | None = None
