"""What users see of a store: jobs, counts, queues and workers, with times as datetimes and JSON as values.

Inside, a job is `model.job.Job`: whole microseconds and JSON text, which no engine ever looks into. Here it becomes what
people and their code read. All datetimes are aware, in UTC; durations are float seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple, TypeVar, overload

import msgspec

from treadle.app.failure import ErrorRecord
from treadle.app.options import EPOCH
from treadle.model import filter as asked
from treadle.model import job as stored
from treadle.model.flow import Hold
from treadle.model.job import JobId, LeaseId, Micros, OnDead
from treadle.model.state import State

T = TypeVar("T")

HIDDEN = "[redacted]"
"""What stands in the place of a value that is declared `Redacted`."""
UNREADABLE = "[not JSON]"
"""The name under which stored arguments are shown when they are not the JSON object they should be."""
RESULT = "return"
"""The name by which a redacted result is told among redacted parameters: no parameter can have it."""

_LAST: Micros = 253_402_300_799_000_000
"""The last second of the year 9999, with which the calendar of `datetime` ends."""
_FOREIGN = (msgspec.MsgspecError, RecursionError)


class Progress(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a job last said through `ctx.progress`: how far it is, from 0 to 1, in words, and in data of its own."""

    fraction: float
    message: str = ""
    data: dict[str, Any] = {}


class Relative(NamedTuple):
    """A parent or a child of a job: its id, what the edge does when the parent dies, and where it is now."""

    id: JobId
    on_dead: OnDead
    state: State


@dataclass(slots=True, frozen=True, kw_only=True)
class Attempt:
    """One attempt that did not complete.

    `outcome` is how it ended: `retrying`, `snoozed`, `released`, `died`, `cancelled`, `crashed`, `expired` or `rescued`.
    `started_at` is the claim, `delay` the seconds until the next attempt where one was set, `error` what the body raised,
    `exit` how the process ended where somebody saw it.
    """

    number: int
    outcome: str
    worker: str
    started_at: datetime
    ended_at: datetime
    delay: float | None
    error: ErrorRecord | None
    exit: str | None


@dataclass(slots=True, frozen=True, kw_only=True)
class DeadLetter:
    """What happened to a job that gave up, and what was done about it since: by whom, when, and with which note."""

    cause: str
    reason: str
    fingerprint: str
    status: Literal["open", "replayed", "resolved"]
    died_at: datetime
    changed_by: str | None
    changed_at: datetime | None
    note: str | None

    def __str__(self) -> str:
        return stored.died_of(self.cause, self.reason)


