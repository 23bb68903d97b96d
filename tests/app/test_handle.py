"""Handles: waiting for results, and what a job that ended otherwise raises."""

import asyncio
import threading

import pytest

from treadle import (
    GiveUp,
    InvalidDuration,
    JobCancelled,
    JobDead,
    JobExpired,
    JobHandle,
    JobHandles,
    ResultTimeout,
    State,
    UnknownJob,
    WouldBlock,
    new_id,
)
from treadle.testing import adrain, drain


@pytest.fixture
def double(treadle_app):
    def body(number: int) -> int:
        return number * 2

    return treadle_app.task(name="double")(body)


@pytest.fixture
def hopeless(treadle_app):
    def body() -> None:
        raise GiveUp("no stock")

    return treadle_app.task(name="hopeless")(body)


def test_the_result_is_what_the_body_returned(treadle_app, double):
    handle = double.enqueue(4)
    drain(treadle_app)
    assert handle.result() == 8
    assert handle.state() is State.COMPLETED
    assert handle.job().attempt == 1


def test_a_waiter_is_woken_when_the_job_ends(treadle_app, double):
    handle = double.enqueue(4)
    waiting = threading.Event()
    opened = treadle_app.store.waiter

    def waiter(topics):
        assert topics == [f"job:{handle.id}"]
        waiting.set()
        return opened(topics)

    treadle_app.store.waiter = waiter
    found = []
    thread = threading.Thread(target=lambda: found.append(handle.result(timeout=30)))
    thread.start()
    assert waiting.wait(30)
    drain(treadle_app)
    thread.join(30)
    assert found == [8]


def test_whoever_waits_reads_no_details(treadle_app, double, monkeypatch):
    handle = double.enqueue(4)
    engine = treadle_app.store.engine
    asked = []
    find = engine.find

    def remember(where, page):
        asked.append(page.details)
        return find(where, page)

    monkeypatch.setattr(engine, "find", remember)
    with pytest.raises(ResultTimeout):
        handle.result(timeout=0)
    with pytest.raises(ResultTimeout):
        asyncio.run(handle.aresult(timeout=0))
    assert (handle.state(), asyncio.run(handle.astate())) == (State.QUEUED, State.QUEUED)
    drain(treadle_app)
    assert (handle.result(), asyncio.run(handle.aresult())) == (8, 8)
    assert len(asked) == 8
    assert not any(asked)


def test_the_awaitable_twins(treadle_app, double):
    async def body():
        handle = await double.aenqueue(4)
        assert await handle.astate() is State.QUEUED
        waiting = asyncio.create_task(handle.aresult(timeout=30))
        await asyncio.sleep(0)
        await adrain(treadle_app)
        many = await treadle_app.aenqueue_many([double.call(n) for n in range(3)])
        await adrain(treadle_app)
        other = await double.aenqueue(5)
        assert await other.acancel("changed my mind")
        with pytest.raises(JobCancelled, match="changed my mind"):
            await other.aresult()
        return await waiting, await many.aresults(timeout=30)

    assert asyncio.run(body()) == (8, [0, 2, 4])


def test_many_results_at_once(treadle_app, double):
    handles = treadle_app.enqueue_many([double.call(n) for n in range(3)])
    drain(treadle_app)
    assert handles.results(timeout=30) == [0, 2, 4]


def test_many_results_are_read_many_at_a_time(treadle_app, double, monkeypatch):
    handles = treadle_app.enqueue_many([double.call(n) for n in range(1000)])
    drain(treadle_app)
    asked = []
    run = treadle_app.connection.run
    monkeypatch.setattr(type(treadle_app.connection), "run", lambda _, plan: asked.append(plan.name) or run(plan))
    assert handles.results(timeout=30) == [2 * n for n in range(1000)]
    assert len(asked) < 20


def test_the_first_of_many_that_has_no_result_speaks_for_all(treadle_app, double, hopeless):
    done, dead, waiting = treadle_app.enqueue_many([double.call(1), hopeless.call(), double.options(delay="1h").call(2)])
    drain(treadle_app)
    with pytest.raises(JobDead, match=dead.id):
        JobHandles([done, dead, waiting]).results(timeout=30)
    with pytest.raises(ResultTimeout, match=waiting.id):
        JobHandles([done, done, waiting]).results(timeout=0)
    with pytest.raises(UnknownJob):
        JobHandles([done, JobHandle(new_id(), treadle_app.connection, str)]).results(timeout=30)
    assert JobHandles([]).results() == []


def test_many_results_are_waited_for(treadle_app, double):
    handles = treadle_app.enqueue_many([double.call(n) for n in range(50)])

    async def body():
        waiting = asyncio.create_task(handles.aresults(timeout=30))
        await asyncio.sleep(0)
        await adrain(treadle_app)
        return await waiting

    assert asyncio.run(body()) == [2 * n for n in range(50)]


def test_patience_ends_and_the_job_goes_on(treadle_app, double):
    handle = double.enqueue(1)
    with pytest.raises(ResultTimeout, match=handle.id):
        handle.result(timeout=0)
    with pytest.raises(TimeoutError):
        handle.result(timeout="10ms")
    with pytest.raises(ResultTimeout):
        asyncio.run(handle.aresult(timeout=0))
    with pytest.raises(InvalidDuration):
        handle.result(timeout="soon")
    assert handle.state() is State.QUEUED


def test_a_dead_job_says_why(treadle_app, hopeless):
    handle = hopeless.enqueue()
    drain(treadle_app)
    with pytest.raises(JobDead, match=r"is dead \(gave_up: no stock\)$"):
        handle.result()


def test_a_cancelled_job_says_so(double):
    handle = double.enqueue(1)
    assert handle.cancel("not needed")
    assert not handle.cancel()
    with pytest.raises(JobCancelled, match="not needed"):
        handle.result()


def test_an_expired_job_says_so(treadle_app, treadle_clock, double):
    handle = double.options(start_within="1m").enqueue(1)
    treadle_clock.advance("2m")
    assert len(drain(treadle_app)) == 0
    with pytest.raises(JobExpired):
        handle.result()


def test_an_unknown_id_is_never_pending(treadle_app):
    handle = JobHandle(new_id(), treadle_app.connection, str)
    for ask in (handle.result, handle.job, handle.state, handle.cancel):
        with pytest.raises(UnknownJob, match=handle.id):
            ask()


def test_waiting_inside_a_loop_names_the_twin(double, treadle_app):
    async def body():
        handle = await double.aenqueue(1)
        with pytest.raises(WouldBlock, match="aresult"):
            handle.result(timeout=1)
        with pytest.raises(WouldBlock, match="aresults"):
            (await treadle_app.aenqueue_many([double.call(1)])).results()
        with pytest.raises(WouldBlock, match="adrain"):
            drain(treadle_app)

    asyncio.run(body())


def test_handles_are_values(treadle_app):
    one = JobHandle("a", treadle_app.connection, str)
    assert one == JobHandle("a", treadle_app.connection, str)
    assert one != JobHandle("b", treadle_app.connection, str)
    assert len({one, JobHandle("a", treadle_app.connection, str)}) == 1
