"""SIGTERM under load: jobs finish or are handed back without a charge, and nothing is lost."""

import signal

from faults.site import Site
from treadle import State

JOBS = 300
ROUND = 40
"""Jobs that end before the next signal."""


def load(site: Site) -> list[str]:
    """Many short jobs of all three kinds."""
    from chaos.tasks import forge, haul, hop

    calls = [task.call(0.1) for _ in range(JOBS // 3) for task in (hop, haul, forge)]
    return site.jobs.app.enqueue_many(calls).ids


def test_a_rolling_restart_under_load_loses_nothing_and_charges_nobody(site: Site) -> None:
    crew = site.crew(processes=2)
    ids = load(site)
    for _ in range(2):
        before = len(site.bodies("end"))
        site.until(lambda before=before: len(site.bodies("end")) > before + ROUND, "some jobs have ended")
        crew.signal(signal.SIGTERM)
        assert crew.wait(60) == 0
        counts = site.account.counts()
        assert counts.get("running", 0) == 0
        assert counts["queued"] > 0, "it was stopped in the middle of the work"
        crew.start()
        site.worker(crew)
    site.drained()
    jobs = list(site.account.jobs())
    assert sorted(job.id for job in jobs) == sorted(ids)
    assert {job.state for job in jobs} == {State.COMPLETED}
    assert sum(job.crashes + job.failures for job in jobs) == 0
    starts = [(line["job"], line["attempt"]) for line in site.bodies("start")]
    handed_back = {(job.id, each.attempt) for job in jobs for each in job.attempts if each.outcome == "released"}
    assert len(set(starts)) == len(starts)
    assert {(line["job"], line["attempt"]) for line in site.bodies("end")} == set(starts) - handed_back


def test_what_does_not_finish_within_the_grace_is_handed_back_uncharged(site: Site) -> None:
    crew = site.crew(grace=0.5, kill_grace=0.5)
    held = [task.enqueue("gate").id for task in (site.jobs.hold_async, site.jobs.hold_process)]
    held.append(site.jobs.hold_thread.enqueue("gate").id)
    for job in held:
        site.started(job)
    crew.signal(signal.SIGTERM)
    assert crew.wait(60) == 0
    for job in (site.job(each) for each in held):
        assert (job.state, job.attempt, job.releases) == (State.QUEUED, 1, 1)
        assert (job.failures, job.crashes) == (0, 0)
        assert [each.outcome for each in job.attempts] == ["released"]
    site.open("gate")
    site.open("gate-2")
    crew.start()
    assert {job.state for job in site.finished(*held)} == {State.COMPLETED}


def test_the_second_signal_hands_back_at_once(site: Site) -> None:
    crew = site.crew(grace=600.0, kill_grace=0.5)
    held = [task.enqueue("gate").id for task in (site.jobs.hold_async, site.jobs.hold_process, site.jobs.hold_thread)]
    for job in held:
        site.started(job)
    crew.signal(signal.SIGTERM)
    site.until(lambda: "stopping" in crew.log.read_text(), "the first signal is heard")

    def heard_again() -> bool:
        # What follows within a moment of the first signal belongs to it.
        crew.signal(signal.SIGTERM)
        return "asked again" in crew.log.read_text()

    site.until(heard_again, "the second signal is heard")
    assert crew.wait(60) == 128 + signal.SIGTERM
    for job in (site.job(each) for each in held):
        assert (job.state, job.failures, job.crashes, job.releases) == (State.QUEUED, 0, 0, 1)


def test_a_worker_that_is_asked_to_stop_claims_nothing_more(site: Site) -> None:
    crew = site.crew()
    first = site.jobs.hold_async.enqueue("gate")
    site.started(first.id)
    crew.signal(signal.SIGTERM)
    site.until(lambda: "no more claims" in crew.log.read_text(), "the signal is heard")
    second = site.jobs.well.enqueue()
    site.open("gate")
    assert crew.wait(60) == 0
    assert first.state() is State.COMPLETED
    assert second.state() is State.QUEUED
