"""The server dies, stops answering, hangs up or is full of others: calls end in time, and everything goes on afterwards."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from conformance.desk import Desk
from faults.calls import declared, stored
from faults.site import Site
from faults.waiting import until
from servers.ground import Ground
from treadle import StoreError, Treadle
from treadle.model.filter import Axis, Filter, Order, Page
from treadle.model.job import Want
from treadle.model.outcome import Completed, Settlement, Verdict
from treadle.model.state import State


def acknowledged(store: Callable[[], Any], enough: Callable[[], bool]) -> list[str]:
    """Store one job after another until it is enough, each until it is acknowledged; the ids of those that were."""
    found: list[str] = []
    while not enough():
        call = store()
        while not enough():
            try:
                found.append(call.enqueue().id)
                break
            except StoreError:
                continue
    return found


def test_what_was_acknowledged_under_load_survives_two_deaths_of_the_server(ground: Ground, app: Treadle) -> None:
    keep = declared(app)
    keep.enqueue("before")
    told: list[str] = []
    over = threading.Event()

    def produce() -> None:
        told.extend(acknowledged(lambda: keep.call("load"), over.is_set))

    with ThreadPoolExecutor(4) as threads:
        runs = [threads.submit(produce) for _ in range(4)]
        counted = 0
        for _ in range(2):
            counted = until(lambda: stored(app) > counted + 20 and stored(app), "producers are at work")  # noqa: B023
            ground.kill()
            ground.start()
        until(lambda: stored(app) > counted + 20, "producers are at work again")
        over.set()
        for run in runs:
            run.result(60)
    found = app.connection.run(app.connection.engine.find(Filter(), Page(limit=100_000, order=Order.OLDEST)))
    assert not set(told) - {job.id for job in found}
    assert len(told) > 40


def test_a_frozen_network_ends_every_call_and_afterwards_they_work(ground: Ground, app: Treadle) -> None:
    keep = declared(app)
    keep.enqueue("before")
    engine = app.connection.engine

    async def both() -> list[Any]:
        asked = [keep.aenqueue("waits"), app.connection.arun(engine.renew("nobody", 1, 1.0))]
        return await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 30)

    ground.proxy.freeze()
    with pytest.raises(StoreError, match=r"no answer"):
        keep.enqueue("waits")
    answers = asyncio.run(both())
    assert all(isinstance(answer, StoreError) for answer in answers), answers
    ground.proxy.pass_()
    keep.enqueue("after")
    # What was given up may still arrive, and is stored then: unknown is unknown.
    assert 2 <= stored(app) <= 4


def test_nobody_in_is_a_store_that_cannot_be_opened(ground: Ground) -> None:
    ground.proxy.refuse()
    late = Treadle(ground.url(timeout=2))
    keep = declared(late)
    try:
        with pytest.raises(StoreError, match=r"127\.0\.0\.1") as caught:
            keep.enqueue("nobody is in")
        assert "?." not in str(caught.value)
        ground.proxy.pass_()
        keep.enqueue("somebody is")
        assert stored(late) == 1
    finally:
        late.close()


def test_a_server_that_hangs_up_on_everybody_is_called_again(ground: Ground, app: Treadle) -> None:
    keep = declared(app)

    async def awaited() -> None:
        await keep.aenqueue("awaited")
        ground.server.hang_up()
        await keep.aenqueue("awaited again")

    keep.enqueue("before")
    ground.server.hang_up()
    keep.enqueue("after")
    asyncio.run(awaited())
    assert stored(app) == 4


def at_request(number: int, happens: Callable[[], object] = lambda: True) -> Callable[[bytes], bool]:
    """For a proxy: something happens at so-manieth request from now, and its reply is lost if that says so."""
    counted = iter(range(1, number + 1))
    return lambda _: next(counted, 0) == number and happens() is True


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_a_connection_that_breaks_while_it_is_made_ready_is_made_again(ground: Ground, number: int) -> None:
    ground.proxy.lose_reply(at_request(number))
    late = Treadle(ground.url(timeout=5))
    try:
        until(lambda: answered(late), "the store is open")
    finally:
        late.close()


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_a_connection_that_freezes_while_it_is_made_ready_is_given_up(ground: Ground, number: int) -> None:
    ground.proxy.lose_reply(at_request(number, ground.proxy.freeze))
    late = Treadle(ground.url(timeout=1))
    calls = threading.Thread(target=lambda: answered(late), daemon=True)
    try:
        calls.start()
        calls.join(30)
        assert not calls.is_alive(), "a call hangs"
        ground.proxy.pass_()
        until(lambda: answered(late), "the store is open")
    finally:
        late.close()


def answered(app: Treadle) -> bool:
    """Whether the store answers; the only other way to end is one of its own errors."""
    try:
        app.connection.run(app.connection.engine.renew("nobody", 1, 1.0))
    except StoreError:
        return False
    return True


@contextmanager
def crowded(ground: Ground) -> Iterator[None]:
    """Every connection that the server gives is taken by somebody else."""
    others = ground.server.crowd()
    try:
        yield
    finally:
        for each in others:
            each.close()


def test_a_server_full_of_others_refuses_in_time_and_heals(ground: Ground, app: Treadle) -> None:
    keep = declared(app)
    keep.enqueue("before")
    late = Treadle(ground.url(timeout=2))
    try:
        with crowded(ground):
            keep.enqueue("those who are in stay in")
            with pytest.raises(StoreError):
                late.connection.run(late.connection.engine.leases())
        until(lambda: stored(late) == 2, "there is room again")
    finally:
        late.close()


def test_a_hundred_calls_at_once_share_what_connections_there_are(ground: Ground, app: Treadle) -> None:
    keep = declared(app)

    async def all_of_them() -> None:
        await asyncio.gather(*(keep.aenqueue("one of many") for _ in range(100)))

    asyncio.run(all_of_them())
    with ThreadPoolExecutor(30) as threads:
        list(threads.map(lambda _: keep.enqueue("one of many"), range(100)))
    assert stored(app) == 200


def test_ten_workers_at_once_claim_each_job_once(ground: Ground, app: Treadle) -> None:
    keep = declared(app)
    wanted = [job.id for job in app.enqueue_many([keep.call("work") for _ in range(1000)])]
    engine = app.connection.engine

    def work(number: int) -> list[str]:
        lease, session, mine = f"lease-{number}", app.store.session(), []
        try:
            session.run(engine.renew(lease, 0, 600.0, worker=Desk.info()))
            while jobs := session.run(engine.claim(lease, [Want("default", 7, 7)], ["keep"])).jobs:
                told = [Settlement(each.ref, each.id, each.attempt, Completed("1"), 0.1) for each in jobs]
                assert set(session.run(engine.settle(lease, told))) == {Verdict.DONE}
                mine += [each.id for each in jobs]
        finally:
            session.close()
        return mine

    with ThreadPoolExecutor(10) as threads:
        done = [job for mine in threads.map(work, range(10)) for job in mine]
    assert sorted(done) == sorted(wanted)
    counted = app.connection.run(engine.count(Filter(), (Axis.STATE,)))
    assert [(each.key, each.count) for each in counted] == [((State.COMPLETED,), 1000)]


def test_a_worker_outlives_a_frozen_network_and_loses_no_job(ground: Ground, far_site: Site) -> None:
    """Slow (up to 10 s): a call needs two seconds to be given up, and the freeze must outlast it.

    The claim that was under way arrives afterwards, when nobody waits for its answer. The lease outlasts the test: nobody
    but the worker itself can free what that claim took.
    """
    crew = far_site.crew(lease=600.0)
    worker = far_site.worker(crew)
    first = far_site.jobs.hold_async.enqueue("gate")
    far_site.started(first.id)
    ground.proxy.freeze()
    jobs = [first.id, *(job.id for job in far_site.jobs.app.enqueue_many([far_site.jobs.well.call() for _ in range(20)]))]
    far_site.until(lambda: crew.log.read_text().count(" is away: ") >= 1, "a claim was given up")
    ground.proxy.pass_()
    far_site.open("gate")
    far_site.finished(*jobs)
    assert far_site.worker(crew).pid == worker.pid
    assert far_site.job(first.id).attempt == 1


def makes_a_claim_final(data: bytes) -> bool:
    """Whether a claim stands once this request was carried out: it names every task that the worker knows, or commits."""
    return (b"hold_thread" in data and b"BEGIN" not in data) or b"COMMIT" in data


def test_a_worker_whose_claims_are_not_answered_runs_what_they_took(ground: Ground, far_site: Site) -> None:
    """Its lease outlasts the test, as above."""
    crew = far_site.crew(lease=600.0)
    worker, app, before = far_site.worker(crew), far_site.jobs.app, ground.proxy.lost_replies
    app.client.pause("default")
    jobs = [job.id for job in app.enqueue_many([far_site.jobs.well.call() for _ in range(50)])]
    ground.proxy.lose_reply(makes_a_claim_final, times=5)
    app.client.resume("default")
    far_site.finished(*jobs)
    assert ground.proxy.lost_replies > before
    assert far_site.worker(crew).pid == worker.pid
