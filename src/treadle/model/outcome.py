"""How an attempt ends: what a worker may tell the store, and what the store answers.

An engine is told a state and a number of seconds, never a rule: `policy.retry` decides, `settle` stores.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from treadle.model.job import JobId, Ref


class Cause(StrEnum):
    """Why a job is dead."""

    FAILED = "failed"
    """Its failures used up the retry rule."""
    GAVE_UP = "gave_up"
    """It raised `GiveUp`, or an error listed in `give_up_on`."""
    TIMED_OUT = "timed_out"
    """Its last failure was a timeout."""
    INVALID = "invalid"
    """Its payload does not decode or validate, or its result does not serialise."""
    WORKER_LOST = "worker_lost"
    """The process under it died as often as its crash budget allows."""


UNSETTLED = "its worker ended without settling it"
"""The reason of a `worker_lost` death that nobody saw happen; else the reason is the exit seen."""


@dataclass(slots=True, frozen=True)
class Completed:
    """The body returned. `result` is JSON text, or None for no result."""

    result: str | None = None


@dataclass(slots=True, frozen=True)
class Retrying:
    """The body failed; try again in `delay` seconds. `error` is the JSON text of an `ErrorRecord`."""

    delay: float
    error: str


@dataclass(slots=True, frozen=True)
class Snoozed:
    """The body asked for a later turn, in `delay` seconds; no failure is counted."""

    delay: float


@dataclass(slots=True, frozen=True)
class Released:
    """The worker hands the job back unfinished; no failure is counted, and its start-by deadline stands.

    It waits in its queue again, or comes back to it after `delay` seconds, if that is more than 0. `error` is the JSON text
    of an `ErrorRecord` that says why, or None.
    """

    delay: float = 0.0
    error: str | None = None


@dataclass(slots=True, frozen=True)
class Died:
    """The job gives up and becomes a dead letter."""

    cause: Cause
    reason: str
    fingerprint: str = ""
    error: str | None = None


@dataclass(slots=True, frozen=True)
class Cancelled:
    """The job ends cancelled, for this reason; empty takes that of the cancel request."""

    reason: str


@dataclass(slots=True, frozen=True)
class Crashed:
    """The process under the job died (`exit` says how); retried after `delay` seconds while its crash budget lasts."""

    exit: str
    delay: float


@dataclass(slots=True, frozen=True)
class Expired:
    """Claimed, but its start-by deadline passed before it could start."""


Outcome = Completed | Retrying | Snoozed | Released | Died | Cancelled | Crashed | Expired


class Settlement(NamedTuple):
    """One attempt's end: the fence it shows (with the lease given to `settle`) and the outcome.

    `took` is seconds of run time.
    """

    ref: Ref
    id: JobId
    attempt: int
    outcome: Outcome
    took: float


class Verdict(StrEnum):
    """What the store did with a fenced write."""

    DONE = "done"
    ALREADY = "already"
    """This very attempt is already completed (by `complete_in`, or by an earlier try whose answer was lost)."""
    LOST = "lost"
    """The fence does not hold: another lease or attempt owns the job, or nobody does. Nothing was changed."""


class NoteKind(StrEnum):
    """What a running job may write down while it runs."""

    PROGRESS = "progress"
    STUCK = "stuck"
    THROTTLE = "throttle"
    """Nobody starts under one key of a limit for some seconds (`value`); the name is `throttle_name(limit, key)`."""


def throttle_name(limit: str, key: str = "") -> str:
    """The name of the note that throttles one key of a limit."""
    return f"{limit}\n{key}"


class Note(NamedTuple):
    """A fenced write in mid-run. `value` is JSON text; a later note of one kind and name replaces the earlier."""

    ref: Ref
    id: JobId
    attempt: int
    kind: NoteKind
    name: str
    value: str
