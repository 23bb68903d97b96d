"""held: what runs under a lease, as it was claimed."""

from conformance.desk import Desk
from treadle.model.job import Claimed
from treadle.model.outcome import Released, Retrying


def held(desk: Desk, lease: str) -> list[Claimed]:
    return desk.run(desk.engine.held(lease))


def test_nothing_runs_under_a_lease_that_nobody_knows(desk: Desk) -> None:
    assert held(desk, "nobody") == []


def test_what_was_claimed_is_shown_as_it_was_claimed_oldest_first(desk: Desk) -> None:
    desk.add(priority=-5, args='{"a":1}', options='{"timeout":3}', headers='{"tags":["t"]}', tags=("t",), key="k")
    desk.add(priority=5, start_within=60.0)
    desk.add("other", queue="beside")
    desk.later(1)
    lease = desk.worker()
    claims = desk.claim(lease)
    assert len(claims) == 2

    assert held(desk, lease) == claims[::-1]
    assert held(desk, desk.worker()) == []


def test_what_ended_is_not_held_and_what_is_claimed_again_is(desk: Desk) -> None:
    jobs = [desk.add() for _ in range(4)]
    lease, other = desk.worker(length=30.0), desk.worker("w2")
    done, failed, given_back, kept = desk.claim(lease)
    assert [each.id for each in (done, failed, given_back, kept)] == jobs
    desk.finish(lease, done)
    desk.finish(lease, failed, Retrying(0.0, None))
    desk.finish(lease, given_back, Released())
    assert held(desk, lease) == [kept]

    desk.later(1)
    desk.promote()
    again = desk.claim(other)
    assert sorted(held(desk, other)) == sorted(again)
    assert {each.attempt for each in again} == {2}
    assert {each.failures for each in again} == {0, 1}


def test_a_suspect_is_shown_as_one(desk: Desk) -> None:
    job = desk.add()
    dying = desk.worker(length=5.0)
    desk.claim(dying)
    desk.later(5)
    desk.rescue(delay=0.0)
    desk.promote()
    lease = desk.worker()
    claimed = desk.claim_one(lease, job, suspects=1)

    assert held(desk, lease) == [claimed]
    assert claimed.suspect
    assert held(desk, dying) == []
