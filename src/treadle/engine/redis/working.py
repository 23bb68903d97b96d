"""The verbs of workers: `claim`, `settle`, `renew`, `note`, `held`."""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from treadle.engine.admission import throttled_for
from treadle.engine.contract import Now
from treadle.engine.plan import Steps, plan
from treadle.engine.redis.steps import Call, encode
from treadle.model.job import Claimed, Claims, JobId, LeaseId, Micros, Ref, Renewal, Want, WorkerInfo, micros
from treadle.model.outcome import (
    Cancelled,
    Completed,
    Crashed,
    Died,
    Expired,
    Note,
    NoteKind,
    Released,
    Retrying,
    Settlement,
    Snoozed,
    Verdict,
    throttle_name,
)

Unfinished = Retrying | Snoozed | Released | Died | Cancelled | Crashed | Expired


class Asked(NamedTuple):
    """What the store keeps of a job as it was asked for."""

    id: JobId
    task: str
    version: int
    codec: str
    queue: str
    priority: int
    max_crashes: int
    tags: tuple[str, ...] | None
    key: str | None
    args: str
    options: str | None
    headers: str | None
    flow: bytes = b""


class _Handed(NamedTuple):
    number: int
    attempt: int
    failures: int
    crashes: int
    snoozes: int
    claimed_at: Micros
    first_failed_at: Micros | None
    start_by: Micros | None
    suspect: bool
    enqueued_at: Micros
    asked: Asked


_handed = msgspec.msgpack.Decoder(list[_Handed]).decode
_answered = msgspec.msgpack.Decoder(tuple[bool, Micros | None, list[_Handed]]).decode
_VERDICTS = {ord("D"): Verdict.DONE, ord("A"): Verdict.ALREADY, ord("L"): Verdict.LOST}


class Working:
    """Claiming and settling go through one call each, whatever the number of jobs."""

    @plan
    def claim(
        self,
        lease: LeaseId,
        wants: Sequence[Want],
        tasks: Sequence[str],
        *,
        suspects: int = 0,
        gated: int = 0,
        now: Now = None,
    ) -> Steps[Claims]:
        """Move queued jobs to `running` under `lease`; judge those that are gated."""
        answer: Claims = yield Call("claim", encode((now, lease, wants, tasks, suspects, gated)), _claims)
        return answer

    @plan
    def settle(self, lease: LeaseId, settlements: Sequence[Settlement], *, now: Now = None) -> Steps[list[Verdict]]:
        """End attempts: store each outcome, free or cancel the children."""
        if not settlements:
            return []
        numbers = [_number(each.ref) for each in settlements]
        outcomes: dict[int, tuple[object, ...]] = {}
        results: dict[int, str] = {}
        for i, each in enumerate(settlements, 1):
            outcome = each.outcome
            if not isinstance(outcome, Completed):
                outcomes[i] = _told(outcome)
            elif outcome.result is not None:
                results[i] = outcome.result
        moments, attempts = [_moment(each.ref) for each in settlements], [each.attempt for each in settlements]
        twice = len(set(numbers)) < len(numbers)
        parameters = encode((now, lease, numbers, moments, attempts, outcomes, results, twice))
        ids = encode([each.id for each in settlements])
        answer: list[Verdict] = yield Call("settle", parameters, _verdicts, [ids])
        return answer

    @plan
    def renew(
        self, lease: LeaseId, beat: int, length: float, *, worker: WorkerInfo | None = None, now: Now = None
    ) -> Steps[Renewal]:
        """Open or extend a lease, and collect cancel requests."""
        answer: Renewal = yield Call("renew", encode((now, lease, beat, micros(length), worker or False)), _renewal)
        return answer

    @plan
    def held(self, lease: LeaseId) -> Steps[list[Claimed]]:
        """What runs under a lease, oldest first, as `claim` handed it out."""
        answer: list[Claimed] = yield Call("held", encode((lease,)), _held)
        return answer

    @plan
    def note(self, lease: LeaseId, notes: Sequence[Note], *, now: Now = None) -> Steps[list[Verdict]]:
        """Write down what running jobs say in mid-run."""
        if not notes:
            return []
        rows = [
            (_number(each.ref), each.id, each.attempt, each.kind, each.name, each.value, _closes_for(each), _closes(each))
            for each in notes
        ]
        answer: list[Verdict] = yield Call("note", encode((now, lease, rows)), _verdicts)
        return answer


def _claims(reply: bytes) -> Claims:
    if reply == b"L":
        return Claims([], lost=True)
    more, wakes_at, jobs = _answered(memoryview(reply)[1:])
    return Claims([_claimed(each) for each in jobs], lost=False, more=more, wakes_at=wakes_at)


def _held(reply: bytes) -> list[Claimed]:
    return [_claimed(each) for each in _handed(reply)]


def _claimed(handed: _Handed) -> Claimed:
    n, attempt, failures, crashes, snoozes, claimed_at, first_failed_at, start_by, suspect, enqueued_at, asked = handed
    job, task, version, codec, queue, priority, _, _, _, args, options, headers, _ = asked
    return Claimed(
        (n, claimed_at), job, task, version, codec, queue, priority, attempt, failures, crashes, snoozes, enqueued_at,
        claimed_at, first_failed_at, start_by, suspect, args, options, headers,
    )  # fmt: skip


def _renewal(reply: Sequence[bytes] | None) -> Renewal:
    if reply is None:
        return Renewal(lost=True, cancels=[])
    return Renewal(lost=False, cancels=[each.decode() for each in reply])


def _verdicts(reply: bytes) -> list[Verdict]:
    return [_VERDICTS[each] for each in reply]


def _number(ref: Ref) -> int:
    return ref[0] if isinstance(ref, tuple) else 0


def _moment(ref: Ref) -> Micros:
    """When what it names was claimed: no other job with this number was, in that moment."""
    return ref[1] if isinstance(ref, tuple) else 0


def _closes(note: Note) -> str:
    """The room that a throttle closes."""
    limit, _, key = note.name.partition("\n")
    return throttle_name(limit, key)


def _closes_for(note: Note) -> int:
    return micros(throttled_for(note.value)) if note.kind is NoteKind.THROTTLE else 0


def _told(outcome: Unfinished) -> tuple[object, ...]:
    """An outcome as `settle.lua` takes it: its name and what it carries."""
    match outcome:
        case Retrying(delay, error):
            return "retrying", micros(delay), delay, error or False
        case Snoozed(delay):
            return "snoozed", micros(delay), delay
        case Released(delay, error):
            return "released", micros(delay), delay, error or False
        case Died(cause, reason, fingerprint, error):
            return "died", cause, reason, fingerprint, error or False
        case Cancelled(reason):
            return "cancelled", reason
        case Crashed(exit_seen, delay):
            return "crashed", micros(delay), delay, exit_seen
        case Expired():
            return ("expired",)
