"""Turns: jobs of one ordering key start one at a time, in the order in which they became ready, whatever happens between."""

import random

import pytest

from conformance.desk import DEATH, Desk
from treadle.model.filter import Cancel, Erase, Replay, Resolve
from treadle.model.flow import Hold, Ordering
from treadle.model.job import Edge, JobId, Want, Witness
from treadle.model.outcome import Cancelled, Completed, Crashed, Expired, Outcome, Released, Retrying, Snoozed, Verdict
from treadle.model.state import State

ACME = Ordering("acme")
STOP = Ordering("acme", stop=True)


def ids(jobs: list) -> list[JobId]:
    return [job.id for job in jobs]


def test_one_at_a_time_in_the_order_of_arrival(desk: Desk) -> None:
    jobs = [desk.add(ordering=ACME) for _ in range(3)]
    other = desk.add(ordering=Ordering("other"))
    worker = desk.worker()

    assert ids(desk.claim(worker)) == [jobs[0], other]
    parked = desk.job(jobs[1])
    assert (parked.state, parked.blocked_on, parked.ordering) == (State.BLOCKED, "key", ACME)
    assert desk.claim(desk.worker()) == []
    assert desk.promote().next_due is None
    desk.finish(worker, desk.claims[jobs[0]])
    assert ids(desk.claim(worker)) == [jobs[1]]
    desk.finish(worker, desk.claims[jobs[1]])
    assert ids(desk.claim(worker)) == [jobs[2]]


def test_the_order_holds_over_queues_and_priorities(desk: Desk) -> None:
    first, second = desk.add(ordering=ACME, queue="red"), desk.add(ordering=ACME, queue="blue", priority=50)
    both = [Want("blue", 5, 5), Want("red", 5, 5)]
    worker = desk.worker()

    assert ids(desk.claim(worker, *both)) == [first]
    assert desk.state(second) is State.BLOCKED
    desk.finish(worker, desk.claims[first])
    assert ids(desk.claim(worker, *both)) == [second]


@pytest.mark.parametrize(
    "outcome",
    [Retrying(10.0, "{}"), Snoozed(10.0), Crashed("signal 9", 10.0)],
    ids=lambda outcome: type(outcome).__name__.lower(),
)
def test_who_comes_back_keeps_its_place(desk: Desk, outcome: Outcome) -> None:
    first, second = desk.add(ordering=ACME), desk.add(ordering=ACME)
    worker = desk.worker()
    desk.finish(worker, desk.claim_one(worker, first), outcome)

    assert desk.claim(worker) == []
    assert desk.started(worker, 60) == [(10.0, first), (10.0, second)]


def test_who_was_handed_back_or_rescued_keeps_its_place(desk: Desk) -> None:
    first, second = desk.add(ordering=ACME), desk.add(ordering=ACME)
    worker, lost = desk.worker(), desk.worker()
    desk.finish(worker, desk.claim_one(worker, first), Released())
    desk.claim_one(lost, first)
    desk.rescue(Witness(lost, ""), delay=5.0)
    assert desk.claim(worker) == []
    desk.later(5)
    desk.promote()

    assert ids(desk.claim(worker, suspects=1)) == [first]
    desk.finish(worker, desk.claims[first])
    assert ids(desk.claim(worker)) == [second]


@pytest.mark.parametrize(
    "outcome", [Completed(), DEATH, Cancelled("own"), Expired()], ids=lambda outcome: type(outcome).__name__.lower()
)
def test_whoever_ends_lets_the_next_go_on(desk: Desk, outcome: Outcome) -> None:
    first, second = desk.add(ordering=ACME), desk.add(ordering=ACME)
    worker = desk.worker()
    claimed = desk.claim_one(worker, first)
    assert desk.claim(worker) == []
    desk.finish(worker, claimed, outcome)

    assert desk.state(second) is State.QUEUED
    assert ids(desk.claim(worker)) == [second]


def test_whoever_is_taken_away_lets_the_next_go_on(desk: Desk) -> None:
    jobs = [desk.add(ordering=ACME) for _ in range(5)]
    worker = desk.worker()
    claimed = desk.claim_one(worker, jobs[0])
    assert desk.claim(worker) == []
    desk.alter_one(jobs[1], Cancel())
    desk.finish(worker, claimed, Retrying(60.0, "{}"))
    desk.alter_one(jobs[0], Erase())
    assert desk.states(*jobs[2:]) == [State.QUEUED, State.BLOCKED, State.BLOCKED]
    desk.alter_one(jobs[2], Erase())
    assert desk.states(*jobs[3:]) == [State.QUEUED, State.BLOCKED]
    desk.alter_one(jobs[3], Cancel())

    assert ids(desk.claim(worker)) == [jobs[4]]


