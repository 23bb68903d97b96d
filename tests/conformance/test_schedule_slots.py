"""Schedules on every engine: each slot once whatever happens to those who fire it, and the store's own time."""

import random
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import takewhile
from pathlib import Path
from threading import Barrier, Event, Thread

import pytest

from conformance.desk import Bench, Desk
from conformance.engines import ENGINES
from conformance.scheduling import SECOND, Scheduler, Weeks, declared, on_bench
from treadle import Treadle
from treadle.app.slot import slot_id
from treadle.app.storetime import ask_time
from treadle.model.job import Stored
from treadle.policy.slots import Rule
from treadle.testing import VirtualClock

START = datetime(2026, 10, 20, tzinfo=UTC)
WEEKS_LATER = datetime(2026, 11, 10, tzinfo=UTC)


def rule_of(app: Treadle) -> Rule:
    schedule = app.schedules.get("tick")
    assert schedule is not None
    return schedule.rule


@pytest.mark.repeats
@pytest.mark.parametrize(
    "words",
    [
        {"cron": "*/20 * * * *", "tz": "Europe/Paris"},
        {"cron": "30 2 * * *", "tz": "Europe/Paris", "jitter": "10m"},
        {"every": "15m"},
    ],
    ids=["every hour", "daily", "interval"],
)
def test_ten_schedulers_killed_and_frozen_over_weeks_enqueue_each_slot_once(bench: Bench, words: dict[str, str]) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    app, clock = declared(catch_up="all", window="30d", **words), VirtualClock(START)
    with on_bench(app, bench, clock) as session:
        weeks = Weeks(app, session, clock, random.Random(seed))
        weeks.crew[0].turn(clock.micros)
        weeks.run(WEEKS_LATER)
        weeks.settle()
        end = clock.micros
    begin = round(START.timestamp()) * SECOND
    wanted = list(takewhile(lambda slot: slot <= end, rule_of(app).after(begin)))
    assert sorted(weeks.stored) == wanted
    assert {slot: len(jobs) for slot, jobs in weeks.stored.items() if len(jobs) > 1} == {}
    # Whoever enqueued a slot also knows it: nobody is told of one twice.
    assert max(weeks.told.values()) == 1
    assert weeks.events["killed"] > 10
    assert weeks.events["frozen holding work"] > 0 or len(wanted) < 100
    assert weeks.events["pruned"] >= len(wanted)


@pytest.mark.parametrize("catch_up", ["once", "skip"])
def test_under_the_other_policies_no_slot_comes_twice_and_every_one_is_accounted_for(bench: Bench, catch_up: str) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    app, clock = declared(every="15m", catch_up=catch_up, overlap="allow", window="30d"), VirtualClock(START)
    with on_bench(app, bench, clock) as session:
        weeks = Weeks(app, session, clock, random.Random(seed))
        weeks.crew[0].turn(clock.micros)
        weeks.run(datetime(2026, 10, 30, tzinfo=UTC))
        weeks.settle()
        [view] = app.schedules.list()
    wanted = list(takewhile(lambda slot: slot <= clock.micros, rule_of(app).after(round(START.timestamp()) * SECOND)))
    assert set(weeks.stored) <= set(wanted)
    assert all(len(jobs) == 1 for jobs in weeks.stored.values())
    assert (view.fired, view.dropped) == (len(weeks.stored), len(wanted) - len(weeks.stored))
    assert view.late is None


def test_schedulers_that_race_in_threads_enqueue_each_slot_once(bench: Bench) -> None:
    app, clock = declared(every="1m", catch_up="all", window="30d"), VirtualClock(START)
    with on_bench(app, bench, clock) as session:
        Scheduler(app, session, "first").turn(clock.micros)
        clock.advance("3h")
        sessions = [bench.store.session() for _ in range(4)]
        crew = [Scheduler(app, each, f"thread {place}") for place, each in enumerate(sessions)]
        together, fired = Barrier(len(crew)), list[int]()

        def race(scheduler: Scheduler) -> None:
            together.wait()
            fired.extend(scheduler.turn(clock.micros))

        threads = [Thread(target=race, args=(each,)) for each in crew]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for each in sessions:
            each.close()
        jobs = app.schedules.history("tick", 1000)
    begin = round(START.timestamp()) * SECOND
    assert sorted(fired) == [begin + minute * 60 * SECOND for minute in range(1, 181)]
    assert len(jobs) == 180


