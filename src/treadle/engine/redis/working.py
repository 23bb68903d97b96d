"""The verbs of workers: `claim`, `settle`, `renew`, `note`."""

from collections.abc import Sequence

import msgspec

from treadle.engine.contract import Now
from treadle.engine.plan import Steps, plan
from treadle.engine.redis.steps import Call, encode
from treadle.model.job import Claimed, Claims, LeaseId, Ref, Renewal, Want, WorkerInfo, micros
from treadle.model.outcome import (
    Cancelled,
    Completed,
    Crashed,
    Died,
    Expired,
    Note,
    Outcome,
    Released,
    Retrying,
    Settlement,
    Snoozed,
    Verdict,
)

_claimed = msgspec.msgpack.Decoder(list[Claimed]).decode
_VERDICTS = {ord("D"): Verdict.DONE, ord("A"): Verdict.ALREADY, ord("L"): Verdict.LOST}


class Working:
    """Claiming and settling go through one call each, whatever the number of jobs."""

    @plan
    def claim(
        self, lease: LeaseId, wants: Sequence[Want], tasks: Sequence[str], *, suspects: int = 0, now: Now = None
    ) -> Steps[Claims]:
        """Move queued jobs to `running` under `lease`."""
        answer: Claims = yield Call("claim", encode((now, lease, wants, tasks, suspects)), _claims)
        return answer

    @plan
    def settle(self, lease: LeaseId, settlements: Sequence[Settlement], *, now: Now = None) -> Steps[list[Verdict]]:
        """End attempts: store each outcome, free or cancel the children."""
        if not settlements:
            return []
        rows = [(_number(ref), job, attempt, *_told(outcome)) for ref, job, attempt, outcome, _ in settlements]
        answer: list[Verdict] = yield Call("settle", encode((now, lease, rows)), _verdicts)
        return answer

    @plan
    def renew(
        self, lease: LeaseId, beat: int, length: float, *, worker: WorkerInfo | None = None, now: Now = None
    ) -> Steps[Renewal]:
        """Open or extend a lease, and collect cancel requests."""
        answer: Renewal = yield Call("renew", encode((now, lease, beat, micros(length), worker or False)), _renewal)
        return answer

    @plan
    def note(self, lease: LeaseId, notes: Sequence[Note], *, now: Now = None) -> Steps[list[Verdict]]:
        """Write down what running jobs say in mid-run."""
        if not notes:
            return []
        rows = [(_number(each.ref), each.id, each.attempt, each.kind, each.name, each.value) for each in notes]
        answer: list[Verdict] = yield Call("note", encode((now, lease, rows)), _verdicts)
        return answer


def _claims(reply: bytes) -> Claims:
    if reply == b"L":
        return Claims([], lost=True)
    return Claims(_claimed(memoryview(reply)[1:]), lost=False)


def _renewal(reply: Sequence[bytes] | None) -> Renewal:
    if reply is None:
        return Renewal(lost=True, cancels=[])
    return Renewal(lost=False, cancels=[each.decode() for each in reply])


def _verdicts(reply: bytes) -> list[Verdict]:
    return [_VERDICTS[each] for each in reply]


def _number(ref: Ref) -> int:
    return ref if isinstance(ref, int) else 0


def _told(outcome: Outcome) -> tuple[object, ...]:
    """An outcome as `settle.lua` takes it: its name and what it carries."""
    match outcome:
        case Completed(result):
            return ("completed",) if result is None else ("completed", result)
        case Retrying(delay, error):
            return "retrying", micros(delay), delay, error or False
        case Snoozed(delay):
            return "snoozed", micros(delay), delay
        case Released():
            return ("released",)
        case Died(cause, reason, fingerprint, error):
            return "died", cause, reason, fingerprint, error or False
        case Cancelled(reason):
            return "cancelled", reason
        case Crashed(exit_seen, delay):
            return "crashed", micros(delay), delay, exit_seen
        case Expired():
            return ("expired",)
