"""The server is lost for good and a replica that lagged takes its place: what only the lost one knew is gone, and no more."""

from pathlib import Path

from conformance.desk import Desk
from faults.calls import all_claimed, claimed, declared, lease_of
from faults.site import Site
from faults.waiting import until
from servers.ground import Ground, Server
from treadle import Treadle
from treadle.model.filter import Filter, Order, Page
from treadle.model.outcome import Completed, Settlement, Verdict
from treadle.model.state import State


def lagging(ground: Ground, replica: Server) -> None:
    """From now on nothing reaches the replica; all before has."""
    until(lambda: ground.server.shipped(replica), "the replica has everything")
    assert ground.link is not None
    ground.link.freeze()


def states(app: Treadle) -> dict[str, State]:
    engine = app.connection.engine
    return {job.id: job.state for job in app.connection.run(engine.find(Filter(), Page(limit=1000, order=Order.OLDEST)))}


def test_a_replica_that_was_cut_off_is_not_taken_for_one_that_has_everything(ground: Ground) -> None:
    """Slow (5 s): a copy of the server is made for it."""
    replica = ground.replica()
    app = Treadle(ground.url(timeout=5))
    keep = declared(app)
    try:
        keep.enqueue("early")
        lagging(ground, replica)
        keep.enqueue("late")
        assert not ground.server.shipped(replica)
    finally:
        app.close()


def test_what_is_lost_is_the_lag_and_no_fence_of_before_opens_anything_after(ground: Ground) -> None:
    """Slow (5 s): a copy of the server is made for it."""
    replica = ground.replica()
    app = Treadle(ground.url(timeout=5))
    keep = declared(app)
    try:
        run, engine, lease = app.connection.run, app.connection.engine, lease_of(app)
        early = [job.id for job in app.enqueue_many([keep.call("early") for _ in range(20)])]
        first = claimed(app, lease, 5)
        run(engine.settle(lease, [Settlement(each.ref, each.id, 1, Completed("1"), 0.1) for each in first]))
        lagging(ground, replica)
        late = [job.id for job in app.enqueue_many([keep.call("late") for _ in range(10)])]
        second = claimed(app, lease, 5)
        other = "lease-of-the-lag"
        run(engine.renew(other, 0, 600.0, worker=Desk.info()))
        third = claimed(app, other, 5)
        assert [len(first), len(second), len(third)] == [5, 5, 5]

        ground.fail_over(replica)

        left = states(app)
        lost = {*early, *late} - set(left)
        print(f"lost {len(lost)} of {len(early) + len(late)} acknowledged jobs; {len(late)} were stored in the lag")
        assert lost == set(late)
        assert [left[each.id] for each in first] == [State.COMPLETED] * 5
        assert [left[each.id] for each in (*second, *third)] == [State.QUEUED] * 10
        third_told = [Settlement(each.ref, each.id, each.attempt, Completed("1"), 0.1) for each in third]
        assert run(engine.settle(other, third_told)) == [Verdict.LOST] * 5

        fresh = "lease-of-afterwards"
        run(engine.renew(fresh, 0, 600.0, worker=Desk.info()))
        again = all_claimed(app, fresh, 15)
        assert {each.id for each in again} == set(early) - {each.id for each in first}
        before = {(each.id, each.attempt, lease) for each in second} | {(each.id, each.attempt, other) for each in third}
        assert not before & {(each.id, each.attempt, fresh) for each in again}
        stale = [Settlement(each.ref, each.id, each.attempt, Completed("1"), 0.1) for each in second]
        assert run(engine.settle(lease, stale)) == [Verdict.LOST] * 5
        told = [Settlement(each.ref, each.id, each.attempt, Completed("1"), 0.1) for each in again]
        assert run(engine.settle(fresh, told)) == [Verdict.DONE] * 15
    finally:
        app.close()


def test_a_body_whose_claim_was_lost_with_its_server_is_claimed_again_and_not_started_again(
    ground: Ground, tmp_path: Path
) -> None:
    """Slow (10 s): a copy of the server and a worker are made for it."""
    replica = ground.replica()
    site = Site(tmp_path, ground.url(timeout=2), ground.url(timeout=5))
    try:
        crew = site.crew(lease=600.0)
        worker, client = site.worker(crew), site.jobs.app.client
        client.pause("default")
        job = site.jobs.hold_async.enqueue("gate").id
        lagging(ground, replica)
        client.resume("default")
        site.started(job)

        ground.fail_over(replica)

        assert site.job(job).state is State.QUEUED
        client.resume("default")
        site.until(lambda: site.job(job).state is State.RUNNING, "the job is claimed again")
        site.open("gate")
        site.finished(job)
        assert site.worker(crew).pid == worker.pid
        assert [line["attempt"] for line in site.bodies("start", job)] == [1]
        assert site.job(job).state is State.COMPLETED
    finally:
        site.close()
