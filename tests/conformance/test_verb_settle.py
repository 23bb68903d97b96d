"""settle: what each outcome makes of a job, and what a request to cancel changes."""

import pytest

from conformance.desk import DEATH, OUTCOMES, SECOND, Desk
from treadle.model.filter import Cancel
from treadle.model.job import AttemptRecord, Claimed, DeadLetter, JobId, LeaseId
from treadle.model.outcome import (
    UNSETTLED,
    Cancelled,
    Cause,
    Completed,
    Crashed,
    Died,
    Expired,
    Note,
    NoteKind,
    Outcome,
    Released,
    Retrying,
    Snoozed,
    Verdict,
)
from treadle.model.state import State

GOING_ON = [outcome for outcome in OUTCOMES if isinstance(outcome, Retrying | Snoozed | Released | Crashed)]


def running(desk: Desk, **options: object) -> tuple[LeaseId, Claimed]:
    job = desk.add(**options)
    lease = desk.worker()
    return lease, desk.claim_one(lease, job)


def only_record(desk: Desk, job: JobId) -> AttemptRecord:
    [record] = desk.job(job).attempts
    return record


def counters(desk: Desk, job: JobId) -> tuple[int, int, int, int]:
    stored = desk.job(job)
    return stored.failures, stored.crashes, stored.snoozes, stored.releases


def test_completed_keeps_the_result(desk: Desk) -> None:
    lease, claimed = running(desk)
    claimed_at, ended_at = desk.now, desk.later(4)

    job = desk.finish(lease, claimed, Completed('{"n": 7}'))

    assert (job.state, job.result, job.finished_at, job.reason) == (State.COMPLETED, '{"n": 7}', ended_at, None)
    assert (job.attempt, job.claimed_at, job.lease, job.worker, job.attempts) == (1, claimed_at, None, None, ())
    assert counters(desk, job.id) == (0, 0, 0, 0)


def test_completed_without_a_result(desk: Desk) -> None:
    lease, claimed = running(desk)

    assert desk.finish(lease, claimed, Completed()).result is None


def test_retrying_waits_for_its_delay(desk: Desk) -> None:
    lease, claimed = running(desk)
    claimed_at, ended_at = desk.now, desk.later(4)

    job = desk.finish(lease, claimed, Retrying(2.5, '{"type": "E"}'))

    assert (job.state, job.due_at, job.finished_at) == (State.RETRYING, ended_at + 2_500_000, None)
    assert (job.lease, job.worker, job.attempt) == (None, None, 1)
    assert counters(desk, job.id) == (1, 0, 0, 0)
    assert only_record(desk, job.id) == AttemptRecord(1, "retrying", "w1", claimed_at, ended_at, 2.5, '{"type": "E"}', None)


def test_snoozed_is_scheduled_and_spends_no_failure(desk: Desk) -> None:
    lease, claimed = running(desk)

    job = desk.finish(lease, claimed, Snoozed(3.0))

    assert (job.state, job.due_at) == (State.SCHEDULED, desk.now + 3 * SECOND)
    assert counters(desk, job.id) == (0, 0, 1, 0)
    assert only_record(desk, job.id) == AttemptRecord(1, "snoozed", "w1", desk.now, desk.now, 3.0, None, None)


def test_released_is_queued_again_at_the_back(desk: Desk) -> None:
    lease, claimed = running(desk)
    other = desk.add()

    job = desk.finish(lease, claimed, Released())

    assert (job.state, job.due_at, job.lease) == (State.QUEUED, None, None)
    assert counters(desk, job.id) == (0, 0, 0, 1)
    assert only_record(desk, job.id) == AttemptRecord(1, "released", "w1", desk.now, desk.now, None, None, None)
    again = desk.claim(lease)
    assert [each.id for each in again] == [other, job.id]
    assert again[1].attempt == 2


def test_released_with_a_delay_is_scheduled_and_charged_as_nothing_else(desk: Desk) -> None:
    lease, claimed = running(desk)

    job = desk.finish(lease, claimed, Released(3.0, '{"type": "E"}'))

    assert (job.state, job.due_at, job.lease) == (State.SCHEDULED, desk.now + 3 * SECOND, None)
    assert counters(desk, job.id) == (0, 0, 0, 1)
    assert only_record(desk, job.id) == AttemptRecord(1, "released", "w1", desk.now, desk.now, 3.0, '{"type": "E"}', None)
    assert desk.claim(lease) == []
    desk.later(3)
    desk.promote()
    assert [each.id for each in desk.claim(lease)] == [job.id]


