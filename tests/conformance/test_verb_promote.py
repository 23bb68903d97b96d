"""promote: what is due is queued, what came too late is expired."""

import pytest

from conformance.desk import SECOND, Desk
from treadle.model.job import Promoted
from treadle.model.outcome import Retrying
from treadle.model.state import State


def test_nothing_waits(desk: Desk) -> None:
    desk.add()

    assert desk.promote() == Promoted(0, 0, None)


def test_a_job_is_queued_when_its_time_has_come(desk: Desk) -> None:
    job = desk.add(delay=5.0)
    due_at = desk.now + 5 * SECOND
    desk.later(5 - 1e-6)
    assert desk.promote() == Promoted(0, 0, due_at)
    assert desk.state(job) is State.SCHEDULED

    desk.later(1e-6)

    assert desk.promote() == Promoted(1, 0, None)
    stored = desk.job(job)
    assert (stored.state, stored.due_at) == (State.QUEUED, due_at)
    assert desk.promote() == Promoted(0, 0, None)


def test_a_retrying_job_is_queued_when_its_delay_is_over(desk: Desk) -> None:
    job = desk.add()
    desk.run_once(job, Retrying(5.0, "{}"))
    desk.later(5)

    assert desk.promote() == Promoted(1, 0, None)
    assert desk.state(job) is State.QUEUED


def test_due_jobs_enter_in_due_order_behind_what_waits(desk: Desk) -> None:
    late, early, soon = desk.add(delay=9.0), desk.add(delay=3.0), desk.add(delay=6.0)
    urgent = desk.add(delay=10.0, priority=5)
    waiting = desk.add()
    desk.later(10)

    assert desk.promote().queued == 4
    assert [claimed.id for claimed in desk.claim(desk.worker())] == [urgent, waiting, early, soon, late]


def test_jobs_due_together_enter_oldest_first(desk: Desk) -> None:
    first = desk.add(run_at=desk.now + SECOND)
    second = desk.add(run_at=desk.now + SECOND)
    desk.later(1)
    desk.promote()

    assert [claimed.id for claimed in desk.claim(desk.worker())] == [first, second]


def test_the_limit_takes_the_longest_due_and_says_that_more_are(desk: Desk) -> None:
    jobs = [desk.add(delay=float(seconds)) for seconds in (4, 1, 3, 2)]
    second_last = desk.now + 3 * SECOND
    desk.later(10)

    assert desk.promote(limit=2) == Promoted(2, 0, second_last)
    assert desk.states(*jobs) == [State.SCHEDULED, State.QUEUED, State.SCHEDULED, State.QUEUED]
    assert desk.promote(limit=2) == Promoted(2, 0, None)


def test_next_due_is_the_earliest_of_what_is_left(desk: Desk) -> None:
    desk.add(delay=60.0)
    job = desk.add()
    desk.run_once(job, Retrying(30.0, "{}"))

    assert desk.promote() == Promoted(0, 0, desk.now + 30 * SECOND)


@pytest.mark.parametrize("state", [State.QUEUED, State.SCHEDULED, State.BLOCKED])
def test_what_missed_its_deadline_is_expired(desk: Desk, state: State) -> None:
    parent = desk.add(queue="elsewhere")
    match state:
        case State.QUEUED:
            job, wait = desk.add(start_within=5.0), 5
        case State.SCHEDULED:
            job, wait = desk.add(delay=5.0, start_within=5.0), 10
        case _:
            job, wait = desk.child(parent, start_within=5.0), 5
    assert desk.state(job) is state
    desk.later(wait)
    promoted = desk.promote()
    assert (promoted.expired, desk.state(job)) == (0, State.QUEUED if state is State.SCHEDULED else state)

    desk.later(1e-6)

    assert desk.promote().expired == 1
    expired = desk.job(job)
    assert (expired.state, expired.finished_at, expired.reason) == (State.EXPIRED, desk.now, None)
    assert expired.attempts == ()
    assert desk.state(parent) is State.QUEUED


def test_what_is_due_and_too_late_is_expired_not_queued(desk: Desk) -> None:
    job = desk.add(delay=5.0, start_within=5.0)
    desk.later(11)

    assert desk.promote() == Promoted(0, 1, None)
    assert desk.state(job) is State.EXPIRED


def test_a_running_job_does_not_expire(desk: Desk) -> None:
    job = desk.add(start_within=5.0)
    desk.claim_one(desk.worker(), job)
    desk.later(6)

    assert desk.promote() == Promoted(0, 0, None)
    assert desk.state(job) is State.RUNNING


def test_the_limit_holds_for_each_of_the_two(desk: Desk) -> None:
    for _ in range(3):
        desk.add(delay=5.0)
        desk.add(start_within=5.0)
    desk.later(6)

    first = desk.promote(limit=2)
    assert (first.queued, first.expired) == (2, 2)
    second = desk.promote(limit=2)
    assert (second.queued, second.expired) == (1, 1)


def test_what_is_too_late_but_over_the_limit_is_not_queued(desk: Desk) -> None:
    for _ in range(3):
        desk.add(delay=1.0, start_within=1.0)
    desk.later(6)

    first = desk.promote(limit=2)
    assert (first.queued, first.expired) == (0, 2)
    assert desk.promote(limit=2) == Promoted(0, 1, None)
