"""Caps on queues: what is refused, waited for, dropped in sight, or told, and what an operator's word changes."""

import asyncio
import logging
import threading

import pytest

from treadle import (
    Cap,
    DefinitionError,
    DuplicateJob,
    Filter,
    IdempotencyConflict,
    InvalidDuration,
    InvalidOption,
    QueueFull,
    State,
    Treadle,
    Unique,
)
from treadle.app import pressure
from treadle.app.queue import cap_write
from treadle.policy.pressure import Level, judge


@pytest.fixture
def app(treadle_app, monkeypatch):
    # Counts are taken anew each time, but where a test is about that: so none depends on how fast it runs.
    monkeypatch.setattr(pressure, "FRESH", 0.0)
    monkeypatch.setattr(pressure, "SHARE", 0.0)
    monkeypatch.setattr(pressure, "RECORDS", 0.0)
    return treadle_app


@pytest.fixture
def work(app):
    @app.task(name="work", queue="bulk")
    def work(number: int = 0) -> int:
        return number

    return work


def say(app, cap):
    app.connection.run(app.connection.engine.write([cap_write("bulk", cap, "ada")]))


def waiting(app):
    return sum(each.count for each in app.client.count(Filter(queues=["bulk"], states=[State.QUEUED])))


def test_what_is_over_the_cap_is_refused_whole(app, work):
    app.queue("bulk", cap=Cap(3))
    app.enqueue_many([work.call(n) for n in range(2)])
    with pytest.raises(QueueFull, match="2 jobs wait there, 2 more come, and its cap is 3") as full:
        app.enqueue_many([work.call(8), work.call(9)])
    assert full.value.queue == "bulk"
    assert waiting(app) == 2
    work.enqueue(3)
    with pytest.raises(QueueFull):
        asyncio.run(work.aenqueue(4))
    assert work.options(queue="other").enqueue(5).state() is State.QUEUED


def test_a_queue_whose_oldest_job_is_too_old_takes_none(app, work, treadle_clock):
    app.queue("bulk", cap=Cap(age="1m"))
    work.enqueue(1)
    treadle_clock.advance(60)
    work.enqueue(2)
    treadle_clock.advance(1)
    with pytest.raises(QueueFull, match=r"due for 61\.0 s, and its cap is 60 s"):
        work.enqueue(3)


def test_inside_a_transaction_it_is_refused_before_anything_is_written(app, work):
    app.queue("bulk", cap=Cap(1, action="block"))
    work.enqueue(1)
    store = app.store._store
    with store.transaction() as connection:
        with pytest.raises(QueueFull, match="inside a transaction nothing waits"):
            work.enqueue_in(connection, 2)
        kept = work.options(queue="other").enqueue_in(connection, 3)
    assert kept.state() is State.QUEUED
    assert waiting(app) == 1


def test_block_waits_until_there_is_room(app, work, monkeypatch):
    monkeypatch.setattr(pressure, "FRESH", 0.01)
    app.queue("bulk", cap=Cap(1, action="block", timeout=60))
    first = work.enqueue(1)
    stored = threading.Event()

    def produce():
        work.enqueue(2)
        stored.set()

    thread = threading.Thread(target=produce)
    thread.start()
    assert not stored.is_set()
    first.cancel()
    assert stored.wait(30)
    thread.join()
    assert waiting(app) == 1


def test_block_gives_up_in_the_end(app, work, monkeypatch):
    monkeypatch.setattr(pressure, "FRESH", 0.01)
    app.queue("bulk", cap=Cap(1, action="block", timeout=0.05))
    work.enqueue(1)
    with pytest.raises(QueueFull, match=r"no room came within 0\.05 s"):
        work.enqueue(2)
    with pytest.raises(QueueFull):
        asyncio.run(work.aenqueue(2))
    assert waiting(app) == 1


def test_shed_drops_the_least_urgent_in_sight(app, work):
    app.queue("bulk", cap=Cap(3, action="shed"))
    low, mid, high = (work.options(priority=n).enqueue(n) for n in (1, 5, 9))
    middle = work.options(priority=5).enqueue(6)
    assert low.state() is State.CANCELLED
    assert "shed: queue bulk is over its cap, 3 jobs wait there" in low.job().reason
    lowest = work.options(priority=0).enqueue(7)
    assert lowest.state() is State.CANCELLED
    equal = work.options(priority=5).enqueue(8)
    assert [each.state() for each in (mid, high, middle, equal)] == [State.QUEUED] * 3 + [State.CANCELLED]
    assert waiting(app) == 3


def test_signal_stores_and_tells_now_and_then(app, work, caplog):
    app.queue("bulk", cap=Cap(1, action="signal"))
    told = []
    app.on_full(lambda queue, why: told.append((queue, why)))
    with caplog.at_level(logging.WARNING, "treadle"):
        for n in range(4):
            work.enqueue(n)
    assert waiting(app) == 4
    assert told == [("bulk", "1 jobs wait there, 1 more come, and its cap is 1")]
    assert sum("over its cap" in each.message for each in caplog.records) == 1


def test_an_operators_word_goes_before_the_codes(app, work):
    app.queue("bulk", cap=Cap(1))
    work.enqueue(1)
    say(app, Cap(2))
    work.enqueue(2)
    with pytest.raises(QueueFull):
        work.enqueue(3)
    say(app, None)
    work.enqueue(3)
    assert waiting(app) == 3


def test_an_operator_may_cap_what_no_code_has_capped(app, work):
    work.enqueue(1)
    say(app, Cap(1))
    with pytest.raises(QueueFull):
        work.enqueue(2)


