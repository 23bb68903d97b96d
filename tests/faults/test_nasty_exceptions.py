"""Exceptions that resist being written down, raised in each of the three places: the worker stays up, the story is told."""

import json

from faults.nasty import NASTY
from faults.site import Site
from treadle import State

CAP = 100_000
"""Characters that one error may take in the store, whatever was raised."""


def test_no_exception_harms_a_worker(site: Site) -> None:
    from chaos.tasks import forge

    crew = site.crew()
    worker = site.worker(crew)
    site.finished(forge.enqueue(0.0).id)
    children = {each.pid for each in crew.children(worker)}
    assert children
    jobs = site.jobs
    calls = [task.call(name) for name in NASTY for task in (jobs.nasty_async, jobs.nasty_thread, jobs.nasty_process)]
    ids = site.jobs.app.enqueue_many(calls).ids
    for job in site.finished(*ids):
        where = f"{job.task} {job.args}"
        assert job.state is State.DEAD, where
        assert job.dead is not None
        assert (job.dead.cause, job.failures, job.crashes) in (("failed", 1, 0), ("gave_up", 1, 0)), where
        (last,) = job.attempts
        assert last.outcome == "died", where
        assert last.error is not None, where
        assert len(last.error) < CAP, where
        assert json.loads(last.error)["error"], where
        assert job.dead.reason, where
    assert site.jobs.well.enqueue().result(timeout=60) == "well"
    assert site.worker(crew).pid == worker.pid
    assert children <= {each.pid for each in crew.children(worker)}, "the children live on as well"