def test_who_is_put_off_beyond_his_start_by_deadline_expires_at_it(desk: Desk) -> None:
    lease, claimed = running(desk, start_within=5.0)
    job = desk.finish(lease, claimed, Released(60.0))
    assert (job.state, job.start_by) == (State.SCHEDULED, desk.now + 5 * SECOND)
    desk.later(5)
    assert desk.promote().expired == 0

    desk.later(1)

    assert desk.promote().expired == 1
    assert desk.job(job.id).state is State.EXPIRED


def test_died_becomes_an_open_dead_letter(desk: Desk) -> None:
    lease, claimed = running(desk)

    job = desk.finish(lease, claimed, Died(Cause.GAVE_UP, "no card", "fp", '{"type": "E"}'))

    assert (job.state, job.reason, job.finished_at) == (State.DEAD, "no card", desk.now)
    assert job.dead == DeadLetter("gave_up", "no card", "fp", "open", desk.now, None, None, None)
    assert counters(desk, job.id) == (1, 0, 0, 0)
    assert only_record(desk, job.id) == AttemptRecord(1, "died", "w1", desk.now, desk.now, None, '{"type": "E"}', None)


@pytest.mark.parametrize("cause", Cause)
def test_every_cause_of_death_is_kept(plain_desk: Desk, cause: Cause) -> None:
    lease, claimed = running(plain_desk)

    job = plain_desk.finish(lease, claimed, Died(cause, "so it is"))

    assert job.dead is not None
    assert (job.dead.cause, job.dead.fingerprint, only_record(plain_desk, job.id).error) == (cause, "", None)


def test_cancelled_by_its_body(desk: Desk) -> None:
    lease, claimed = running(desk)

    job = desk.finish(lease, claimed, Cancelled("not needed"))

    assert (job.state, job.reason, job.finished_at) == (State.CANCELLED, "not needed", desk.now)
    assert counters(desk, job.id) == (0, 0, 0, 0)
    assert only_record(desk, job.id) == AttemptRecord(1, "cancelled", "w1", desk.now, desk.now, None, None, None)


def test_expired_before_it_could_start(desk: Desk) -> None:
    lease, claimed = running(desk, start_within=1.0)

    job = desk.finish(lease, claimed, Expired())

    assert (job.state, job.reason, job.finished_at) == (State.EXPIRED, None, desk.now)
    assert counters(desk, job.id) == (0, 0, 0, 0)
    assert only_record(desk, job.id) == AttemptRecord(1, "expired", "w1", desk.now, desk.now, None, None, None)


def test_crashed_is_retried_while_the_budget_lasts(desk: Desk) -> None:
    lease, claimed = running(desk)

    job = desk.finish(lease, claimed, Crashed("signal 11", 4.0))

    assert (job.state, job.due_at, job.suspect) == (State.RETRYING, desk.now + 4 * SECOND, False)
    assert counters(desk, job.id) == (0, 1, 0, 0)
    assert only_record(desk, job.id) == AttemptRecord(1, "crashed", "w1", desk.now, desk.now, 4.0, None, "signal 11")


def test_the_last_crash_of_the_budget_is_a_death(desk: Desk) -> None:
    job = desk.add(max_crashes=2)
    assert desk.run_once(job, Crashed("signal 9", 1.0)).state is State.RETRYING
    desk.later(1)
    desk.promote()

    dead = desk.run_once(job, Crashed("exit 3", 1.0))

    assert (dead.state, dead.crashes, dead.reason, dead.failures) == (State.DEAD, 2, "exit 3", 0)
    assert dead.dead == DeadLetter("worker_lost", "exit 3", "", "open", desk.now, None, None, None)
    assert [(record.outcome, record.exit, record.delay) for record in dead.attempts] == [
        ("crashed", "signal 9", 1.0),
        ("crashed", "exit 3", None),
    ]


def test_a_budget_of_one_crash_dies_at_the_first(desk: Desk) -> None:
    job = desk.run_once(desk.add(max_crashes=1), Crashed("", 1.0))

    assert (job.state, job.reason) == (State.DEAD, UNSETTLED)


@pytest.mark.parametrize("outcome", [Retrying(1.0, "{}"), Snoozed(1.0), Crashed("x", 1.0), Released(), Released(1.0)])
def test_only_released_keeps_the_start_by_deadline(desk: Desk, outcome: Outcome) -> None:
    lease, claimed = running(desk, start_within=60.0)

    job = desk.finish(lease, claimed, outcome)

    assert job.start_by == (desk.now + 60 * SECOND if isinstance(outcome, Released) else None)


def test_a_batch_is_answered_in_its_order(desk: Desk) -> None:
    jobs = [desk.add() for _ in OUTCOMES]
    lease = desk.worker()
    claims = desk.claim(lease)
    stranger = claims[0]._replace(id="nobody")

    verdicts = desk.settle(lease, *zip(claims, OUTCOMES, strict=True), (stranger, Completed()))

    assert verdicts == [Verdict.DONE] * len(OUTCOMES) + [Verdict.LOST]
    assert desk.states(*jobs) == [
        State.COMPLETED,
        State.RETRYING,
        State.SCHEDULED,
        State.QUEUED,
        State.DEAD,
        State.CANCELLED,
        State.RETRYING,
        State.EXPIRED,
    ]