def test_pausing_and_resuming_get_through_while_slots_are_fired(bench: Bench) -> None:
    app, clock = declared(every="1s", catch_up="all", window="30d"), VirtualClock(START)
    with on_bench(app, bench, clock) as session:
        Scheduler(app, session, "first").turn(clock.micros)
        sessions = [bench.store.session() for _ in range(2)]
        fired, over = list[int](), Event()

        def fire(scheduler: Scheduler) -> None:
            while not over.is_set():
                clock.advance("1s")
                fired.extend(scheduler.turn(clock.micros))

        threads = [Thread(target=fire, args=(Scheduler(app, each, f"thread {i}"),)) for i, each in enumerate(sessions)]
        for thread in threads:
            thread.start()
        for _ in range(20):
            app.schedules.pause("tick", "for a moment")
            assert app.schedules.resume("tick")
        over.set()
        for thread in threads:
            thread.join()
        for each in sessions:
            each.close()
        [view] = app.schedules.list()
    assert not view.paused
    assert view.fired == len(fired) == len(set(fired))


def test_a_slot_that_was_filled_in_beforehand_is_not_fired_again(plain_desk: Desk) -> None:
    app, clock = declared(every="1m", catch_up="all"), VirtualClock(START)
    with on_bench(app, plain_desk.bench, clock) as session:
        scheduler = Scheduler(app, session, "one")
        scheduler.turn(clock.micros)
        clock.advance("3m")
        second, third = (datetime(2026, 10, 20, 0, minute, tzinfo=UTC) for minute in (2, 3))
        filled = app.schedules.backfill("tick", second, third)
        assert [each.enqueued for each in filled] == [True]
        minutes = [slot // SECOND // 60 % 60 for slot in scheduler.turn(clock.micros)]
        assert minutes == [1, 3]
        assert len(app.schedules.history("tick")) == 3
        again = app.schedules.backfill("tick", START, third)
        assert [each.enqueued for each in again] == [True, False, False]


def test_one_write_in_between_stops_every_slot_that_was_seen(plain_desk: Desk) -> None:
    app, clock = declared(every="5s", overlap="allow"), VirtualClock(START)
    with on_bench(app, plain_desk.bench, clock) as session:
        scheduler = Scheduler(app, session, "one")
        scheduler.turn(clock.micros)
        clock.advance("30s")
        assert scheduler.look(clock.micros)
        app.schedules.pause("tick")
        assert scheduler.act(clock.micros) == ([], True)
        assert app.schedules.history("tick") == []
        assert app.schedules.list()[0].paused


def test_a_guard_held_since_before_the_prune_opens_nothing(plain_desk: Desk) -> None:
    app, clock = declared(every="1m"), VirtualClock(START)
    with on_bench(app, plain_desk.bench, clock) as session:
        frozen, lively = Scheduler(app, session, "frozen"), Scheduler(app, session, "lively")
        lively.turn(clock.micros)
        clock.advance("1m")
        assert frozen.look(clock.micros)
        weeks = Weeks(app, session, clock, random.Random(0))
        assert len(lively.turn(clock.micros)) == 1
        weeks.sweep()
        assert app.schedules.history("tick") == []
        assert frozen.act(clock.micros) == ([], True)
        assert app.schedules.history("tick") == []


def test_the_job_of_a_slot_has_the_same_id_whoever_makes_it(plain_desk: Desk) -> None:
    at = round(START.timestamp()) * SECOND
    made = slot_id("tick", at)
    assert made == slot_id("tick", at) != slot_id("tick", at + SECOND)
    assert made != slot_id("tock", at)
    [answer] = plain_desk.enqueue(plain_desk.new(id=made))
    assert answer.verdict is Stored.STORED


def test_a_store_tells_its_time_by_a_lease(plain_desk: Desk) -> None:
    session, engine = plain_desk.bench.store.session(), plain_desk.engine
    assert session.run(ask_time(engine)) is None
    session.run(engine.renew("lease-a", 0, 0.001, worker=Desk.info("ended")))
    session.run(engine.renew("lease-b", 0, 600.0, worker=Desk.info("alive")))
    before = time.time_ns() // 1000
    found = session.run(ask_time(engine))
    after = time.time_ns() // 1000
    session.close()
    assert found is not None
    assert before - SECOND <= found <= after + SECOND


@pytest.fixture(params=ENGINES)
def clocked(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Treadle, VirtualClock, Scheduler]]:
    with ENGINES[request.param](tmp_path) as bench:
        app, clock = declared(every="1m"), VirtualClock(START)
        with on_bench(app, bench, clock) as session:
            yield app, clock, Scheduler(app, session, "one")


def test_what_an_operator_does_meets_the_schedulers(clocked: tuple[Treadle, VirtualClock, Scheduler]) -> None:
    app, clock, scheduler = clocked
    scheduler.turn(clock.micros)
    clock.advance("1m")
    scheduler.look(clock.micros)
    app.schedules.pause("tick", "a flood")
    assert scheduler.act(clock.micros) == ([], True)
    assert scheduler.turn(clock.micros) == []
    [view] = app.schedules.list()
    assert (view.paused, view.paused_why, view.next) == (True, "a flood", None)
    clock.advance("10m")
    assert app.schedules.resume("tick")
    assert not app.schedules.resume("tick")
    assert scheduler.turn(clock.micros) == []
    clock.advance("1m")
    assert len(scheduler.turn(clock.micros)) == 1
