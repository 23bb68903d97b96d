"""The store is away for longer than a lease: workers stop what they run, nobody is blamed, and it runs again afterwards."""

from chaos.fleet import alive
from faults.site import Site
from servers.ground import Ground
from treadle.model.state import State

LEASE = 2.0


def said(text: str, words: str) -> int:
    """How many lines of a log hold these words."""
    return sum(words in line for line in text.splitlines())


def test_an_outage_longer_than_the_lease_charges_nobody(ground: Ground, far_site: Site) -> None:
    """Beside the worker that loses its lease is one that keeps its own, and finds that of the other run out."""
    crew = far_site.crew(lease=LEASE)
    worker, jobs = far_site.worker(crew), far_site.jobs
    held = [jobs.hold_async.enqueue("gate").id, jobs.hold_thread.enqueue("gate").id, jobs.hold_process.enqueue("gate").id]
    for job in held:
        far_site.started(job)
    lasting = far_site.crew(lease=600.0)
    ground.kill()
    far_site.until(lambda: not alive(worker), "the worker stops, since it cannot keep its lease")
    ground.start()
    far_site.open("gate")
    far_site.open("gate-2")

    for job in far_site.finished(*held):
        assert (job.state, job.crashes, job.releases, job.suspect) == (State.COMPLETED, 0, 1, False), far_site.logs()
        assert [(each.outcome, each.exit) for each in job.attempts] == [("released", "exit 70")]
    log = crew.log.read_text()
    assert "Traceback" not in log, log
    assert said(log, "its jobs go back unharmed") == 1, log
    # The worker process and its supervisor, each once.
    assert 1 <= said(log, " is away: ") <= 2, log
    far_site.until(lambda: said(lasting.log.read_text(), "the store is back after ") == 1, "who outlived it says so")
    assert "Traceback" not in lasting.log.read_text()


def test_a_worker_killed_during_an_outage_is_charged(ground: Ground, far_site: Site) -> None:
    crew = far_site.crew(lease=20.0)  # with a shorter one a worker on a busy machine stopped by itself before it was killed
    worker = far_site.worker(crew)
    held = far_site.jobs.hold_async.enqueue("gate").id
    far_site.started(held)
    ground.kill()
    far_site.until(lambda: said(crew.log.read_text(), " is away: "), "the outage is noticed")
    worker.kill()
    ground.start()
    far_site.open("gate")

    [job] = far_site.finished(held)
    assert (job.state, job.crashes, job.releases) == (State.COMPLETED, 1, 0), far_site.logs()
