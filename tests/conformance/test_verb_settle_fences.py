"""settle, fenced: who may end an attempt, and what everybody else is told."""

import pytest

from conformance.desk import DEATH, OUTCOMES, Desk
from treadle.model.filter import Erase
from treadle.model.job import Claimed, LeaseId
from treadle.model.outcome import (
    Cancelled,
    Completed,
    Outcome,
    Released,
    Settlement,
    Verdict,
)
from treadle.model.state import State


def running(desk: Desk, **options: object) -> tuple[LeaseId, Claimed]:
    job = desk.add(**options)
    lease = desk.worker()
    return lease, desk.claim_one(lease, job)


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_a_repeated_settle_changes_nothing(desk: Desk, outcome: Outcome) -> None:
    lease, claimed = running(desk)
    desk.finish(lease, claimed, outcome)
    before = desk.snapshot()

    again = desk.settle(lease, (claimed, outcome))

    assert again == [Verdict.ALREADY if isinstance(outcome, Completed) else Verdict.LOST]
    assert desk.snapshot() == before


def test_the_second_end_of_one_attempt_in_a_batch(desk: Desk) -> None:
    lease, claimed = running(desk)

    assert desk.settle(lease, (claimed, Completed("1")), (claimed, DEATH)) == [Verdict.DONE, Verdict.ALREADY]
    assert desk.job(claimed.id).result == "1"


def test_a_stale_end_does_not_shadow_the_true_one_beside_it(desk: Desk) -> None:
    lease, stale = running(desk)
    desk.finish(lease, stale, Released())
    true = desk.claim_one(lease, stale.id)

    assert desk.settle(lease, (stale, Completed("old")), (true, Completed("new"))) == [Verdict.LOST, Verdict.DONE]
    assert desk.job(true.id).result == "new"


def test_a_claim_on_a_pruned_job_is_no_claim_on_the_next_of_that_id(desk: Desk) -> None:
    lease, old = running(desk)
    desk.finish(lease, old, Cancelled("first"))
    desk.alter_one(old.id, Erase())
    desk.enqueue(desk.new(id=old.id))
    desk.claim_one(lease, old.id)

    assert desk.settle(lease, (old, Completed())) == [Verdict.LOST]
    assert desk.state(old.id) is State.RUNNING


def test_already_holds_after_the_lease_is_gone(desk: Desk) -> None:
    lease, claimed = running(desk)
    desk.finish(lease, claimed)
    desk.later(2000)
    assert desk.settle(lease, (claimed, Completed())) == [Verdict.ALREADY]
    desk.rescue()
    assert desk.settle(lease, (claimed, Completed())) == [Verdict.ALREADY]


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_another_lease_is_refused(desk: Desk, outcome: Outcome) -> None:
    _, claimed = running(desk)
    other = desk.worker("w2")
    before = desk.snapshot()

    assert desk.settle(other, (claimed, outcome)) == [Verdict.LOST]
    assert desk.settle("nobody", (claimed, outcome)) == [Verdict.LOST]
    assert desk.snapshot() == before


@pytest.mark.parametrize("attempt", [0, 2])
def test_another_attempt_is_refused(desk: Desk, attempt: int) -> None:
    lease, claimed = running(desk)
    before = desk.snapshot()

    assert desk.settle(lease, (claimed._replace(attempt=attempt), Completed())) == [Verdict.LOST]
    assert desk.snapshot() == before


def test_an_older_attempt_of_a_completed_job_is_lost(desk: Desk) -> None:
    lease, claimed = running(desk)
    desk.finish(lease, claimed, Released())
    again = desk.claim_one(lease, claimed.id)
    desk.finish(lease, again)

    assert desk.settle(lease, (claimed, Completed()), (again, Completed())) == [Verdict.LOST, Verdict.ALREADY]


def test_an_older_attempt_is_refused_while_a_newer_one_runs(desk: Desk) -> None:
    lease, claimed = running(desk)
    desk.finish(lease, claimed, Released())
    desk.claim_one(lease, claimed.id)
    before = desk.snapshot()

    assert desk.settle(lease, (claimed, Completed())) == [Verdict.LOST]
    assert desk.snapshot() == before


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_an_expired_lease_is_refused(desk: Desk, outcome: Outcome) -> None:
    job = desk.add()
    lease = desk.worker(length=30.0)
    claimed = desk.claim_one(lease, job)
    desk.later(30)
    before = desk.snapshot()

    assert desk.settle(lease, (claimed, outcome)) == [Verdict.LOST]
    assert desk.snapshot() == before


def test_a_lease_holds_up_to_its_end(desk: Desk) -> None:
    job = desk.add()
    lease = desk.worker(length=30.0)
    claimed = desk.claim_one(lease, job)
    desk.later(30 - 1e-6)

    assert desk.settle(lease, (claimed, Completed())) == [Verdict.DONE]


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_a_stale_worker_is_refused_after_a_rescue(desk: Desk, outcome: Outcome) -> None:
    job = desk.add()
    lease = desk.worker(length=30.0)
    claimed = desk.claim_one(lease, job)
    desk.later(30)
    desk.rescue(delay=0.0)
    desk.promote()
    newer = desk.claim_one(desk.worker("w2"), job, suspects=1)
    before = desk.snapshot()

    assert newer.attempt == 2
    assert desk.settle(lease, (claimed, outcome)) == [Verdict.LOST]
    assert desk.snapshot() == before


def test_a_job_nobody_claimed_cannot_be_settled(desk: Desk) -> None:
    job = desk.add()
    lease = desk.worker()
    before = desk.snapshot()
    settlement = Settlement(job, job, 0, Completed(), 0.0)

    assert desk.run(desk.engine.settle(lease, [settlement], now=desk.now)) == [Verdict.LOST]
    assert desk.snapshot() == before
