"""A worker that sleeps beyond its lease loses its jobs, and what it says when it wakes is refused."""

import json
import signal

from chaos.fleet import strike
from faults.freezing import freeze
from faults.site import Site
from treadle import State


def test_the_results_of_a_worker_that_overslept_are_refused(site: Site) -> None:
    sleeper = site.crew(lease=1.0)
    jobs = [task.enqueue("gate").id for task in (site.jobs.hold_thread, site.jobs.hold_process) for _ in range(2)]
    for job in jobs:
        site.started(job)
    worker = site.worker(sleeper)
    site.crew(lease=1.0)
    freeze(worker, site.jobs.app)
    site.until(lambda: all(site.job(job).crashes for job in jobs), "all jobs are taken back")
    # The bodies in children end while their worker sleeps, those in threads the moment it wakes: it has much to tell then.
    site.open("gate-1")
    site.until(lambda: len(site.bodies("end")) == 2, "the bodies in children end")
    strike(worker, signal.SIGCONT)
    site.until(lambda: len(site.bodies("end")) == 4, "the bodies in threads end")
    site.until(lambda: not worker.is_running(), "the sleeper has left")
    for job in (site.job(each) for each in jobs):
        assert (job.state.final, job.result) == (False, None)
    site.open("gate-2")
    for job in site.finished(*jobs):
        assert (job.state, json.loads(job.result or "null")["attempt"]) == (State.COMPLETED, 2)
        assert [(each.attempt, each.outcome) for each in job.attempts] == [(1, "rescued")]
        assert [line["attempt"] for line in site.bodies("end", job.id)] == [1, 2]


def test_an_async_body_is_cancelled_when_its_worker_wakes_without_a_lease(site: Site) -> None:
    sleeper = site.crew(lease=1.0)
    job = site.jobs.hold_async.enqueue("gate")
    site.started(job.id)
    worker = site.worker(sleeper)
    site.crew(lease=1.0)
    freeze(worker, site.jobs.app)
    site.started(job.id, attempt=2)
    strike(worker, signal.SIGCONT)
    broke = site.until(lambda: site.bodies("broke", job.id), "the body of the first attempt is cancelled")
    assert [line["attempt"] for line in broke] == [1]
    site.open("gate")
    (ended,) = site.finished(job.id)
    assert (ended.state, ended.attempt) == (State.COMPLETED, 2)
