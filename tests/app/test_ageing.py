"""Waiting jobs that gain priority: by age, and because an urgent job waits for them."""

import asyncio

import pytest

from treadle import InvalidOption
from treadle.app.ageing import MANY, age_queues
from treadle.model.filter import Filter, Page, Prioritise
from treadle.model.record import Space
from treadle.testing import VirtualClock, on_memory


@pytest.fixture
def clock():
    return VirtualClock()


@pytest.fixture
def app(treadle_app, clock):
    with on_memory(treadle_app, clock):
        yield treadle_app


@pytest.fixture
def work(app):
    @app.task(name="work")
    def work(number: int) -> int:
        return number

    return work


def turn(app):
    return app.connection.run(age_queues(app.connection.engine, app.store.this_moment()))


def priorities(app, *jobs):
    return [each.job().priority for each in jobs]


def test_a_queue_without_an_age_is_left_alone(app, work, clock):
    job = work.enqueue(1)
    clock.advance(10_000)
    assert turn(app).gained == {}
    assert priorities(app, job) == [0]
    assert app.connection.run(app.connection.engine.read(Space.AGED)) == []


def test_a_job_gains_ten_each_time_that_the_age_has_passed(app, work, clock):
    app.client.describe("default", age="10m")
    urgent = work.options(priority=95).enqueue(0)
    old, waits = work.enqueue(1), work.options(delay="1h").enqueue(2)
    clock.advance(601)
    new = work.enqueue(3)
    assert turn(app).gained == {"default": 2}
    assert priorities(app, urgent, old, new, waits) == [100, 10, 0, 0]
    clock.advance(599)
    assert turn(app).gained == {}
    clock.advance(2)
    assert turn(app).gained == {"default": 2}
    assert priorities(app, urgent, old, new, waits) == [100, 20, 10, 0]
    assert turn(app).gained == {}


def test_of_many_a_bounded_number_gains_in_one_turn_oldest_first(app, work, clock):
    app.client.describe("default", age="10m")
    handles = app.enqueue_many([work.call(n) for n in range(MANY + 5)])
    clock.advance(601)
    first, second = turn(app), turn(app)
    assert (first.gained, first.more) == ({"default": MANY}, True)
    assert (second.gained, second.more) == ({"default": 5}, False)
    assert turn(app).gained == {}
    found = app.client.find(page=Page(limit=2 * MANY))
    assert {job.priority for job in found} == {10}
    assert len(found) == len(handles)


def test_of_two_who_take_the_same_turn_one_does(app, work, clock):
    app.client.describe("default", age="10m")
    job = work.enqueue(1)
    clock.advance(601)
    engine = app.connection.engine
    both = [age_queues(engine, app.store.this_moment()) for _ in range(2)]
    assert [app.connection.run(each).gained for each in both] == [{"default": 1}, {}]
    assert priorities(app, job) == [10]


def test_nothing_starves_under_a_stream_of_urgent_jobs(app, work, clock):
    app.client.describe("default", age="1m")
    patient, engine, session = work.enqueue(1), app.connection.engine, app.connection.session
    rounds = 0
    while rounds < 20:
        rounds += 1
        work.options(priority=100).enqueue(0)
        clock.advance(61)
        turn(app)
        where = Filter(states=["queued"])
        most = max(session.run(engine.find(where, Page())), key=lambda job: (job.priority, job.id == patient.id))
        if most.id == patient.id:
            break
    assert rounds == 10
    assert priorities(app, patient) == [100]


def test_an_age_is_said_seen_and_taken_back(app):
    app.client.describe("bulk", age="10m")
    assert [(each.name, each.age) for each in app.client.queues()] == [("bulk", 600.0)]
    app.client.describe("bulk", age="none")
    assert app.client.queues() == []
    with pytest.raises(InvalidOption):
        app.client.describe("bulk", age=0.5)


def test_an_urgent_job_lifts_the_parents_that_were_stored_before(app, work):
    grandparent = work.enqueue(1)
    parent = work.options(after=[grandparent]).enqueue(2)
    urgent_already, stranger = work.options(priority=70).enqueue(3), work.enqueue(4)
    child = work.options(after=[parent, urgent_already], priority=50).enqueue(5)
    assert priorities(app, grandparent, parent, urgent_already, stranger, child) == [50, 50, 70, 0, 50]
    asyncio.run(work.options(after=[stranger], priority=20).aenqueue(6))
    assert priorities(app, stranger) == [20]


def test_a_job_that_is_not_urgent_lifts_nobody(app, work):
    parent = work.options(priority=-50).enqueue(1)
    work.options(after=[parent]).enqueue(2)
    assert priorities(app, parent) == [-50]


def test_what_runs_or_has_ended_is_not_lifted(app, work):
    parent = work.enqueue(1)
    app.client.cancel(parent.id)
    work.options(after=[parent], priority=50).enqueue(2)
    assert priorities(app, parent) == [0]
    assert app.connection.run(app.connection.engine.alter(Filter(ids=[parent.id]), Prioritise(1), actor="x"))[0].done is False
