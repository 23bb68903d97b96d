"""Bodies that stand in the way: a thread that never ends, a loop that is blocked."""

from faults.site import Site
from treadle import State


def test_an_endless_thread_is_flagged_and_its_process_replaced(site: Site) -> None:
    crew = site.crew(grace=1.0, kill_grace=0.5)
    worker = site.worker(crew).pid
    job = site.jobs.endless_thread.enqueue()
    (dead,) = site.finished(job.id)
    assert dead.dead is not None
    assert (dead.state, dead.dead.cause, dead.crashes, dead.failures) == (State.DEAD, "timed_out", 0, 1)
    assert dead.notes == {"stuck": "true"}
    site.until(lambda: worker not in {each.pid for each in crew.workers(site.account)}, "the worker is replaced")
    assert site.jobs.well.enqueue().result(timeout=60) == "well"


def test_a_loop_blocked_for_three_leases_keeps_its_lease(site: Site) -> None:
    crew = site.crew(lease=1.0)
    worker = site.worker(crew).pid
    # Somebody else is there to take the jobs, if the lease should run out.
    site.crew(lease=1.0)
    job = site.jobs.block.enqueue(3.0)
    (ended,) = site.finished(job.id)
    assert (ended.state, ended.attempt, ended.crashes, ended.attempts) == (State.COMPLETED, 1, 0, ())
    assert len(site.bodies("start", job.id)) == 1
    logs = site.logs()
    assert f"it executes job {job.id}" in logs, "the job that blocks the loop is named"
    assert "lost" not in logs
    assert worker in {each.pid for each in crew.workers(site.account)}


def test_a_loop_blocked_too_long_costs_the_culprit_and_the_process_and_nobody_else(site: Site) -> None:
    crew = site.crew(lease=1.0, loop_stall=1.5, blocked_after=0.5)
    worker = site.worker(crew).pid
    beside = site.jobs.hold_async.enqueue("gate")
    site.started(beside.id)
    culprit = site.jobs.block_once.enqueue(600.0)
    (again,) = site.finished(culprit.id)
    assert (again.state, again.attempt, again.crashes) == (State.COMPLETED, 2, 1)
    assert [(each.outcome, each.exit) for each in again.attempts] == [("crashed", "the event loop stood still")]
    site.open("gate")
    (other,) = site.finished(beside.id)
    assert (other.state, other.crashes, other.releases) == (State.COMPLETED, 0, 1)
    assert worker not in {each.pid for each in crew.workers(site.account)}
    assert "stood still" in site.logs()
