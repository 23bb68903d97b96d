"""Verbs in one plan: they run in their order, and each finds what those before it have done."""

import pytest

from conformance.desk import Desk
from treadle.engine.plan import together
from treadle.model.filter import Erase, Filter, Retention
from treadle.model.flow import WAITING_OR_RUNNING, OnConflict, Unique
from treadle.model.job import Stored, Want
from treadle.model.outcome import Completed, Settlement
from treadle.model.state import State

WANT = Want("default", 9, 9)


def test_who_was_freed_earlier_in_a_plan_stands_before_who_is_stored_later(plain_desk: Desk) -> None:
    desk, lease = plain_desk, plain_desk.worker()
    parent = desk.add()
    child, new = desk.child(parent), desk.new()
    claimed = desk.claim_one(lease, parent)
    ends = [Settlement(claimed.ref, parent, claimed.attempt, Completed(), 0.1)]
    desk.run(together(desk.engine.settle(lease, ends, now=desk.now), desk.engine.enqueue([new], now=desk.now)))

    assert [each.id for each in desk.claim(lease)] == [child, new.id]


@pytest.mark.parametrize("conflict", OnConflict)
@pytest.mark.parametrize("during", [WAITING_OR_RUNNING, (State.RUNNING,)], ids=["waiting or running", "running"])
def test_two_batches_of_one_plan_fare_as_they_do_apart(
    plain_desk: Desk, conflict: OnConflict, during: tuple[State, ...]
) -> None:
    desk = plain_desk
    one, two = (desk.new(unique=Unique("together", during, on_conflict=conflict)) for _ in range(2))
    batches = (desk.engine.enqueue([each], now=desk.now) for each in (one, two))
    answers = desk.run(together(*batches))
    others = [desk.enqueue(desk.new(unique=Unique("apart", during, on_conflict=conflict))) for _ in range(2)]

    assert [[each.verdict for each in batch] for batch in answers] == [[each.verdict for each in batch] for batch in others]
    assert len(desk.find(states=[State.QUEUED])) % 2 == 0


def test_the_key_of_a_job_that_is_erased_is_free_for_who_comes_next_in_the_plan(plain_desk: Desk) -> None:
    desk = plain_desk
    old = desk.add(unique=Unique("key", within=60.0))
    new = desk.new(unique=Unique("key", within=60.0))
    erase = desk.engine.alter(Filter(ids=[old]), Erase(), actor="ada", now=desk.now)
    _, answer = desk.run(together(erase, desk.engine.enqueue([new], now=desk.now)))

    assert answer == [(new.id, Stored.STORED, State.QUEUED)]


def test_a_claim_need_not_be_the_last_of_its_plan(plain_desk: Desk) -> None:
    desk, lease = plain_desk, plain_desk.worker()
    job, new = desk.add(), desk.new()
    claim = desk.engine.claim(lease, [WANT], ["work"], now=desk.now)
    claims, _ = desk.run(together(claim, desk.engine.enqueue([new], now=desk.now)))

    assert [each.id for each in claims.jobs] == [job]


def test_many_verbs_may_be_one_plan(plain_desk: Desk) -> None:
    desk, lease, job = plain_desk, plain_desk.worker(), plain_desk.new()
    engine, now = desk.engine, desk.now
    verbs = (
        engine.promote(now=now),
        engine.rescue(now=now),
        engine.prune(Retention(), now=now),
        engine.enqueue([job], now=now),
        engine.alter(Filter(ids=[]), Erase(), actor="ada", now=now),
        engine.claim(lease, [WANT], ["work"], now=now),
    )

    assert [each.id for each in desk.run(together(*verbs))[-1].jobs] == [job.id]
