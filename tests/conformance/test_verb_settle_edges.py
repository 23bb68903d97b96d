"""settle with edges: what the end of a parent does to its children, and to theirs."""

from typing import Any

import pytest

from conformance.desk import DEATH, SECOND, Desk
from treadle.model.filter import Cancel, Erase, Replay, Resolve
from treadle.model.flow import Hold, Ordering
from treadle.model.job import Edge, JobId, OnDead
from treadle.model.outcome import Cancelled, Completed, Expired, Outcome, Released, Retrying, Snoozed, Verdict
from treadle.model.state import State

ENDS: list[tuple[Outcome, State]] = [
    (Completed(), State.COMPLETED),
    (DEATH, State.DEAD),
    (Cancelled("no"), State.CANCELLED),
    (Expired(), State.EXPIRED),
]


def expected(state: State, on_dead: OnDead) -> State:
    if state is State.COMPLETED or on_dead is OnDead.RUN:
        return State.QUEUED
    if state is State.DEAD and on_dead is OnDead.HOLD:
        return State.BLOCKED
    return State.CANCELLED


@pytest.mark.parametrize("on_dead", OnDead)
@pytest.mark.parametrize(("outcome", "state"), ENDS)
def test_what_each_end_of_a_parent_does(desk: Desk, outcome: Outcome, state: State, on_dead: OnDead) -> None:
    parent = desk.add()
    child = desk.child(parent, on_dead=on_dead)

    desk.run_once(parent, outcome)

    job = desk.job(child)
    assert job.state is expected(state, on_dead)
    assert job.parents == ((parent, on_dead, state),)
    if job.state is State.CANCELLED:
        assert (job.reason, job.finished_at, job.attempts) == (f"parent {parent}", desk.now, ())


@pytest.mark.parametrize("outcome", [Retrying(1.0, "{}"), Snoozed(1.0), Released()])
def test_a_parent_that_goes_on_keeps_its_child_waiting(desk: Desk, outcome: Outcome) -> None:
    parent = desk.add()
    child = desk.child(parent, on_dead=OnDead.RUN)

    desk.run_once(parent, outcome)

    assert desk.state(child) is State.BLOCKED


def test_two_parents_in_one_batch_free_their_child_once(desk: Desk) -> None:
    parents = [desk.add(), desk.add()]
    child = desk.child(*parents)
    lease = desk.worker()

    desk.settle(lease, *((claimed, Completed()) for claimed in desk.claim(lease)))

    assert [claimed.id for claimed in desk.claim(lease)] == [child]
    assert desk.job(child).attempt == 1


def test_one_bad_parent_in_the_batch_cancels_the_child(desk: Desk) -> None:
    good, bad = desk.add(), desk.add()
    child = desk.add(edges=(Edge(good), Edge(bad, OnDead.CANCEL)))
    lease = desk.worker()
    first, second = desk.claim(lease)

    desk.settle(lease, (first, Completed()), (second, DEATH))

    job = desk.job(child)
    assert (job.state, job.reason) == (State.CANCELLED, f"parent {bad}")


def test_a_repeated_settle_counts_down_once(desk: Desk) -> None:
    first, second = desk.add(), desk.add()
    child = desk.child(first, second)
    lease = desk.worker()
    claim, _ = desk.claim(lease)

    desk.settle(lease, (claim, Completed()), (claim, Completed()))
    desk.settle(lease, (claim, Completed()))

    assert desk.state(child) is State.BLOCKED


def test_a_freed_child_that_is_not_due_is_scheduled(desk: Desk) -> None:
    parent = desk.add()
    child = desk.child(parent, delay=60.0)
    due_at = desk.now + 60 * SECOND
    desk.later(59)
    desk.run_once(parent)

    assert (desk.state(child), desk.job(child).due_at) == (State.SCHEDULED, due_at)
    desk.later(1)
    assert desk.promote().queued == 1


def test_a_freed_child_whose_time_has_come_is_queued(desk: Desk) -> None:
    parent = desk.add()
    child = desk.child(parent, delay=60.0)
    desk.later(60)
    desk.run_once(parent)

    assert desk.state(child) is State.QUEUED


def test_freed_children_enter_the_queue_oldest_first_behind_what_waits(desk: Desk) -> None:
    parent = desk.add(priority=9)
    children = [desk.child(parent) for _ in range(5)]
    waiting = desk.add()
    urgent = desk.child(parent, priority=1)

    lease = desk.worker()
    first, second = desk.claim(lease)
    assert (first.id, second.id) == (parent, waiting)
    other = desk.add()
    desk.finish(lease, first)

    assert [claimed.id for claimed in desk.claim(lease)] == [urgent, other, *children]


def chain_of(desk: Desk, first: JobId, on_dead: OnDead, length: int) -> list[JobId]:
    jobs = [first]
    for _ in range(length):
        jobs.append(desk.child(jobs[-1], on_dead=on_dead))
    return jobs


@pytest.mark.parametrize("gated", [{}, {"holds": (Hold("api"),)}, {"ordering": Ordering("line")}])
def test_children_freed_by_one_batch_enter_by_age_however_their_parents_ended(desk: Desk, gated: dict[str, Any]) -> None:
    good, bad, lost = desk.add(**gated), desk.add(), desk.add()
    children = [desk.child(good), desk.child(bad, on_dead=OnDead.RUN), desk.child(good)]
    held = desk.child(lost)
    lease = desk.worker()
    claims = {each.id: each for each in desk.claim(lease)}
    stale = claims[lost]._replace(attempt=2)

    verdicts = desk.settle(lease, (claims[bad], DEATH), (stale, Completed()), (claims[good], Completed()))

    assert verdicts == [Verdict.DONE, Verdict.LOST, Verdict.DONE]
    assert [each.id for each in desk.claim(lease)] == children
    assert desk.state(held) is State.BLOCKED
    assert desk.gates() == []


