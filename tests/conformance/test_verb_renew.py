"""renew: a lease is opened once, extended while it holds, and never revived."""

from conformance.desk import Desk
from treadle.model.filter import Cancel
from treadle.model.job import Renewal
from treadle.model.outcome import Completed, Verdict

HELD = Renewal(lost=False, cancels=[])
LOST = Renewal(lost=True, cancels=[])


def ends_in(desk: Desk, lease: str) -> float:
    [found] = [each for each in desk.run(desk.engine.leases(now=desk.now)) if each.id == lease]
    return found.expires_in


def test_beat_zero_opens_a_lease(desk: Desk) -> None:
    assert desk.renew("L", 0, 30.0, desk.info("w1")) == HELD
    assert ends_in(desk, "L") == 30.0


def test_a_lease_that_was_never_opened_is_lost(desk: Desk) -> None:
    assert desk.renew("L", 1, 30.0) == LOST
    assert desk.run(desk.engine.leases(now=desk.now)) == []


def test_beat_zero_without_a_worker_opens_nothing(desk: Desk) -> None:
    assert desk.renew("L", 0, 30.0) == LOST
    assert desk.run(desk.engine.leases(now=desk.now)) == []


def test_each_beat_extends_from_now(desk: Desk) -> None:
    desk.renew("L", 0, 30.0, desk.info())
    desk.later(10)
    assert desk.renew("L", 1, 30.0) == HELD
    assert ends_in(desk, "L") == 30.0
    desk.later(29)
    assert desk.renew("L", 2, 5.0) == HELD
    assert ends_in(desk, "L") == 5.0


def test_a_repeated_beat_zero_is_harmless(desk: Desk) -> None:
    desk.renew("L", 0, 30.0, desk.info())
    started_at = desk.now
    desk.later(10)

    assert desk.renew("L", 0, 30.0, desk.info()) == HELD
    [lease] = desk.run(desk.engine.leases(now=desk.now))
    assert (lease.started_at, lease.expires_in) == (started_at, 30.0)


def test_a_lease_can_be_extended_up_to_its_end(desk: Desk) -> None:
    desk.renew("L", 0, 30.0, desk.info())
    desk.later(30 - 1e-6)

    assert desk.renew("L", 1, 30.0) == HELD


def test_a_lease_that_has_run_out_is_never_revived(desk: Desk) -> None:
    desk.renew("L", 0, 30.0, desk.info())
    desk.later(30)
    before = desk.snapshot()

    assert desk.renew("L", 1, 30.0) == LOST
    assert desk.renew("L", 0, 30.0, desk.info()) == LOST
    assert desk.snapshot() == before


def test_a_rescued_lease_is_lost(desk: Desk) -> None:
    desk.renew("L", 0, 30.0, desk.info())
    desk.later(30)
    desk.rescue()

    assert desk.renew("L", 2, 30.0) == LOST


def test_leases_do_not_touch_each_other(desk: Desk) -> None:
    desk.renew("A", 0, 30.0, desk.info("a"))
    desk.renew("B", 0, 40.0, desk.info("b"))
    desk.later(30)

    assert desk.renew("B", 1, 40.0) == HELD
    assert desk.renew("A", 1, 40.0) == LOST


def test_a_renewal_collects_the_requests_to_cancel_its_own_jobs(desk: Desk) -> None:
    jobs = [desk.add() for _ in range(3)]
    mine, other = desk.worker("mine"), desk.worker("other")
    claims = desk.claim(mine)
    foreign = desk.add()
    desk.claim_one(other, foreign)
    for job in (jobs[0], jobs[2], foreign):
        desk.alter_one(job, Cancel("stop"))

    assert sorted(desk.renew(mine, 1, 30.0).cancels) == [jobs[0], jobs[2]]
    assert sorted(desk.renew(mine, 2, 30.0).cancels) == [jobs[0], jobs[2]]
    assert desk.settle(mine, (claims[0], Completed())) == [Verdict.DONE]
    assert desk.renew(mine, 3, 30.0).cancels == [jobs[2]]


def test_a_renewed_lease_keeps_its_jobs(desk: Desk) -> None:
    job = desk.add()
    desk.renew("L", 0, 30.0, desk.info())
    claimed = desk.claim_one("L", job)
    for beat in range(1, 5):
        desk.later(29)
        assert desk.renew("L", beat, 30.0) == HELD
        assert desk.rescue() == []

    assert desk.settle("L", (claimed, Completed())) == [Verdict.DONE]
