"""Where a job waits that may not start: `find` names the key of the limit, or the job that is first in line."""

import pytest

from conformance.desk import DEATH, Desk
from treadle.model.filter import Filter, Page, Resolve
from treadle.model.flow import Hold, Ordering, Parked
from treadle.model.outcome import Completed, Released, Retrying
from treadle.model.record import Space, Write, paused_key
from treadle.model.state import State

STOP = Ordering("acme", stop=True)


@pytest.fixture
def desk(plain_desk: Desk) -> Desk:
    """In one way only: what is looked at does not depend on it."""
    return plain_desk


def test_the_key_at_which_it_waits(desk: Desk) -> None:
    desk.limit("one", concurrency=5)
    desk.limit("two", concurrency=1)
    holds = (Hold("one", "a"), Hold("two", "b\u00fc"))
    jobs = [desk.add(holds=holds) for _ in range(2)]
    free = desk.add()
    desk.claim(desk.worker())

    assert desk.job(jobs[1]).parked == Parked("two", "b\u00fc")
    assert [desk.job(each).parked for each in (jobs[0], free)] == [None, None]
    [plain] = desk.run(desk.engine.find(Filter(ids=[jobs[1]]), Page()))
    assert plain.parked is None


def test_a_key_without_a_name_and_a_limit_that_is_closed(desk: Desk) -> None:
    desk.limit("rate", rate=1, period=60_000_000)
    desk.limit("shut", closed_until=desk.now + 60_000_000)
    first, second = desk.add(holds=(Hold("rate"),)), desk.add(holds=(Hold("rate"),))
    third = desk.add(holds=(Hold("shut", "x"),))
    desk.claim(desk.worker())

    assert [desk.job(each).parked for each in (first, second, third)] == [None, Parked("rate", ""), Parked("shut")]


def test_whom_it_waits_behind(desk: Desk) -> None:
    first, second, third = (desk.add(ordering=STOP, holds=(Hold("any"),)) for _ in range(3))
    other = desk.add(ordering=Ordering("other"))
    worker = desk.worker()
    claimed = desk.claim(worker)[0]

    assert desk.job(third).parked == desk.job(second).parked == Parked(behind=first, state=State.RUNNING)
    assert desk.job(other).parked is None
    desk.finish(worker, claimed, Retrying(10.0, "{}"))
    assert desk.job(second).parked == Parked(behind=first, state=State.RETRYING)
    desk.later(10)
    desk.promote()
    assert desk.job(third).parked == Parked(behind=first, state=State.QUEUED)


def test_behind_a_dead_letter_that_stops_the_line(desk: Desk) -> None:
    first, second, third = (desk.add(ordering=STOP) for _ in range(3))
    worker = desk.worker()
    desk.finish(worker, desk.claim_one(worker, first), DEATH)
    desk.claim(worker)

    assert desk.job(second).parked == desk.job(third).parked == Parked(behind=first, state=State.DEAD)
    desk.alter_one(first, Resolve())
    assert desk.job(second).parked is None
    desk.finish(worker, desk.claim_one(worker, second), Completed())
    assert desk.job(third).parked is None


def test_why_a_job_was_put_off_is_kept_with_the_attempt(desk: Desk) -> None:
    job = desk.add()
    worker = desk.worker()
    seen = desk.finish(worker, desk.claim_one(worker, job), Released(10.0, '{"error": "TooNew"}'))
    assert (seen.state, seen.releases, seen.failures) == (State.SCHEDULED, 1, 0)
    desk.later(10)
    desk.promote()
    seen = desk.finish(worker, desk.claim_one(worker, job), Released(10.0))

    assert [(each.outcome, each.delay, each.error) for each in seen.attempts] == [
        ("released", 10.0, '{"error": "TooNew"}'),
        ("released", 10.0, None),
    ]


def test_a_rule_that_is_taken_away_lets_those_go_that_wait(desk: Desk) -> None:
    """What forgetting a limit rests on."""
    desk.limit("rate", rate=1, period=3600_000_000, concurrency=1)
    desk.write(Write(Space.PAUSED, paused_key("rate", "b"), "{}"))
    jobs = [desk.add(holds=(Hold("rate", key),)) for key in "aaabb"]
    worker = desk.worker()
    assert [each.id for each in desk.claim(worker)] == jobs[:1]
    desk.write(Write(Space.PAUSED, paused_key("rate", "b"), None), Write(Space.LIMIT, "rate", None))

    desk.promote()
    assert [each.id for each in desk.claim(worker)] == jobs[1:]
