"""find: every field of the filter, the order, and the pages."""

import pytest

from conformance.desk import DEATH, SECOND, Desk
from treadle.model.filter import Cancel, Filter, Order, Page, Replay
from treadle.model.job import JobId
from treadle.model.outcome import Cause, Completed, Died
from treadle.model.state import State


def ids(desk: Desk, **fields: object) -> list[JobId]:
    return [job.id for job in desk.find(**fields)]


def page(desk: Desk, page: Page, where: Filter | None = None) -> list[JobId]:
    return [job.id for job in desk.run(desk.engine.find(where or Filter(), page))]


def test_an_empty_filter_means_every_job(desk: Desk) -> None:
    live, done = desk.add(queue="beside"), desk.add()
    desk.run_once(done)

    assert ids(desk) == [live, done]


def test_by_id(desk: Desk) -> None:
    first, _, third = (desk.add() for _ in range(3))

    assert ids(desk, ids=[third, first, "nobody", first]) == [first, third]
    assert ids(desk, ids=["nobody"]) == []


def test_by_state(desk: Desk) -> None:
    queued, done, dead = desk.add(queue="beside"), desk.add(), desk.add()
    lease = desk.worker()
    one, two = desk.claim(lease)
    desk.settle(lease, (one, Completed()), (two, DEATH))

    assert ids(desk, states=[State.QUEUED]) == [queued]
    assert ids(desk, states=[State.DEAD, State.QUEUED]) == [queued, dead]
    assert ids(desk, states=[State.COMPLETED]) == [done]
    assert ids(desk, states=[State.RUNNING]) == []


@pytest.mark.parametrize("finished", [False, True])
def test_by_queue_task_key_and_tag(desk: Desk, finished: bool) -> None:
    job = desk.add("other", queue="red", key="acme", tags=("a", "b"))
    decoy = desk.add("work", queue="blue", key="acme corp", tags=("ab", "A"))
    plain = desk.add()
    if finished:
        for each in (job, decoy, plain):
            desk.alter_one(each, Cancel())

    assert ids(desk, queues=["red"]) == [job]
    assert ids(desk, queues=["red", "default"]) == [job, plain]
    assert ids(desk, tasks=["other"]) == [job]
    assert ids(desk, tasks=["other", "work"]) == [job, decoy, plain]
    assert ids(desk, key="acme") == [job]
    assert ids(desk, tag="a") == [job]
    assert ids(desk, tag="b") == [job]
    assert ids(desk, tag="c") == []


@pytest.mark.parametrize("odd", ["50%", "a_b", "it's", '"', "", "ünï", "a,b", "null", "a\\b"])
def test_odd_words_match_exactly(desk: Desk, odd: str) -> None:
    job = desk.add(tags=(odd, "x"), key=odd, queue=f"q{odd}")
    desk.add(tags=("axb", "50x"), key="axb", queue="qx")

    assert ids(desk, tag=odd) == [job]
    assert ids(desk, key=odd) == [job]
    assert ids(desk, queues=[f"q{odd}"]) == [job]
    assert desk.job(job).tags == (odd, "x")


def test_by_lease(desk: Desk) -> None:
    first = desk.add()
    mine = desk.worker()
    desk.claim_one(mine, first)
    second = desk.add()
    other = desk.worker()
    claimed = desk.claim_one(other, second)

    assert ids(desk, lease=mine) == [first]
    assert ids(desk, lease=other) == [second]
    desk.finish(other, claimed)
    assert ids(desk, lease=other) == []


def test_by_dead_letter(desk: Desk) -> None:
    jobs = [desk.add() for _ in range(3)]
    lease = desk.worker()
    claims = desk.claim(lease)
    prints = ("one", "two", "two")
    desk.settle(
        lease,
        *((claim, Died(Cause.FAILED, "x", fingerprint)) for claim, fingerprint in zip(claims, prints, strict=True)),
    )
    desk.alter_one(jobs[2], Replay())
    plain = desk.add()

    assert ids(desk, status="open") == jobs[:2]
    assert ids(desk, status="replayed") == [jobs[2]]
    assert ids(desk, status="resolved") == []
    assert ids(desk, fingerprint="two") == jobs[1:]
    assert ids(desk, fingerprint="two", status="open") == [jobs[1]]
    assert plain not in ids(desk, fingerprint="")


