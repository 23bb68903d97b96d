"""rescue: the jobs of workers that are gone are taken back by one rule."""

import pytest

from conformance.desk import SECOND, Desk
from treadle.model.filter import Cancel
from treadle.model.job import AttemptRecord, DeadLetter, Rescued, Witness
from treadle.model.outcome import UNSETTLED, Completed, Retrying
from treadle.model.state import State


def test_nothing_to_rescue(desk: Desk) -> None:
    job = desk.add()
    lease = desk.worker(length=30.0)
    desk.claim_one(lease, job)
    desk.later(30 - 1e-6)

    assert desk.rescue() == []
    assert desk.state(job) is State.RUNNING


def test_a_lease_that_ran_out_gives_its_jobs_back(desk: Desk) -> None:
    jobs = [desk.add() for _ in range(2)]
    lease = desk.worker("w7", length=30.0)
    desk.claim(lease)
    claimed_at, now = desk.now, desk.later(30)

    rescued = desk.rescue(delay=2.5)

    assert sorted(rescued) == [Rescued(job, 1, lease, State.RETRYING) for job in jobs]
    for job in jobs:
        stored = desk.job(job)
        assert (stored.state, stored.due_at, stored.lease, stored.worker) == (State.RETRYING, now + 2_500_000, None, None)
        assert (stored.crashes, stored.failures, stored.suspect) == (1, 0, True)
        assert stored.attempts == (AttemptRecord(1, "rescued", "w7", claimed_at, now, 2.5, None, None),)
    assert desk.run(desk.engine.leases(now=desk.now)) == []
    assert desk.rescue() == []


def test_an_empty_lease_that_ran_out_is_removed(desk: Desk) -> None:
    desk.worker(length=30.0)
    alive = desk.worker(length=40.0)
    desk.later(30)

    assert desk.rescue() == []
    assert [lease.id for lease in desk.run(desk.engine.leases(now=desk.now))] == [alive]


def test_a_witnessed_end_needs_no_waiting(desk: Desk) -> None:
    job = desk.add()
    lease, alive = desk.worker("w1"), desk.worker("w2")
    desk.claim_one(lease, job)
    other = desk.add()
    desk.claim_one(alive, other)

    assert desk.rescue(Witness(lease, "signal 9")) == [Rescued(job, 1, lease, State.RETRYING)]

    [record] = desk.job(job).attempts
    assert (record.outcome, record.exit, record.delay) == ("rescued", "signal 9", 1.0)
    assert desk.state(other) is State.RUNNING
    assert [each.id for each in desk.run(desk.engine.leases(now=desk.now))] == [alive]


def test_a_spared_worker_hands_its_jobs_back(desk: Desk) -> None:
    job = desk.add(start_within=60.0)
    lease = desk.worker("w1", length=30.0)
    desk.claim_one(lease, job)
    claimed_at, start_by, now = desk.now, desk.job(job).start_by, desk.later(40)

    assert desk.rescue(Witness(lease, "exit 70", spared=True)) == [Rescued(job, 1, lease, State.QUEUED)]

    stored = desk.job(job)
    assert (stored.state, stored.crashes, stored.releases, stored.suspect) == (State.QUEUED, 0, 1, False)
    assert (stored.lease, stored.worker, stored.start_by) == (None, None, start_by)
    assert stored.attempts == (AttemptRecord(1, "released", "w1", claimed_at, now, None, None, "exit 70"),)
    assert desk.run(desk.engine.leases(now=desk.now)) == []
    assert [each.id for each in desk.claim(desk.worker())] == [job]


def test_a_spared_worker_is_one_of_several(desk: Desk) -> None:
    first, second = desk.worker("w1"), desk.worker("w2")
    jobs = [desk.add()]
    desk.claim_one(first, jobs[0])
    jobs.append(desk.add())
    desk.claim_one(second, jobs[1])

    desk.rescue(Witness(first, "exit 70", spared=True), Witness(second, "signal 9"))

    assert [(desk.job(job).crashes, desk.job(job).releases) for job in jobs] == [(0, 1), (1, 0)]


def test_a_spared_job_stays_a_suspect_if_it_was_one(desk: Desk) -> None:
    job = desk.add()
    crash(desk, job, "signal 9")
    desk.later(1)
    desk.promote()
    lease = desk.worker()
    desk.claim(lease, suspects=1)
    desk.rescue(Witness(lease, "exit 70", spared=True))

    stored = desk.job(job)
    assert (stored.state, stored.crashes, stored.releases, stored.suspect) == (State.QUEUED, 1, 1, True)


def test_a_spared_job_that_may_start_once_is_charged(desk: Desk) -> None:
    job = desk.add(max_crashes=1)
    lease = desk.worker()
    desk.claim_one(lease, job)

    assert desk.rescue(Witness(lease, "exit 70", spared=True)) == [Rescued(job, 1, lease, State.DEAD)]
    assert (desk.job(job).crashes, desk.job(job).releases) == (1, 0)


def test_a_request_to_cancel_ends_a_spared_job(desk: Desk) -> None:
    job = desk.add()
    lease = desk.worker()
    desk.claim_one(lease, job)
    desk.alter_one(job, Cancel("enough"))

    assert desk.rescue(Witness(lease, "exit 70", spared=True)) == [Rescued(job, 1, lease, State.CANCELLED)]
    stored = desk.job(job)
    assert (stored.reason, stored.crashes, stored.releases) == ("enough", 0, 1)