def test_between_counts_a_producer_counts_what_it_adds_itself(app, work, monkeypatch):
    monkeypatch.setattr(pressure, "FRESH", 1000.0)
    monkeypatch.setattr(pressure, "RECORDS", 1000.0)
    app.queue("bulk", cap=Cap(2))
    handles = [work.enqueue(n) for n in range(2)]
    handles[0].cancel()
    with pytest.raises(QueueFull):
        work.enqueue(3)


def test_who_has_no_cap_asks_once_in_a_while_only(treadle_app, monkeypatch):
    @treadle_app.task(name="plain")
    def plain() -> None:
        pass

    asked = []
    run = treadle_app.session.run
    monkeypatch.setattr(treadle_app.session, "run", lambda plan, *rest: asked.append(plan.name) or run(plan, *rest))
    for _ in range(3):
        plain.enqueue()
    assert asked == ["read+count", "enqueue+read", "enqueue", "enqueue"]


@pytest.mark.parametrize(
    ("cap", "level", "coming", "jobs"),
    [
        (Cap(10), Level(9, 1e9), 1, None),
        (Cap(10), Level(9, 0), 3, 2),
        (Cap(10), Level(50, 0), 3, 3),
        (Cap(age=5), Level(10**9, 5.0), 3, None),
        (Cap(age=5), Level(1, 5.1), 3, 3),
    ],
)
def test_how_much_is_too_much(cap, level, coming, jobs):
    excess = judge(cap, level, coming)
    assert (excess.jobs if excess else None) == jobs


@pytest.mark.parametrize("words", [{"depth": 0}, {"depth": True}, {"action": "drop"}])
def test_a_cap_that_means_nothing_is_refused(words):
    with pytest.raises(InvalidOption):
        Cap(**words)


def test_what_code_says_of_a_queue_is_said_once_and_well(app):
    with pytest.raises(InvalidDuration):
        Cap(age="soon")
    with pytest.raises(DefinitionError, match="this is not a cap"):
        app.queue("bulk", cap=5)
    with pytest.raises(DefinitionError, match="stretch of hours"):
        app.queue("bulk", window="at night")
    with pytest.raises(DefinitionError, match="not a queue name"):
        app.queue("b k")
    assert app.queue("bulk", cap=Cap(5)) == app.queue("bulk", cap=Cap(5))
    with pytest.raises(DefinitionError, match="described twice"):
        app.queue("bulk", cap=Cap(6))


def test_what_is_there_already_is_answered_as_a_repeat_in_a_full_queue(app, work):
    @app.task(name="once", queue="bulk", unique=Unique(by="number"))
    def once(number: int) -> None: ...

    @app.task(name="strict", queue="bulk", unique=Unique(by="number", on_conflict="raise"))
    def strict(number: int) -> None: ...

    app.queue("bulk", cap=Cap(3, action="block", timeout=0))
    keyed = work.options(idempotency_key="request 1")
    first, second = keyed.enqueue(1), once.enqueue(1)
    strict.enqueue(1)
    assert keyed.enqueue(1).id == first.id
    assert asyncio.run(once.aenqueue(1)).id == second.id
    with app.store._store.transaction() as connection:
        assert keyed.enqueue_in(connection, 1).id == first.id
    assert [each.id for each in app.enqueue_many([keyed.call(1), once.call(1)])] == [first.id, second.id]
    with pytest.raises(DuplicateJob):
        strict.enqueue(1)
    with pytest.raises(IdempotencyConflict):
        keyed.enqueue(2)
    for new in (once.call(2), work.options(idempotency_key="request 2").call(1)):
        with pytest.raises(QueueFull, match="3 jobs wait there, 1 more come, and its cap is 3"):
            app.enqueue_many([keyed.call(1), new])
    assert waiting(app) == 3


def test_what_was_shed_or_there_already_is_not_counted_as_waiting(app, work, monkeypatch):
    monkeypatch.setattr(pressure, "FRESH", 1e9)
    monkeypatch.setattr(pressure, "RECORDS", 1e9)
    app.queue("bulk", cap=Cap(3, action="shed"))
    for number in range(4):
        work.options(idempotency_key=str(number), priority=number).enqueue(number)
    for _ in range(3):
        assert work.options(idempotency_key="3", priority=3).enqueue(3).state() is State.QUEUED
    shed = work.enqueue(9)
    assert shed.job().reason == "shed: queue bulk is over its cap, 3 jobs wait there, 1 more come, and its cap is 3"
    assert waiting(app) == 3


@pytest.mark.usefixtures("app")
def test_those_that_one_producer_stores_side_by_side_count_for_each_other(tmp_path):
    app = Treadle(f"sqlite:///{tmp_path}/jobs.db")  # in memory nothing is ever under way
    app.queue("bulk", cap=Cap(10))
    work = app.task(name="work", queue="bulk")(lambda: None)

    async def store_many():
        return await asyncio.gather(*(work.aenqueue() for _ in range(50)), return_exceptions=True)

    answers = asyncio.run(store_many())

    assert sum(isinstance(each, QueueFull) for each in answers) == 40
    assert waiting(app) == 10
    with pytest.raises(QueueFull):
        work.enqueue()
    app.client.cancel(Filter(queues=["bulk"]))
    work.enqueue()
    app.close()


def test_each_queue_is_counted_anew_in_its_own_time(app, work, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr(pressure, "monotonic", lambda: clock[0])
    monkeypatch.setattr(pressure, "FRESH", 1.0)
    monkeypatch.setattr(pressure, "RECORDS", 1e9)
    for name in ("bulk", "beside"):
        app.queue(name, cap=Cap(1))
    other = work.options(queue="beside")
    other.enqueue(0)
    work.enqueue(0)
    app.client.cancel(Filter(states=[State.QUEUED]))
    clock[0] += 1.0
    work.enqueue(0)  # counts its own queue, and says nothing of the other
    clock[0] += 0.5

    other.enqueue(0)