def test_who_is_due_later_takes_its_place_later(desk: Desk) -> None:
    tomorrow = desk.add(ordering=ACME, delay=100.0)
    parent = desk.add(queue="beside")
    child = desk.add(ordering=ACME, edges=(Edge(parent),))
    today = desk.add(ordering=ACME)
    worker = desk.worker()
    desk.finish(worker, desk.claim_one(worker, today))
    desk.later(100)
    desk.promote()
    desk.run_once_in("beside", parent)

    assert ids(desk.claim(worker)) == [tomorrow]
    desk.finish(worker, desk.claims[tomorrow])
    assert ids(desk.claim(worker)) == [child]


def test_after_a_death_the_others_go_on(desk: Desk) -> None:
    first, second = desk.add(ordering=ACME), desk.add(ordering=ACME)
    worker = desk.worker()
    desk.finish(worker, desk.claim_one(worker, first), DEATH)
    assert ids(desk.claim(worker)) == [second]
    desk.alter_one(first, Replay())

    assert desk.claim(worker) == []
    desk.finish(worker, desk.claims[second])
    assert ids(desk.claim(worker)) == [first]


def test_a_death_may_stop_its_key_until_it_is_replayed(desk: Desk) -> None:
    first, second = desk.add(ordering=STOP), desk.add(ordering=STOP)
    worker = desk.worker()
    desk.finish(worker, desk.claim_one(worker, first), DEATH)
    assert desk.claim(worker) == []
    desk.prune_all()
    assert desk.claim(worker) == []
    desk.alter_one(first, Replay(delay=10.0))

    assert desk.claim(worker) == []
    assert desk.started(worker, 60) == [(10.0, first), (10.0, second)]


@pytest.mark.parametrize("change", [Resolve(), Erase()], ids=lambda change: type(change).__name__.lower())
def test_a_death_that_stops_its_key_may_be_resolved_or_erased(desk: Desk, change: Resolve | Erase) -> None:
    first, second = desk.add(ordering=STOP), desk.add(ordering=STOP)
    worker = desk.worker()
    desk.finish(worker, desk.claim_one(worker, first), DEATH)
    assert desk.claim(worker) == []
    assert desk.alter_one(first, change).done

    assert desk.state(second) is State.QUEUED
    assert ids(desk.claim(worker)) == [second]


def test_only_a_death_stops_a_key(desk: Desk) -> None:
    first, second = desk.add(ordering=STOP), desk.add(ordering=STOP)
    worker = desk.worker()
    desk.finish(worker, desk.claim_one(worker, first), Cancelled("own"))

    assert ids(desk.claim(worker)) == [second]


def test_an_ordered_job_may_hold_limits_too(desk: Desk) -> None:
    desk.limit("api", rate=1, per=10)
    holds = (Hold("api"),)
    jobs = [desk.add(ordering=ACME, holds=holds) for _ in range(2)]
    beside = desk.add(holds=holds)
    worker = desk.worker()

    assert desk.started(worker, 30) == [(0.0, jobs[0]), (10.0, jobs[1]), (20.0, beside)]


def test_a_sleeping_head_stops_nobody_else(desk: Desk) -> None:
    first = desk.add(ordering=ACME)
    worker = desk.worker()
    desk.finish(worker, desk.claim_one(worker, first), Snoozed(1000.0))
    for _ in range(5):
        desk.add(ordering=ACME)
    plain = desk.add()

    assert ids(desk.claim(worker)) == [plain]


def test_starts_keep_their_order_through_random_ends(plain_desk: Desk) -> None:
    desk, dice = plain_desk, random.Random(4)
    worker = desk.worker(length=1e6)
    keys: dict[JobId, str] = {}
    waiting: dict[str, list[JobId]] = {}
    for _ in range(60):
        key = dice.choice("abc")
        job = desk.add(ordering=Ordering(key))
        keys[job] = key
        waiting.setdefault(key, []).append(job)
    while any(waiting.values()):
        claimed = desk.claim(worker, suspects=9)
        assert len({keys[each.id] for each in claimed}) == len(claimed)
        for each in claimed:
            assert each.id == waiting[keys[each.id]][0]
            outcome = dice.choice([Completed(), Retrying(3.0, "{}"), Snoozed(1.0), Released(), DEATH, Crashed("x", 2.0)])
            if desk.finish(worker, each, outcome).state.final:
                waiting[keys[each.id]].pop(0)
        desk.later(1)
        desk.promote()


def test_a_worker_that_comes_too_late_does_not_open_a_stopped_key(desk: Desk) -> None:
    lost, worker = desk.worker("lost"), desk.worker()
    first = desk.add(ordering=STOP, max_crashes=1)
    claimed = desk.claim_one(lost, first)
    desk.rescue(Witness(lost, "signal 9"))
    second = desk.add(ordering=STOP)
    assert desk.settle(lost, (claimed, Completed())) == [Verdict.LOST]

    assert desk.claim(worker) == []
    desk.alter_one(first, Resolve())
    desk.claim_one(worker, second)