def test_by_moment_of_enqueue(desk: Desk) -> None:
    jobs = []
    for _ in range(3):
        jobs.append(desk.add())
        desk.later(1)
    middle = desk.now - 2 * SECOND

    assert ids(desk, enqueued_before=middle) == jobs[:1]
    assert ids(desk, enqueued_after=middle) == jobs[2:]
    assert ids(desk, enqueued_after=middle - 1, enqueued_before=middle + 1) == [jobs[1]]


def test_by_moment_of_end(desk: Desk) -> None:
    first, second = desk.add(), desk.add()
    desk.alter_one(first, Cancel())
    ended_at = desk.now
    desk.later(1)
    desk.alter_one(second, Cancel())
    desk.add()

    assert ids(desk, finished_before=ended_at) == []
    assert ids(desk, finished_before=ended_at + 1) == [first]
    assert ids(desk, finished_before=desk.now + 1) == [first, second]


@pytest.mark.parametrize("field", ["ids", "states", "queues", "tasks"])
def test_an_empty_sequence_matches_nothing(desk: Desk, field: str) -> None:
    desk.add()

    assert ids(desk, **{field: []}) == []


def test_fields_narrow_together(desk: Desk) -> None:
    job = desk.add("other", queue="red", tags=("a",))
    desk.add("other", queue="red")
    desk.add("other", tags=("a",))

    assert ids(desk, tasks=["other"], queues=["red"], tag="a", states=[State.QUEUED]) == [job]
    assert ids(desk, tasks=["other"], queues=["red"], tag="a", states=[State.DEAD]) == []


def test_newest_first_is_the_default(desk: Desk) -> None:
    jobs = [desk.add(queue="a"), desk.add(queue="b"), desk.add(queue="c")]
    desk.alter_one(jobs[1], Cancel())

    assert page(desk, Page()) == jobs[::-1]
    assert page(desk, Page(order=Order.OLDEST)) == jobs


@pytest.mark.parametrize("order", Order)
def test_pages_follow_each_other_without_gap_or_overlap(desk: Desk, order: Order) -> None:
    jobs = [desk.add() for _ in range(4)]
    desk.later(1)
    jobs += [desk.add() for _ in range(3)]
    for job in jobs[::2]:
        desk.alter_one(job, Cancel())
    seen: list[JobId] = []
    while found := page(desk, Page(limit=3, after=seen[-1] if seen else None, order=order)):
        seen += found

    assert seen == (jobs if order is Order.OLDEST else jobs[::-1])


def test_a_page_may_follow_a_job_that_the_filter_leaves_out(desk: Desk) -> None:
    first, second, third = (desk.add() for _ in range(3))
    desk.alter_one(second, Cancel())
    where = Filter(states=[State.QUEUED])

    assert page(desk, Page(after=second, order=Order.OLDEST), where) == [third]
    assert page(desk, Page(after=second, order=Order.NEWEST), where) == [first]


def test_a_page_after_a_job_that_is_not_stored_is_empty(desk: Desk) -> None:
    desk.add()

    assert page(desk, Page(after="nobody")) == []


def test_a_page_of_nothing(desk: Desk) -> None:
    desk.add()

    assert page(desk, Page(limit=0)) == []


def test_details_come_only_when_asked_for(desk: Desk) -> None:
    parent = desk.add()
    desk.child(parent)
    desk.run_once(parent, DEATH)
    [plain] = desk.run(desk.engine.find(Filter(ids=[parent]), Page()))
    detailed = desk.job(parent)

    assert (plain.attempts, plain.parents, plain.children, plain.notes) == ((), (), (), None)
    assert len(detailed.attempts) == 1
    assert len(detailed.children) == 1
    assert dict(detailed.notes or {}) == {}
    assert plain.dead == detailed.dead


def test_looking_changes_nothing(desk: Desk) -> None:
    desk.add()
    before = desk.snapshot()
    desk.find()
    page(desk, Page())

    assert desk.snapshot() == before