@dataclass(slots=True, frozen=True, kw_only=True)
class Job:
    """A job as it was when it was looked at. A snapshot: nothing here changes, and nothing here changes the job.

    `args`, `result`, `options` (what was said for this job alone), `headers` and `notes` are values as JSON has them;
    what is declared `Redacted` is hidden. `due_at` is None for a job that never had to wait for a time, `claimed_at` the
    last claim. `lease`, `worker`, `stuck` and `cancel_requested` speak of a running job only, `suspect` of a live one.
    `reason` says why it was cancelled (or is asked to) or died. `attempts`, `parents`, `children` (those still stored,
    oldest first), `notes` (named `KIND`, or `KIND/NAME`), `limits` (with the keys and costs that it has there) and `ordering`
    (what `ordered_by` made: the task or the group, and the key) are filled only where details were asked for. So is `stops`:
    true for an open dead letter that nothing of its order may pass.
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
    enqueued_at: datetime
    due_at: datetime | None
    start_by: datetime | None
    claimed_at: datetime | None
    finished_at: datetime | None
    lease: LeaseId | None
    worker: str | None
    cancel_requested: bool
    stuck: bool
    suspect: bool
    key: str | None
    tags: tuple[str, ...]
    args: Mapping[str, Any]
    options: Mapping[str, Any]
    headers: Mapping[str, Any]
    result: Any
    reason: str | None
    progress: Progress | None
    dead: DeadLetter | None
    attempts: tuple[Attempt, ...]
    parents: tuple[Relative, ...]
    children: tuple[Relative, ...]
    notes: Mapping[str, Any]
    limits: tuple[Hold, ...] = ()
    ordering: str | None = None
    stops: bool = False


@dataclass(slots=True, frozen=True)
class Count:
    """How many jobs share one value on each axis asked for. `oldest` is the earliest due (else enqueue) time among them."""

    key: tuple[str | None, ...]
    count: int
    oldest: datetime | None


@dataclass(slots=True, frozen=True)
class QueueView:
    """One queue as an operator sees it. `oldest` is how many seconds its longest waiting job has been due, and `oldest_blocked`
    the same of the jobs that may not start yet.

    `cap`, `window` and `weight` are what operators said of it, as text; None leaves it to the code. `age` is after how many
    seconds a waiting job gains a step of priority, None for never.
    """

    name: str
    depth: Mapping[State, int]
    oldest: float | None
    paused: bool
    paused_by: str | None = None
    paused_why: str | None = None
    cap: str | None = None
    window: str | None = None
    weight: int | None = None
    age: float | None = None
    oldest_blocked: float | None = None


@dataclass(slots=True, frozen=True)
class Standstill:
    """Queued jobs of one task in one queue that nobody takes: how many, since when the oldest is due, why, and the cure."""

    queue: str
    task: str
    count: int
    oldest: datetime | None
    why: str
    cure: str


@dataclass(slots=True, frozen=True, kw_only=True)
class WorkerView:
    """One worker process that holds a lease, or held the one that has run out (`expires_in` is then negative seconds).

    `queues` and `tasks` are what it serves, `slots` how many jobs it can run at once, `running` how many it has
    claimed: those that run, and those that it took ahead and that wait for a slot there.
    """

    lease: LeaseId
    name: str
    host: str
    pid: int
    queues: tuple[str, ...]
    tasks: tuple[str, ...]
    slots: int
    running: int
    started_at: datetime
    expires_in: float

    @property
    def live(self) -> bool:
        """True while the lease holds."""
        return self.expires_in > 0


def view_job(job: stored.Job) -> Job:
    """A stored job as it may be shown."""
    headers = _object(job.headers)
    hidden = frozenset(headers.get("redacted", ()))
    return Job(
        id=job.id,
        task=job.task,
        version=job.version,
        codec=job.codec,
        queue=job.queue,
        priority=job.priority,
        state=job.state,
        blocked_on=job.blocked_on,
        attempt=job.attempt,
        failures=job.failures,
        crashes=job.crashes,
        snoozes=job.snoozes,
        releases=job.releases,
        enqueued_at=moment(job.enqueued_at),
        due_at=moment(job.due_at),
        start_by=moment(job.start_by),
        claimed_at=moment(job.claimed_at),
        finished_at=moment(job.finished_at),
        lease=job.lease,
        worker=job.worker,
        cancel_requested=job.cancel_requested,
        stuck=job.stuck,
        suspect=job.suspect,
        key=job.key,
        tags=job.tags,
        args=_args(job.args, hidden),
        options=_object(job.options),
        headers=headers,
        result=HIDDEN if RESULT in hidden and job.result is not None else _value(job.result),
        reason=job.reason,
        progress=_progress(job.progress),
        dead=None if job.dead is None else _letter(job.dead),
        attempts=tuple(view_attempt(each) for each in job.attempts),
        parents=tuple(Relative(*each) for each in job.parents),
        children=tuple(Relative(*each) for each in job.children),
        notes={name: _value(text) for name, text in (job.notes or {}).items()},
        limits=job.holds,
        ordering=None if job.ordering is None else job.ordering.key,
        stops=job.ordering is not None and job.ordering.stop and job.dead is not None and job.dead.status == "open",
    )


def view_count(count: asked.Count) -> Count:
    """A count with its time as a datetime."""
    return Count(count.key, count.count, moment(count.oldest))


def view_worker(lease: stored.Lease) -> WorkerView:
    """A lease and the worker that holds it, in one."""
    return WorkerView(
        lease=lease.id,
        **lease.worker._asdict(),
        running=lease.running,
        started_at=moment(lease.started_at),
        expires_in=lease.expires_in,
    )


@overload
def moment(at: Micros) -> datetime: ...
@overload
def moment(at: None) -> None: ...
@overload
def moment(at: Micros | None) -> datetime | None: ...
def moment(at: Micros | None) -> datetime | None:
    """A stored time as a datetime; one beyond the calendar (a late job's deadline) as the calendar's end."""
    return None if at is None else EPOCH + timedelta(microseconds=min(at, _LAST))


def clock(at: Micros) -> str:
    """A stored time as it is told in a sentence, to the second."""
    return moment(at).isoformat(timespec="seconds").replace("+00:00", "Z")


def _letter(dead: stored.DeadLetter) -> DeadLetter:
    return DeadLetter(
        cause=dead.cause,
        reason=dead.reason,
        fingerprint=dead.fingerprint,
        status=dead.status,
        died_at=moment(dead.died_at),
        changed_by=dead.changed_by,
        changed_at=moment(dead.changed_at),
        note=dead.note,
    )


def view_attempt(record: stored.AttemptRecord) -> Attempt:
    """A stored attempt as it may be shown."""
    return Attempt(
        number=record.attempt,
        outcome=record.outcome,
        worker=record.worker,
        started_at=moment(record.started_at),
        ended_at=moment(record.ended_at),
        delay=record.delay,
        error=None if record.error is None else _read(record.error, ErrorRecord, ErrorRecord("?", record.error)),
        exit=record.exit,
    )


def _args(text: str, hidden: frozenset[str]) -> dict[str, Any]:
    """The arguments by name. Text that some other hand stored is shown as it is, unless any of it is to be hidden."""
    found = _read(text, dict[str, Any], {UNREADABLE: HIDDEN if hidden else text})
    return {name: HIDDEN if name in hidden else value for name, value in found.items()}


def _progress(text: str | None) -> Progress | None:
    return None if text is None else _read(text, Progress, None)


def _object(text: str | None) -> dict[str, Any]:
    return {} if text is None else _read(text, dict[str, Any], {UNREADABLE: text})


def _value(text: str | None) -> Any:
    return None if text is None else _read(text, object, text)


def _read(text: str, kind: type[T], otherwise: T) -> T:
    """The value of JSON text, or `otherwise`: one job that some other hand spoilt must not hide the others."""
    try:
        return msgspec.json.decode(text, type=kind)
    except _FOREIGN:
        return otherwise
