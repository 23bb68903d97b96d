"""A worker that sleeps beyond its lease loses its jobs, and what it says when it wakes is refused."""

import json
import signal

from chaos.fleet import strike
from faults.conftest import Site
from treadle import State


def test_the_result_of_a_worker_that_overslept_is_refused(site: Site) -> None:
    sleeper = site.crew(lease=1.0)
    job = site.jobs.hold_thread.enqueue("gate")
    site.started(job.id)
    worker = site.worker(sleeper)
    site.crew(lease=1.0)
    strike(worker, signal.SIGSTOP)
    second = site.started(job.id, attempt=2)
    assert second["worker"] != worker.pid
    # The body of the first attempt may end now: its end is the first thing that the woken worker has to tell.
    site.open("gate-1")
    strike(worker, signal.SIGCONT)
    site.until(lambda: site.bodies("end", job.id), "the body of the first attempt ends")
    assert sleeper_replaced(site, worker.pid)
    now = site.job(job.id)
    assert (now.state, now.attempt, now.result) == (State.RUNNING, 2, None)
    site.open("gate-2")
    (ended,) = site.finished(job.id)
    assert json.loads(ended.result or "null")["attempt"] == 2
    assert [(each.attempt, each.outcome) for each in ended.attempts] == [(1, "rescued")]
    assert {line["attempt"] for line in site.bodies("end", job.id)} == {1, 2}


def sleeper_replaced(site: Site, pid: int) -> bool:
    """Wait until the woken worker has left and another holds a lease in its place."""
    crew = site.crews[0]
    return bool(site.until(lambda: [each for each in crew.workers(site.account) if each.pid != pid], "the sleeper is replaced"))


def test_an_async_body_is_cancelled_when_its_worker_wakes_without_a_lease(site: Site) -> None:
    sleeper = site.crew(lease=1.0)
    job = site.jobs.hold_async.enqueue("gate")
    site.started(job.id)
    worker = site.worker(sleeper)
    site.crew(lease=1.0)
    strike(worker, signal.SIGSTOP)
    site.started(job.id, attempt=2)
    strike(worker, signal.SIGCONT)
    broke = site.until(lambda: site.bodies("broke", job.id), "the body of the first attempt is cancelled")
    assert [line["attempt"] for line in broke] == [1]
    site.open("gate")
    (ended,) = site.finished(job.id)
    assert (ended.state, ended.attempt) == (State.COMPLETED, 2)
