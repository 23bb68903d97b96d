"""enqueue with edges: where a new job stands, given how its parents stand."""

import pytest

from conformance.desk import DEATH, SECOND, Desk
from treadle.model.filter import Cancel, Replay, Resolve
from treadle.model.job import Edge, Enqueued, JobId, OnDead, Stored
from treadle.model.outcome import Completed, Expired
from treadle.model.record import Guard, Space, Write
from treadle.model.state import BlockedOn, State

ENDS = (State.COMPLETED, State.DEAD, State.CANCELLED, State.EXPIRED)


def ended_parent(desk: Desk, state: State) -> JobId:
    parent = desk.add()
    match state:
        case State.COMPLETED:
            desk.run_once(parent, Completed())
        case State.DEAD:
            desk.run_once(parent, DEATH)
        case State.CANCELLED:
            desk.alter_one(parent, Cancel("no"))
        case _:
            desk.run_once(parent, Expired())
    assert desk.state(parent) is state
    return parent


def expected(state: State, on_dead: OnDead) -> State:
    if state is State.COMPLETED or on_dead is OnDead.RUN:
        return State.QUEUED
    if state is State.DEAD and on_dead is OnDead.HOLD:
        return State.BLOCKED
    return State.CANCELLED


@pytest.mark.parametrize("on_dead", OnDead)
@pytest.mark.parametrize("state", ENDS)
def test_an_edge_to_an_ended_parent_is_settled_at_once(desk: Desk, state: State, on_dead: OnDead) -> None:
    parent = ended_parent(desk, state)
    job = desk.new(edges=(Edge(parent, on_dead),))

    [answer] = desk.enqueue(job)

    assert answer == Enqueued(job.id, Stored.STORED, expected(state, on_dead))
    child = desk.job(job.id)
    assert child.state is answer.state
    assert child.parents == ((parent, on_dead, state),)
    assert desk.job(parent).children == ((job.id, on_dead, child.state),)
    if child.state is State.CANCELLED:
        assert (child.finished_at, child.reason) == (desk.now, f"parent {parent}")


@pytest.mark.parametrize("on_dead", OnDead)
def test_an_edge_to_a_live_parent_blocks(desk: Desk, on_dead: OnDead) -> None:
    parent = desk.add()
    child = desk.job(desk.child(parent, on_dead=on_dead))

    assert (child.state, child.blocked_on) == (State.BLOCKED, BlockedOn.PARENTS)
    assert [claimed.id for claimed in desk.claim(desk.worker())] == [parent]


def test_a_blocked_child_keeps_its_own_times(desk: Desk) -> None:
    parent = desk.add()
    child = desk.job(desk.child(parent, delay=60.0, start_within=5.0))

    assert (child.state, child.due_at, child.start_by) == (
        State.BLOCKED,
        desk.now + 60 * SECOND,
        desk.now + 65 * SECOND,
    )


def test_a_child_of_ended_parents_is_scheduled_while_not_due(desk: Desk) -> None:
    parent = ended_parent(desk, State.COMPLETED)

    assert desk.state(desk.child(parent, delay=60.0)) is State.SCHEDULED


def test_one_live_parent_among_ended_ones_blocks(desk: Desk) -> None:
    done, live = ended_parent(desk, State.COMPLETED), desk.add()
    child = desk.child(done, live)
    assert desk.state(child) is State.BLOCKED

    desk.run_once(live)

    assert desk.state(child) is State.QUEUED


def test_one_bad_parent_cancels_whatever_the_others_do(desk: Desk) -> None:
    live, bad = desk.add(), ended_parent(desk, State.CANCELLED)

    child = desk.job(desk.child(live, bad))

    assert (child.state, child.reason) == (State.CANCELLED, f"parent {bad}")


def test_a_resolved_dead_letter_holds_nobody(desk: Desk) -> None:
    parent = ended_parent(desk, State.DEAD)
    desk.alter_one(parent, Resolve())

    assert desk.state(desk.child(parent, on_dead=OnDead.HOLD)) is State.CANCELLED
    assert desk.state(desk.child(parent, on_dead=OnDead.RUN)) is State.QUEUED


def test_a_replayed_parent_is_live_again(desk: Desk) -> None:
    parent = ended_parent(desk, State.DEAD)
    desk.alter_one(parent, Replay())

    assert desk.state(desk.child(parent, on_dead=OnDead.CANCEL)) is State.BLOCKED


@pytest.mark.parametrize("child_first", [False, True])
def test_a_parent_may_stand_in_the_same_batch(desk: Desk, child_first: bool) -> None:
    parent = desk.new()
    child = desk.new(edges=(Edge(parent.id),))

    answers = desk.enqueue(child, parent) if child_first else desk.enqueue(parent, child)

    assert {answer.id: answer.state for answer in answers} == {parent.id: State.QUEUED, child.id: State.BLOCKED}
    desk.run_once(parent.id)
    assert desk.state(child.id) is State.QUEUED