def test_an_unknown_witness_is_passed_by(desk: Desk) -> None:
    before = desk.snapshot()

    assert desk.rescue(Witness("nobody", "signal 9")) == []
    assert desk.snapshot() == before


def test_a_rescued_job_is_claimable_after_its_delay(desk: Desk) -> None:
    job = desk.add()
    lease = desk.worker()
    desk.claim_one(lease, job)
    desk.rescue(Witness(lease, "exit 1"), delay=1.0)
    assert desk.promote().queued == 0
    desk.later(1)
    assert desk.promote().queued == 1

    claimed = desk.claim_one(desk.worker(), job, suspects=1)

    assert (claimed.attempt, claimed.crashes, claimed.failures, claimed.suspect) == (2, 1, 0, True)


def crash(desk: Desk, job: str, exit_seen: str | None) -> Rescued:
    lease = desk.worker(length=5.0)
    desk.claim_one(lease, job, suspects=1)
    if exit_seen is None:
        desk.later(5)
    witnesses = [] if exit_seen is None else [Witness(lease, exit_seen)]
    [rescued] = desk.rescue(*witnesses, delay=1.0)
    desk.later(1)
    desk.promote()
    return rescued


def test_the_third_crash_is_a_death_by_default(desk: Desk) -> None:
    job = desk.add()

    assert [crash(desk, job, "signal 9").state for _ in range(2)] == [State.RETRYING] * 2
    last = crash(desk, job, "signal 11")

    assert (last.attempt, last.state) == (3, State.DEAD)
    dead = desk.job(job)
    assert (dead.state, dead.crashes, dead.reason, dead.suspect) == (State.DEAD, 3, "signal 11", False)
    assert dead.dead == DeadLetter("worker_lost", "signal 11", "", "open", desk.now - SECOND, None, None, None)
    assert [(record.outcome, record.exit, record.delay) for record in dead.attempts] == [
        ("rescued", "signal 9", 1.0),
        ("rescued", "signal 9", 1.0),
        ("rescued", "signal 11", None),
    ]


@pytest.mark.parametrize("exit_seen", [None, ""])
def test_a_budget_of_one_dies_at_the_first_crash(desk: Desk, exit_seen: str | None) -> None:
    job = desk.add(max_crashes=1)

    assert crash(desk, job, exit_seen).state is State.DEAD
    dead = desk.job(job)
    assert (dead.reason, dead.attempts[0].exit) == (UNSETTLED, exit_seen)


def test_failures_and_crashes_are_counted_apart(desk: Desk) -> None:
    job = desk.add(max_crashes=2)
    desk.run_once(job, Retrying(1.0, "{}"))
    desk.later(1)
    desk.promote()
    desk.run_once(job, Retrying(1.0, "{}"))
    desk.later(1)
    desk.promote()

    assert crash(desk, job, "signal 9").state is State.RETRYING
    stored = desk.job(job)
    assert (stored.failures, stored.crashes, stored.attempt) == (2, 1, 3)


def test_a_request_to_cancel_ends_a_rescued_job(desk: Desk) -> None:
    job = desk.add(max_crashes=1)
    lease = desk.worker()
    desk.claim_one(lease, job)
    desk.alter_one(job, Cancel("enough"))

    assert desk.rescue(Witness(lease, "signal 9")) == [Rescued(job, 1, lease, State.CANCELLED)]

    stored = desk.job(job)
    assert (stored.state, stored.reason, stored.crashes, stored.dead) == (State.CANCELLED, "enough", 1, None)
    assert (stored.cancel_requested, stored.finished_at) == (False, desk.now)
    assert [(record.outcome, record.exit, record.delay) for record in stored.attempts] == [("rescued", "signal 9", None)]


def test_a_rescued_job_loses_its_start_by_deadline(desk: Desk) -> None:
    job = desk.add(start_within=60.0)
    lease = desk.worker()
    desk.claim_one(lease, job)
    desk.rescue(Witness(lease, "signal 9"))

    assert desk.job(job).start_by is None


def test_what_was_settled_in_time_is_not_taken_back(desk: Desk) -> None:
    jobs = [desk.add() for _ in range(2)]
    lease = desk.worker(length=30.0)
    first, _ = desk.claim(lease)
    desk.finish(lease, first, Completed())
    desk.later(30)

    assert [rescued.id for rescued in desk.rescue()] == [jobs[1]]
    assert desk.states(*jobs) == [State.COMPLETED, State.RETRYING]


def test_several_leases_at_once(desk: Desk) -> None:
    leases = [desk.worker(f"w{n}", length=30.0) for n in range(3)]
    jobs = []
    for lease in leases:
        jobs.append(desk.add())
        desk.claim_one(lease, jobs[-1])
    desk.renew(leases[2], 1, 60.0)
    desk.later(30)

    rescued = desk.rescue(Witness(leases[0], "signal 9"))

    assert {(each.id, each.lease) for each in rescued} == set(zip(jobs[:2], leases[:2], strict=True))
    assert [desk.job(job).attempts[0].exit for job in jobs[:2]] == ["signal 9", None]
    assert desk.state(jobs[2]) is State.RUNNING
