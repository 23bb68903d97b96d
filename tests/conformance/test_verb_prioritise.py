"""alter with `Prioritise`: waiting jobs go before others, or behind them, wherever they wait."""

import pytest

from conformance.desk import DEATH, Desk
from conformance.test_verb_alter import WAITING, bring
from treadle.model.errors import InvalidOption
from treadle.model.filter import Altered, Filter, Prioritise, Replay
from treadle.model.flow import Hold, Ordering
from treadle.model.job import Edge, JobId
from treadle.model.outcome import Released
from treadle.model.state import State

API = (Hold("api"),)


def order(desk: Desk, lease: str = "") -> list[JobId]:
    """In which order all that is queued is claimed."""
    return [each.id for each in desk.claim(lease or desk.worker(), suspects=9)]


def test_a_queued_job_goes_to_the_back_of_its_new_priority(desk: Desk) -> None:
    first, second, third = (desk.add() for _ in range(3))
    urgent = desk.add(priority=5)
    desk.alter_one(third, Prioritise(5))
    desk.alter_one(first, Prioritise(-5))
    assert [desk.job(job).priority for job in (first, second, third)] == [-5, 0, 5]

    claims = desk.claim(desk.worker())
    assert [(each.id, each.priority) for each in claims] == [(urgent, 5), (third, 5), (second, 0), (first, -5)]


def test_several_go_oldest_first_and_those_that_have_it_stay(desk: Desk) -> None:
    jobs = [desk.add(priority=priority) for priority in (0, 1, 0, 2, 1)]
    answers = desk.alter(Filter(), Prioritise(1))

    assert answers == [Altered(job, State.QUEUED, State.QUEUED, True) for job in jobs]
    assert order(desk) == [jobs[1], jobs[4], jobs[0], jobs[2], jobs[3]]


@pytest.mark.parametrize("state", WAITING)
def test_what_waits_otherwise_enters_its_queue_there_when_it_may(desk: Desk, state: State) -> None:
    job = bring(desk, state)
    parents = [each.id for each in desk.find(queues=["beside"])]
    assert desk.alter_one(job, Prioritise(3)) == Altered(job, state, state, True)
    assert (desk.job(job).priority, desk.job(job).state) == (3, state)
    other = desk.add()
    for parent in parents:
        desk.run_once_in("beside", parent)
    desk.later(60)
    desk.promote()

    assert order(desk) == [job, other]


def test_it_keeps_its_priority_over_attempts_and_a_replay(desk: Desk) -> None:
    job = desk.add()
    desk.alter_one(job, Prioritise(3))
    lease = desk.worker()
    desk.finish(lease, desk.claim_one(lease, job), Released())
    desk.finish(lease, desk.claim_one(lease, job), DEATH)
    assert not desk.alter_one(job, Prioritise(9)).done
    other = desk.add()
    desk.alter_one(job, Replay(args="[2]"))

    assert order(desk) == [job, other]
    assert (desk.job(job).priority, desk.job(job).args) == (3, "[2]")


def test_a_job_may_go_to_and_fro(desk: Desk) -> None:
    jobs = [desk.add() for _ in range(3)]
    for priority in (1, 0, 1, 0, 2, 0):
        desk.alter_one(jobs[0], Prioritise(priority))

    assert order(desk) == [jobs[1], jobs[2], jobs[0]]


def test_many_go_to_and_fro(desk: Desk) -> None:
    jobs = [desk.new() for _ in range(1200)]
    desk.enqueue(*jobs)
    for priority in (1, 0):
        assert all(answer.done for answer in desk.alter(Filter(), Prioritise(priority), limit=2000))
    late = desk.add()

    lease, got = desk.worker(), list[JobId]()
    while claims := order(desk, lease):
        got += claims
    assert got == [*(job.id for job in jobs), late]


def test_a_suspect_stays_one(desk: Desk) -> None:
    job, other = desk.add(), desk.add(queue="beside")
    desk.claim_one(desk.worker(length=1.0), job)
    desk.later(1)
    desk.rescue(delay=0.0)
    desk.promote()
    desk.alter(Filter(ids=[job, other]), Prioritise(3))

    assert desk.claim(desk.worker()) == []
    assert desk.claim_one(desk.worker(), job, suspects=1).suspect


def test_a_deadline_stays(desk: Desk) -> None:
    job = desk.add(start_within=5.0)
    desk.alter_one(job, Prioritise(3))
    desk.later(6)

    assert desk.promote().expired == 1
    assert desk.state(job) is State.EXPIRED


def test_a_job_of_a_tenant_takes_its_turn_at_its_new_priority(desk: Desk) -> None:
    low = [desk.add(fair=tenant) for tenant in "aaab"]
    high = [desk.add(fair="a", priority=1) for _ in range(3)]
    desk.alter(Filter(ids=low[2:]), Prioritise(1))

    assert order(desk) == [low[3], *high, low[2], low[0], low[1]]


def test_a_plain_job_may_come_where_tenants_are_and_go_again(desk: Desk) -> None:
    tenants = [desk.add(fair="a", priority=1) for _ in range(3)]
    plain = [desk.add() for _ in range(2)]
    desk.alter_one(plain[0], Prioritise(1))
    desk.alter_one(tenants[2], Prioritise(0))

    assert order(desk) == [tenants[0], plain[0], tenants[1], tenants[2], plain[1]]


def test_who_is_parked_is_judged_again_where_it_stands_then(desk: Desk) -> None:
    desk.limit("api", concurrency=1)
    lease = desk.worker()
    running, first, second = (desk.add(holds=API) for _ in range(3))
    [claimed] = desk.claim(lease)
    assert desk.states(first, second) == [State.BLOCKED, State.BLOCKED]

    assert desk.alter_one(second, Prioritise(3)) == Altered(second, State.BLOCKED, State.QUEUED, True)
    assert [(gate.running, gate.parked) for gate in desk.gates()] == [(1, 1)]
    assert desk.claim(lease) == []
    assert [(gate.running, gate.parked) for gate in desk.gates()] == [(1, 2)]
    desk.finish(lease, claimed)

    assert running == claimed.id
    assert order(desk, lease) == [second]


def test_who_waits_for_its_turn_still_does(desk: Desk) -> None:
    lease = desk.worker()
    first, second = (desk.add(ordering=Ordering("k")) for _ in range(2))
    claimed = desk.claim_one(lease, first)
    assert desk.state(second) is State.BLOCKED
    desk.alter_one(second, Prioritise(3))
    assert desk.claim(lease) == []
    desk.finish(lease, claimed)

    assert order(desk, lease) == [second]


def test_parents_still_come_first(desk: Desk) -> None:
    parent = desk.add()
    child = desk.add(edges=(Edge(parent),))
    desk.alter_one(child, Prioritise(100))

    assert order(desk) == [parent]


@pytest.mark.parametrize("priority", [101, -101, 1.5, "1", True])
def test_a_priority_is_a_whole_number_in_its_bounds(priority: int) -> None:
    with pytest.raises(InvalidOption):
        Prioritise(priority)
