"""Unique keys and idempotency keys: who has one, until when, and what becomes of who comes second."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Barrier
from typing import Any

import pytest

from conformance.desk import DEATH, Bench, Desk
from conformance.test_verb_alter import bring
from conformance.ways import blocking
from treadle.model.filter import Altered, Cancel, Erase, Filter, Replay
from treadle.model.flow import Hold, Idempotency, OnConflict, Ordering, Unique
from treadle.model.job import Edge, Enqueued, JobId, NewJob, OnDead, Stored
from treadle.model.outcome import Completed, Outcome
from treadle.model.record import Guard, Space, Write
from treadle.model.state import LIVE, State

KEY = Unique("order 7")
REPLACE = Unique("order 7", on_conflict=OnConflict.REPLACE)


def one(desk: Desk, job: NewJob) -> Enqueued:
    [answer] = desk.enqueue(job)
    return answer


def test_the_second_job_of_a_key_is_not_stored(desk: Desk) -> None:
    first = desk.add(unique=KEY)

    assert one(desk, desk.new(unique=KEY)) == (first, Stored.DUPLICATE, State.QUEUED)
    assert one(desk, desk.new(unique=Unique("another"))).verdict is Stored.STORED
    assert len(desk.find()) == 2


@pytest.mark.parametrize("state", State)
def test_a_key_is_taken_while_its_job_is_in_one_of_the_states(plain_desk: Desk, state: State) -> None:
    desk = plain_desk
    holder = bring(desk, state, unique=KEY)

    answer = one(desk, desk.new(unique=KEY))
    if state in LIVE:
        assert answer == (holder, Stored.DUPLICATE, state)
    else:
        assert answer.verdict is Stored.STORED


@pytest.mark.parametrize("state", State)
def test_the_states_are_those_that_the_new_job_names(plain_desk: Desk, state: State) -> None:
    desk = plain_desk
    holder = bring(desk, state, unique=KEY)
    others = tuple(each for each in State if each is not state)
    new = desk.new(unique=KEY._replace(during=others))

    assert one(desk, desk.new(unique=KEY._replace(during=(state,)))) == (holder, Stored.DUPLICATE, state)
    assert one(desk, new) == (new.id, Stored.STORED, State.QUEUED)
    assert one(desk, desk.new(unique=KEY)) == (new.id, Stored.DUPLICATE, State.QUEUED)


def test_a_key_may_be_kept_for_a_time_after_its_job_was_stored(desk: Desk) -> None:
    unique = KEY._replace(within=60.0)
    holder = desk.add(unique=unique)
    desk.run_once(holder)
    desk.later(59)
    assert one(desk, desk.new(unique=unique)) == (holder, Stored.DUPLICATE, State.COMPLETED)
    desk.prune_all()
    assert desk.find() == []
    assert one(desk, desk.new(unique=unique)) == (holder, Stored.DUPLICATE, None)
    assert one(desk, desk.new(unique=KEY._replace(key="else"))).verdict is Stored.STORED
    desk.later(1)

    assert one(desk, desk.new(unique=unique)).verdict is Stored.STORED


def test_a_job_that_waits_may_be_replaced(desk: Desk) -> None:
    holder = desk.add(unique=REPLACE, delay=10.0)
    new = desk.new(unique=REPLACE, delay=10.0)

    assert one(desk, new) == (new.id, Stored.STORED, State.SCHEDULED)
    replaced = desk.job(holder)
    assert (replaced.state, replaced.reason) == (State.CANCELLED, f"replaced by {new.id}")
    assert one(desk, desk.new(unique=KEY)) == (new.id, Stored.DUPLICATE, State.SCHEDULED)


def test_a_job_that_runs_or_has_ended_is_not_replaced(desk: Desk) -> None:
    unique = REPLACE._replace(within=60.0)
    holder = desk.add(unique=unique)
    worker = desk.worker()
    claimed = desk.claim_one(worker, holder)
    assert one(desk, desk.new(unique=unique)) == (holder, Stored.DUPLICATE, State.RUNNING)
    desk.finish(worker, claimed, Completed())

    assert one(desk, desk.new(unique=unique)) == (holder, Stored.DUPLICATE, State.COMPLETED)


def test_replacing_settles_the_children_and_the_line(desk: Desk) -> None:
    holder = desk.add(unique=REPLACE, ordering=Ordering("k"))
    held, freed = desk.child(holder), desk.child(holder, on_dead=OnDead.RUN, queue="beside")
    worker = desk.worker()
    later = desk.add(ordering=Ordering("k"))
    assert [each.id for each in desk.claim(worker)] == [holder]
    desk.finish(worker, desk.claims[holder], DEATH)
    assert desk.state(later) is State.QUEUED
    waiting = desk.add(unique=REPLACE, edges=(Edge(holder),))
    new = desk.new(unique=REPLACE, edges=(Edge(waiting, OnDead.RUN),))

    assert one(desk, new) == (new.id, Stored.STORED, State.QUEUED)
    assert desk.states(waiting, held, freed) == [State.CANCELLED, State.BLOCKED, State.QUEUED]


@pytest.mark.parametrize("more", [{}, {"ordering": Ordering("line")}, {"fair": "a"}])
def test_who_is_freed_by_a_replacement_stands_before_the_new_job(desk: Desk, more: dict[str, Any]) -> None:
    unique = Unique("key", on_conflict=OnConflict.REPLACE)
    old = desk.add(unique=unique)
    child = desk.child(old, on_dead=OnDead.RUN)
    new = desk.add(unique=unique, **more)

    assert [each.id for each in desk.claim(desk.worker())] == [child, new]


def test_a_replaced_head_lets_the_next_go_on(desk: Desk) -> None:
    worker = desk.worker()
    head = desk.add(unique=REPLACE, ordering=Ordering("k"), queue="red")
    parked = desk.add(ordering=Ordering("k"))
    assert desk.claim(worker) == []
    desk.add(unique=REPLACE)

    assert desk.states(head, parked) == [State.CANCELLED, State.QUEUED]


def test_jobs_of_one_batch_see_each_other_in_its_order(desk: Desk) -> None:
    first, second = desk.new(unique=KEY, delay=5.0), desk.new(unique=KEY._replace(during=(State.RUNNING,)))

    assert desk.enqueue(first, second) == [
        (first.id, Stored.STORED, State.SCHEDULED),
        (first.id, Stored.DUPLICATE, State.SCHEDULED),
    ]


def test_the_last_of_a_batch_replaces_the_others(desk: Desk) -> None:
    old = desk.add(unique=REPLACE)
    first, second, third = (desk.new(unique=REPLACE) for _ in range(3))
    child = desk.new(edges=(Edge(second.id),))
    answers = desk.enqueue(first, second, child, third)

    assert [answer.state for answer in answers] == [State.CANCELLED, State.CANCELLED, State.CANCELLED, State.QUEUED]
    assert [desk.job(each).reason for each in (old, first.id, second.id)] == [
        f"replaced by {each.id}" for each in (first, second, third)
    ]
    assert desk.job(child.id).reason == f"parent {second.id}"


def test_a_job_that_is_not_stored_takes_no_key(desk: Desk) -> None:
    guard = Guard(Write(Space.SCHEDULE, "s", "1", 5))
    waiting = desk.add(unique=REPLACE)
    answers = desk.enqueue(
        desk.new(unique=Unique("new"), guard=guard),
        desk.new(unique=REPLACE, guard=guard),
        desk.new(idempotency=Idempotency("request", "a", 60.0), guard=guard),
    )
    assert {answer.verdict for answer in answers} == {Stored.GUARDED}
    answers = desk.enqueue(
        desk.new(unique=REPLACE),
        desk.new(unique=Unique("new")),
        desk.new(unique=Unique("new")),
        desk.new(edges=(Edge("nobody"),)),
    )
    assert [answer.verdict for answer in answers] == [*[Stored.REFUSED] * 3, Stored.UNKNOWN_PARENT]

    assert desk.state(waiting) is State.QUEUED
    assert one(desk, desk.new(unique=Unique("new"))).verdict is Stored.STORED
    assert one(desk, desk.new(idempotency=Idempotency("request", "b", 60.0))).verdict is Stored.STORED


def test_a_duplicate_does_not_touch_its_guard(desk: Desk) -> None:
    desk.add(unique=KEY)
    guard = Guard(Write(Space.SCHEDULE, "s", "1"))

    assert one(desk, desk.new(unique=KEY, guard=guard)).verdict is Stored.DUPLICATE
    assert desk.run(desk.engine.read(Space.SCHEDULE)) == []


def test_the_same_request_is_the_same_job_whatever_became_of_it(desk: Desk) -> None:
    asked = Idempotency("request 1", "digest", 60.0)
    holder = desk.add(idempotency=asked)
    assert one(desk, desk.new(idempotency=asked)) == (holder, Stored.ALREADY, State.QUEUED)
    desk.run_once(holder)
    desk.later(59)
    assert one(desk, desk.new(idempotency=asked)) == (holder, Stored.ALREADY, State.COMPLETED)
    desk.prune_all()
    assert one(desk, desk.new(idempotency=asked)) == (holder, Stored.ALREADY, None)
    desk.later(1)
    desk.prune_all()

    assert one(desk, desk.new(idempotency=asked)).verdict is Stored.STORED


def test_another_request_under_the_same_key_is_a_conflict(desk: Desk) -> None:
    holder = desk.add(idempotency=Idempotency("request 1", "one", 60.0))

    assert one(desk, desk.new(idempotency=Idempotency("request 1", "two", 60.0))) == (holder, Stored.CONFLICT, State.QUEUED)
    assert one(desk, desk.new(idempotency=Idempotency("request 2", "two", 60.0))).verdict is Stored.STORED
    desk.later(60)
    assert one(desk, desk.new(idempotency=Idempotency("request 1", "two", 60.0))).verdict is Stored.STORED


def test_an_erased_job_has_no_keys(desk: Desk) -> None:
    holder = desk.add(unique=KEY._replace(within=60.0), idempotency=Idempotency("request 1", "one", 60.0))
    desk.alter(Filter(ids=[holder]), Erase())

    new = desk.new(unique=KEY._replace(within=60.0), idempotency=Idempotency("request 1", "two", 60.0))
    assert one(desk, new).verdict is Stored.STORED


def test_a_request_comes_before_the_unique_key(desk: Desk) -> None:
    first = desk.add(unique=KEY)
    second = desk.add(idempotency=Idempotency("request 1", "one", 60.0))

    assert one(desk, desk.new(unique=KEY, idempotency=Idempotency("request 1", "one", 60.0))).id == second
    assert one(desk, desk.new(unique=KEY, idempotency=Idempotency("request 2", "one", 60.0))).id == first
    assert one(desk, desk.new(idempotency=Idempotency("request 2", "two", 60.0))).verdict is Stored.STORED


def test_a_replaced_job_stays_what_its_request_was_given(desk: Desk) -> None:
    asked = Idempotency("request 1", "one", 60.0)
    holder = desk.add(unique=REPLACE, idempotency=asked)
    desk.add(unique=REPLACE)

    assert one(desk, desk.new(idempotency=asked)) == (holder, Stored.ALREADY, State.CANCELLED)


@pytest.mark.parametrize("unique", [True, False], ids=["unique", "idempotent"])
def test_of_fifty_who_race_for_a_key_one_gets_it(bench: Bench, unique: bool) -> None:
    engine, racers = bench.store.engine, 50
    start = Barrier(racers)

    def race(number: int) -> Enqueued:
        with closing(bench.store.session()) as session:
            job = NewJob(f"018bcfe5-6800-7000-8000-{number:012x}", "work")
            if unique:
                job.unique = KEY
            else:
                job.idempotency = Idempotency("request", "same", 60.0)
            start.wait(30)
            [answer] = session.run(engine.enqueue([job]))
            return answer

    with ThreadPoolExecutor(racers) as pool:
        answers = list(pool.map(race, range(racers)))

    assert len({answer.id for answer in answers}) == 1
    assert [answer.verdict for answer in answers].count(Stored.STORED) == 1
    assert {answer.verdict for answer in answers} == {Stored.STORED, Stored.DUPLICATE if unique else Stored.ALREADY}
    with closing(bench.store.session()) as session:
        assert session.run(engine.count(Filter(), []))[0].count == 1


def test_a_cancelled_job_lets_go_of_its_key(desk: Desk) -> None:
    holder = desk.add(unique=KEY)
    desk.alter_one(holder, Cancel())

    assert one(desk, desk.new(unique=KEY)).verdict is Stored.STORED


def dead(desk: Desk, **options: Any) -> JobId:
    """A dead letter of the key."""
    job = desk.add(unique=KEY, **options)
    desk.run_once(job, DEATH)
    return job


@pytest.mark.parametrize("delay", [0.0, 5.0])
def test_a_dead_letter_does_not_come_back_while_another_has_its_key(desk: Desk, delay: float) -> None:
    letter = dead(desk)
    other = desk.add(unique=KEY, queue="beside")
    before = desk.snapshot()

    assert desk.alter_one(letter, Replay(delay)) == Altered(letter, State.DEAD, State.DEAD, False, other)
    assert desk.snapshot() == before
    desk.run_once_in("beside", other)

    assert desk.alter_one(letter, Replay(delay)).done


@pytest.mark.parametrize("ends", [DEATH, Completed()], ids=["dead", "completed"])
def test_a_replayed_job_has_its_key_again(desk: Desk, ends: Outcome) -> None:
    letter = dead(desk)
    other = desk.add(unique=KEY)
    desk.run_once(other, ends)
    assert desk.alter_one(letter, Replay()).done

    assert one(desk, desk.new(unique=KEY)) == (letter, Stored.DUPLICATE, State.QUEUED)
    assert desk.alter_one(other, Replay()) == Altered(
        other, desk.state(other), desk.state(other), False, letter if ends is DEATH else None
    )
    desk.run_once(letter)
    assert one(desk, desk.new(unique=KEY)).verdict is Stored.STORED


def test_a_replayed_job_has_its_key_again_after_the_other_was_pruned(desk: Desk) -> None:
    unique = KEY._replace(within=60.0)
    letter = desk.add(unique=unique)
    desk.run_once(letter, DEATH)
    desk.later(60)
    desk.run_once(desk.add(unique=unique))
    desk.prune_all()
    assert desk.alter_one(letter, Replay()).done
    desk.later(100)
    desk.prune_all()

    assert one(desk, desk.new(unique=unique)) == (letter, Stored.DUPLICATE, State.QUEUED)


def test_a_replay_keeps_the_time_of_the_key(desk: Desk) -> None:
    unique = KEY._replace(within=60.0)
    letter = desk.add(unique=unique)
    desk.run_once(letter, DEATH)
    desk.later(60)
    other = desk.add(unique=unique)
    desk.run_once(other)
    assert desk.alter_one(letter, Replay()).done
    desk.run_once(letter)
    desk.later(59)

    assert one(desk, desk.new(unique=unique)) == (letter, Stored.DUPLICATE, State.COMPLETED)
    desk.later(1)
    assert one(desk, desk.new(unique=unique)).verdict is Stored.STORED


def test_of_several_that_are_sent_back_the_oldest_has_the_key(desk: Desk) -> None:
    first, second = dead(desk), dead(desk)
    other = desk.add(unique=Unique("another"))
    desk.alter_one(other, Cancel())

    assert desk.alter(Filter(), Replay()) == [
        Altered(first, State.DEAD, State.QUEUED, True),
        Altered(second, State.DEAD, State.DEAD, False, first),
        Altered(other, State.CANCELLED, State.QUEUED, True),
    ]
    assert one(desk, desk.new(unique=KEY)) == (first, Stored.DUPLICATE, State.QUEUED)
    assert one(desk, desk.new(unique=Unique("another"))) == (other, Stored.DUPLICATE, State.QUEUED)


def test_a_job_goes_back_without_its_key_where_it_does_not_need_it(desk: Desk) -> None:
    debounced = KEY._replace(during=(State.SCHEDULED,))
    first = desk.add(unique=debounced, delay=5.0)
    desk.alter_one(first, Cancel())
    second = desk.add(unique=debounced, delay=5.0)

    assert desk.alter_one(first, Replay(5.0)) == Altered(first, State.CANCELLED, State.CANCELLED, False, second)
    assert desk.alter_one(first, Replay()).done
    assert one(desk, desk.new(unique=debounced, delay=5.0)) == (second, Stored.DUPLICATE, State.SCHEDULED)
    assert desk.alter_one(second, Replay()).done


def test_a_key_goes_with_what_else_the_job_asks_for(desk: Desk) -> None:
    ways: list[dict[str, Any]] = [{"fair": "a"}, {"ordering": Ordering("k")}, {"holds": (Hold("api"),)}, {"tags": ("x",)}]
    letters = [dead(desk, **way) for way in ways]
    assert [answer.done for answer in desk.alter(Filter(ids=letters), Replay(args="[2]"))] == [True, False, False, False]
    for letter, way in zip(letters, ways, strict=True):
        assert desk.alter_one(letter, Replay()).done == (letter != letters[0])
        replayed = desk.run_once(letter)
        asked = ("fair", "ordering", "holds", "tags")
        assert {name: getattr(replayed, name) for name in asked if getattr(replayed, name)} == way


def test_an_erased_holder_is_in_nobodys_way(desk: Desk) -> None:
    letter = dead(desk)
    other = desk.add(unique=KEY)
    desk.alter_one(other, Erase())

    assert desk.alter_one(letter, Replay()).done
    desk.alter_one(letter, Cancel())
    desk.alter_one(letter, Erase())
    assert one(desk, desk.new(unique=KEY)).verdict is Stored.STORED


def test_replays_and_new_jobs_race_for_a_key(bench: Bench) -> None:
    racers, engine = 12, bench.store.engine
    with blocking(bench) as run:
        letter = NewJob("018bcfe5-6800-7000-8000-000000000fff", "work", unique=KEY)
        run(engine.enqueue([letter]))
        run(engine.alter(Filter(ids=[letter.id]), Cancel(), actor="ada"))
    start = Barrier(racers)

    def race(number: int) -> bool:
        with closing(bench.store.session()) as session:
            start.wait(30)
            if number % 2:
                return session.run(engine.alter(Filter(ids=[letter.id]), Replay(), actor="ada"))[0].done
            job = NewJob(f"018bcfe5-6800-7000-8000-{number:012x}", "work", unique=KEY)
            return session.run(engine.enqueue([job]))[0].verdict is Stored.STORED

    with ThreadPoolExecutor(racers) as pool:
        assert sum(pool.map(race, range(racers))) == 1
    with closing(bench.store.session()) as session:
        assert session.run(engine.count(Filter(states=[State.QUEUED]), []))[0].count == 1
