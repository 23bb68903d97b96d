"""Children of the process executor that die, are killed, or will not end: exactly the job they execute pays."""

import signal

import psutil

from chaos.fleet import strike
from faults.site import Site
from treadle import State


def test_a_child_killed_in_mid_job_charges_exactly_that_job(site: Site) -> None:
    crew = site.crew()
    held = site.jobs.hold_process.enqueue("killed")
    others = [
        site.jobs.hold_async.enqueue("gate"),
        site.jobs.hold_thread.enqueue("gate"),
        site.jobs.hold_process.enqueue("gate"),
    ]
    start = site.started(held.id)
    for other in others:
        site.started(other.id)
    assert start["worker"] == site.worker(crew).pid
    strike(psutil.Process(start["pid"]), signal.SIGKILL)
    site.open("killed-2")
    (again,) = site.finished(held.id)
    assert (again.state, again.attempt, again.crashes, again.failures) == (State.COMPLETED, 2, 1, 0)
    assert [(each.outcome, each.exit) for each in again.attempts] == [("crashed", "signal 9")]
    site.open("gate")
    site.open("gate-1")
    for job in site.finished(*(other.id for other in others)):
        assert (job.state, job.attempt, job.crashes) == (State.COMPLETED, 1, 0)
    assert site.worker(crew).pid == start["worker"], "the worker itself lives on"


def test_a_job_that_kills_its_child_every_time_dies_alone(site: Site) -> None:
    from chaos.tasks import forge

    crew = site.crew()
    worker = site.worker(crew).pid
    killer = site.jobs.kill_child.enqueue()
    others = site.jobs.app.enqueue_many([forge.call(0.01) for _ in range(40)])
    (dead,) = site.finished(killer.id)
    assert dead.state is State.DEAD
    assert dead.dead is not None
    assert (dead.dead.cause, dead.crashes, dead.failures) == ("worker_lost", 3, 0)
    assert [(each.outcome, each.exit) for each in dead.attempts] == [("crashed", "signal 9")] * 3
    assert len(site.bodies("start", killer.id)) == 3
    for job in site.finished(*others.ids):
        assert (job.state, job.attempt, job.crashes) == (State.COMPLETED, 1, 0)
    assert site.worker(crew).pid == worker


def test_an_endless_loop_in_a_child_is_killed_at_its_timeout(site: Site) -> None:
    crew = site.crew(kill_grace=0.5)
    worker = site.worker(crew).pid
    job = site.jobs.endless_process.enqueue()
    start = site.started(job.id)
    (dead,) = site.finished(job.id)
    assert dead.dead is not None
    assert (dead.state, dead.dead.cause, dead.crashes, dead.failures) == (State.DEAD, "timed_out", 0, 1)
    site.until(lambda: not psutil.pid_exists(start["pid"]), "the child is gone")
    assert site.jobs.well.enqueue().result(timeout=60) == "well"
    assert site.worker(crew).pid == worker