def test_nothing_to_settle(desk: Desk) -> None:
    assert desk.settle(desk.worker()) == []


@pytest.mark.parametrize("outcome", GOING_ON)
def test_a_request_to_cancel_wins_over_going_on(desk: Desk, outcome: Outcome) -> None:
    lease, claimed = running(desk)
    desk.alter_one(claimed.id, Cancel("changed my mind"))
    assert desk.job(claimed.id).cancel_requested

    job = desk.finish(lease, claimed, outcome)

    assert (job.state, job.reason, job.finished_at) == (State.CANCELLED, "changed my mind", desk.now)
    assert not job.cancel_requested
    assert sum(counters(desk, job.id)) == 1
    record = only_record(desk, job.id)
    assert (record.outcome, record.delay) == (type(outcome).__name__.lower(), None)


def test_a_request_to_cancel_wins_over_a_spent_crash_budget(desk: Desk) -> None:
    lease, claimed = running(desk, max_crashes=1)
    desk.alter_one(claimed.id, Cancel("enough"))

    job = desk.finish(lease, claimed, Crashed("signal 9", 1.0))

    assert (job.state, job.reason, job.crashes, job.dead) == (State.CANCELLED, "enough", 1, None)


@pytest.mark.parametrize(
    ("outcome", "state", "reason"),
    [
        (Completed("7"), State.COMPLETED, None),
        (DEATH, State.DEAD, "it broke"),
        (Cancelled("by my own hand"), State.CANCELLED, "by my own hand"),
        (Cancelled(""), State.CANCELLED, "changed my mind"),
        (Expired(), State.EXPIRED, None),
    ],
)
def test_an_end_stands_in_spite_of_a_request_to_cancel(desk: Desk, outcome: Outcome, state: State, reason: str | None) -> None:
    lease, claimed = running(desk)
    desk.alter_one(claimed.id, Cancel("changed my mind"))

    job = desk.finish(lease, claimed, outcome)

    assert (job.state, job.reason, job.cancel_requested) == (state, reason, False)


@pytest.mark.parametrize("outcome", GOING_ON)
def test_a_job_that_comes_back_enters_behind_those_that_wait(desk: Desk, outcome: Outcome) -> None:
    lease, claimed = running(desk)
    other = desk.add()
    desk.finish(lease, claimed, outcome)
    desk.later(10)
    desk.promote()

    assert [each.id for each in desk.claim(lease)] == [other, claimed.id]


def suspect(desk: Desk) -> tuple[LeaseId, Claimed]:
    job = desk.add()
    doomed = desk.worker("doomed", length=1.0)
    desk.claim_one(doomed, job)
    desk.later(1)
    desk.rescue(delay=0.0)
    desk.promote()
    lease = desk.worker()
    claimed = desk.claim_one(lease, job, suspects=1)
    assert claimed.suspect
    return lease, claimed


@pytest.mark.parametrize(
    ("outcome", "still"),
    [
        (Retrying(1.0, "{}"), False),
        (Snoozed(1.0), False),
        (Released(), True),
        (Released(1.0), True),
        (Crashed("x", 1.0), True),
        (Completed(), False),
    ],
)
def test_who_was_seen_to_end_without_harm_is_no_suspect(desk: Desk, outcome: Outcome, still: bool) -> None:
    lease, claimed = suspect(desk)

    assert desk.finish(lease, claimed, outcome).suspect is still


def test_a_later_death_writes_a_new_letter_and_keeps_the_history(desk: Desk) -> None:
    job = desk.add()
    desk.run_once(job, Retrying(1.0, '{"n": 1}'))
    desk.later(1)
    desk.promote()
    dead = desk.run_once(job, Died(Cause.FAILED, "again", "fp2", '{"n": 2}'))

    assert [(record.attempt, record.outcome, record.error) for record in dead.attempts] == [
        (1, "retrying", '{"n": 1}'),
        (2, "died", '{"n": 2}'),
    ]
    assert (dead.failures, dead.attempt) == (2, 2)


def test_the_stuck_flag_goes_with_the_attempt(desk: Desk) -> None:
    lease, claimed = running(desk)
    note = Note(claimed.ref, claimed.id, claimed.attempt, NoteKind.STUCK, "", "true")
    assert desk.run(desk.engine.note(lease, [note], now=desk.now)) == [Verdict.DONE]
    assert desk.job(claimed.id).stuck

    assert not desk.finish(lease, claimed, Retrying(1.0, "{}")).stuck