@pytest.mark.parametrize("child_first", [False, True])
def test_a_job_born_cancelled_settles_its_children_in_the_batch(desk: Desk, child_first: bool) -> None:
    bad = ended_parent(desk, State.EXPIRED)
    middle = desk.new(edges=(Edge(bad),))
    held = desk.new(edges=(Edge(middle.id, OnDead.HOLD),))
    freed = desk.new(edges=(Edge(middle.id, OnDead.RUN),))
    last = desk.new(edges=(Edge(held.id, OnDead.CANCEL),))

    answers = desk.enqueue(last, held, freed, middle) if child_first else desk.enqueue(middle, held, freed, last)

    assert {answer.id: answer.state for answer in answers} == {
        middle.id: State.CANCELLED,
        held.id: State.CANCELLED,
        freed.id: State.QUEUED,
        last.id: State.CANCELLED,
    }
    assert desk.job(last.id).reason == f"parent {held.id}"


def test_the_queue_is_entered_in_batch_order_whatever_the_edges(desk: Desk) -> None:
    bad, done = ended_parent(desk, State.EXPIRED), ended_parent(desk, State.COMPLETED)
    fallen = desk.new(edges=(Edge(bad),))
    freed = desk.new(edges=(Edge(fallen.id, OnDead.RUN),))
    plain = desk.new()
    after = desk.new(edges=(Edge(done),))
    desk.enqueue(freed, plain, fallen, after)

    assert [claimed.id for claimed in desk.claim(desk.worker())] == [freed.id, plain.id, after.id]


def test_a_job_known_already_may_be_a_parent_in_the_batch(desk: Desk) -> None:
    parent = desk.new()
    desk.enqueue(parent)

    assert [answer.verdict for answer in desk.enqueue(parent, desk.new(edges=(Edge(parent.id),)))] == [
        Stored.ALREADY,
        Stored.STORED,
    ]


def test_an_unknown_parent_refuses_the_whole_batch(desk: Desk) -> None:
    known = desk.new()
    desk.enqueue(known)
    desk.enqueue(desk.new(guard=Guard(Write(Space.SCHEDULE, "s", "1", 0))))
    before = desk.snapshot()
    batch = [
        desk.new(),
        desk.new(edges=(Edge(known.id), Edge("nobody"))),
        known,
        desk.new(guard=Guard(Write(Space.SCHEDULE, "s", "2", 1))),
        desk.new(guard=Guard(Write(Space.SCHEDULE, "s", "3", 1))),
        desk.new(guard=Guard(Write(Space.PAUSED, "default", "{}", 0))),
    ]

    answers = desk.enqueue(*batch)

    assert answers == [
        Enqueued(batch[0].id, Stored.REFUSED, None),
        Enqueued(batch[1].id, Stored.UNKNOWN_PARENT, None),
        Enqueued(known.id, Stored.ALREADY, State.QUEUED),
        Enqueued(batch[3].id, Stored.REFUSED, None),
        Enqueued(batch[4].id, Stored.GUARDED, None),
        Enqueued(batch[5].id, Stored.REFUSED, None),
    ]
    assert desk.snapshot() == before


def test_a_parent_whose_guard_failed_is_unknown(desk: Desk) -> None:
    parent = desk.new(guard=Guard(Write(Space.SCHEDULE, "s", "1", 7)))
    child = desk.new(edges=(Edge(parent.id),))

    assert [answer.verdict for answer in desk.enqueue(parent, child)] == [Stored.GUARDED, Stored.UNKNOWN_PARENT]
    assert desk.find() == []


def test_a_parent_named_twice_counts_once_as_first_named(desk: Desk) -> None:
    parent = desk.add()
    child = desk.add(edges=(Edge(parent, OnDead.RUN), Edge(parent, OnDead.CANCEL)))
    assert desk.job(child).parents == ((parent, OnDead.RUN, State.QUEUED),)

    desk.run_once(parent, DEATH)

    assert desk.state(child) is State.QUEUED


def test_a_wide_fan_in_is_freed_by_its_last_parent(desk: Desk) -> None:
    parents = [desk.add() for _ in range(20)]
    child = desk.child(*parents)
    lease = desk.worker()
    claims = desk.claim(lease)

    desk.settle(lease, *((claimed, Completed()) for claimed in claims[:-1]))
    assert desk.state(child) is State.BLOCKED
    desk.finish(lease, claims[-1])

    assert desk.state(child) is State.QUEUED
    assert [parent for parent, _, _ in desk.job(child).parents] == parents