def test_a_cancel_runs_down_the_whole_chain(desk: Desk) -> None:
    first, *rest = chain_of(desk, desk.add(), OnDead.CANCEL, 6)

    desk.run_once(first, DEATH)

    assert desk.states(*rest) == [State.CANCELLED] * 6
    assert [desk.job(job).reason for job in rest] == [f"parent {job}" for job in [first, *rest[:-1]]]


def test_hold_keeps_the_chain_below_a_dead_letter(desk: Desk) -> None:
    first, *rest = chain_of(desk, desk.add(), OnDead.HOLD, 3)

    desk.run_once(first, DEATH)

    assert desk.states(*rest) == [State.BLOCKED] * 3


def test_a_cascade_may_free_some_and_cancel_others(desk: Desk) -> None:
    root = desk.add()
    cancelled = desk.child(root, on_dead=OnDead.CANCEL)
    below_run = desk.child(cancelled, on_dead=OnDead.RUN)
    below_hold = desk.child(cancelled, on_dead=OnDead.HOLD)
    mixed = desk.add(edges=(Edge(root, OnDead.RUN), Edge(cancelled, OnDead.RUN), Edge(below_hold, OnDead.RUN)))

    desk.run_once(root, DEATH)

    assert desk.states(cancelled, below_run, below_hold, mixed) == [
        State.CANCELLED,
        State.QUEUED,
        State.CANCELLED,
        State.QUEUED,
    ]


def test_children_freed_further_down_enter_later(desk: Desk) -> None:
    root = desk.add()
    fallen = desk.child(root, on_dead=OnDead.CANCEL)
    far = desk.child(fallen, on_dead=OnDead.RUN)
    near = desk.child(root, on_dead=OnDead.RUN)
    desk.run_once(root, DEATH)

    assert [claimed.id for claimed in desk.claim(desk.worker())] == [near, far]


def test_a_diamond_frees_its_last_job_once(desk: Desk) -> None:
    top = desk.add()
    left, right = desk.child(top), desk.child(top)
    bottom = desk.child(left, right)
    desk.run_once(top)
    lease = desk.worker()
    one, two = desk.claim(lease)

    desk.finish(lease, one)
    assert desk.state(bottom) is State.BLOCKED
    desk.finish(lease, two)

    assert desk.state(bottom) is State.QUEUED


def test_a_replay_to_success_frees_the_held(desk: Desk) -> None:
    parent = desk.add()
    child = desk.child(parent, on_dead=OnDead.HOLD)
    desk.run_once(parent, DEATH)
    desk.alter_one(parent, Replay())
    assert desk.state(child) is State.BLOCKED

    desk.run_once(parent)

    assert desk.state(child) is State.QUEUED


def test_a_resolved_letter_cancels_the_held_and_what_waits_for_them(desk: Desk) -> None:
    first, second, third = chain_of(desk, desk.add(), OnDead.HOLD, 2)
    desk.run_once(first, DEATH)

    desk.alter_one(first, Resolve())

    assert desk.states(second, third) == [State.CANCELLED] * 2
    assert desk.job(second).reason == f"parent {first}"


@pytest.mark.parametrize(("on_dead", "state"), [(OnDead.RUN, State.QUEUED), (OnDead.HOLD, State.CANCELLED)])
def test_a_cancelled_waiting_parent_settles_its_children(desk: Desk, on_dead: OnDead, state: State) -> None:
    parent = desk.add(delay=5.0)
    child = desk.child(parent, on_dead=on_dead)

    desk.alter_one(parent, Cancel("no"))

    assert desk.state(child) is state


@pytest.mark.parametrize(("on_dead", "state"), [(OnDead.RUN, State.QUEUED), (OnDead.HOLD, State.CANCELLED)])
def test_an_expired_parent_settles_its_children(desk: Desk, on_dead: OnDead, state: State) -> None:
    parent = desk.add(start_within=1.0)
    child = desk.child(parent, on_dead=on_dead)
    desk.later(2)

    assert desk.promote().expired == 1
    assert desk.state(child) is state


@pytest.mark.parametrize(
    ("on_dead", "state"), [(OnDead.RUN, State.QUEUED), (OnDead.CANCEL, State.CANCELLED), (OnDead.HOLD, State.BLOCKED)]
)
def test_a_parent_lost_with_its_worker_settles_its_children(desk: Desk, on_dead: OnDead, state: State) -> None:
    parent = desk.add(max_crashes=1)
    child = desk.child(parent, on_dead=on_dead)
    desk.claim_one(desk.worker(length=1.0), parent)
    desk.later(1)

    desk.rescue()

    assert desk.state(child) is state


@pytest.mark.parametrize("dead_first", [False, True])
@pytest.mark.parametrize(("on_dead", "state"), [(OnDead.RUN, State.QUEUED), (OnDead.HOLD, State.CANCELLED)])
def test_an_erased_parent_settles_its_children(desk: Desk, on_dead: OnDead, state: State, dead_first: bool) -> None:
    parent = desk.add()
    if dead_first and on_dead is OnDead.HOLD:
        child = desk.child(parent, on_dead=on_dead)
        desk.run_once(parent, DEATH)
    else:
        child = desk.child(parent, on_dead=on_dead)

    desk.alter_one(parent, Erase())

    job = desk.job(child)
    assert (job.state, job.parents) == (state, ())


def test_a_hundred_children_of_one_parent(plain_desk: Desk) -> None:
    parent = plain_desk.add()
    children = [plain_desk.child(parent) for _ in range(100)]

    plain_desk.run_once(parent)

    assert [claimed.id for claimed in plain_desk.claim(plain_desk.worker())] == children
