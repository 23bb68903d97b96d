"""How an attempt ends: the one place where an outcome turns into the job's next state."""

from dataclasses import replace

from treadle.engine.memory.row import Row
from treadle.engine.memory.turn import Turn
from treadle.model.job import AttemptRecord, DeadLetter
from treadle.model.outcome import (
    UNSETTLED,
    Cancelled,
    Cause,
    Completed,
    Crashed,
    Died,
    Expired,
    Outcome,
    Released,
    Retrying,
    Snoozed,
)
from treadle.model.state import State

LATER = Retrying | Snoozed | Released | Crashed
"""The outcomes that may put a job off."""


def next_state(row: Row, outcome: Outcome) -> State:
    """Where this outcome leads: a request to cancel wins over every wish to go on."""
    match outcome:
        case Completed():
            return State.COMPLETED
        case Died():
            return State.DEAD
        case Cancelled():
            return State.CANCELLED
        case Expired():
            return State.EXPIRED
        case _ if row.cancel_requested:
            return State.CANCELLED
        case Retrying():
            return State.RETRYING
        case Snoozed():
            return State.SCHEDULED
        case Released(delay):
            return State.SCHEDULED if delay > 0 else State.QUEUED
        case Crashed():
            return State.RETRYING if row.crashes + 1 < row.max_crashes else State.DEAD


def end_attempt(turn: Turn, row: Row, outcome: Outcome, *, said: str, exit_seen: str | None = None) -> Row:
    """Take a running row out of its worker's hands and store what the outcome makes of it.

    `said` is the name under which the attempt is recorded.
    """
    state = next_state(row, outcome)
    delay = outcome.delay if isinstance(outcome, LATER) and not state.final and state is not State.QUEUED else None
    if not isinstance(outcome, Completed):
        row = _recorded(turn, row, outcome, said, delay, exit_seen)
    turn.free_slots(row)
    row = _counted(turn, row, outcome)
    row = replace(row, lease=None, stuck=False, cancel_requested=False)
    if state is State.QUEUED:
        return turn.queue(replace(row, reason=None))
    if delay is not None:
        start_by = row.start_by if isinstance(outcome, Released) else None
        return turn.tables.put_job(replace(row, state=state, due_at=turn.after(delay), start_by=start_by, reason=None))
    return _ended(turn, row, state, outcome, exit_seen)


def _recorded(turn: Turn, row: Row, outcome: Outcome, said: str, delay: float | None, exit_seen: str | None) -> Row:
    assert row.lease is not None
    assert row.claimed_at is not None
    error = outcome.error if isinstance(outcome, Retrying | Released | Died) else None
    entry = AttemptRecord(row.attempt, said, turn.worker_of(row.lease), row.claimed_at, turn.now, delay, error, exit_seen)
    return replace(row, attempts=(*row.attempts, entry))


def _counted(turn: Turn, row: Row, outcome: Outcome) -> Row:
    match outcome:
        case Retrying():
            first = turn.now if row.first_failed_at is None else row.first_failed_at
            return replace(row, failures=row.failures + 1, first_failed_at=first, suspect=False)
        case Died():
            return replace(row, failures=row.failures + 1)
        case Snoozed():
            return replace(row, snoozes=row.snoozes + 1, suspect=False)
        case Released():
            return replace(row, releases=row.releases + 1)
        case Crashed():
            return replace(row, crashes=row.crashes + 1)
        case Completed() | Cancelled() | Expired():
            return row


def _ended(turn: Turn, row: Row, state: State, outcome: Outcome, exit_seen: str | None) -> Row:
    match outcome:
        case Completed(result):
            return turn.end(replace(row, result=result), state)
        case Died(cause, reason, fingerprint):
            return die(turn, row, cause, reason, fingerprint)
        case Crashed() if state is State.DEAD:
            return die(turn, row, Cause.WORKER_LOST, exit_seen or UNSETTLED, "")
        case Cancelled(reason):
            return turn.end(row, state, reason or row.reason or "")
        case Expired():
            return turn.end(row, state)
        case _:
            return turn.end(row, state, row.reason)


def die(turn: Turn, row: Row, cause: Cause, reason: str, fingerprint: str) -> Row:
    """End the row as a dead letter."""
    letter = DeadLetter(cause, reason, fingerprint, "open", turn.now, None, None, None)
    return turn.end(replace(row, dead=letter), State.DEAD, reason)
