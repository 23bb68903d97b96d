"""count: how many jobs, by the axes asked for, and since when the oldest waits."""

from conformance.desk import DEATH, SECOND, Desk
from treadle.model.filter import Axis, Cancel, Count, Filter, Replay
from treadle.model.outcome import Completed
from treadle.model.state import State


def count(desk: Desk, *by: Axis, **fields: object) -> list[Count]:
    return desk.run(desk.engine.count(Filter(**fields), by))


def test_nothing_to_count(desk: Desk) -> None:
    assert count(desk, Axis.STATE) == []
    assert count(desk) == [Count((), 0, None)]


def test_by_state_is_the_default(desk: Desk) -> None:
    desk.add()

    assert desk.run(desk.engine.count(Filter())) == [Count(("queued",), 1, desk.now)]


def test_live_and_finished_jobs_are_counted_alike(desk: Desk) -> None:
    start = desk.now
    jobs = [desk.add() for _ in range(4)]
    lease = desk.worker()
    claims = desk.claim(lease)
    desk.settle(lease, (claims[0], Completed()), (claims[1], DEATH), (claims[2], DEATH))
    desk.later(1)
    desk.add(delay=9.0)

    assert count(desk, Axis.STATE) == [
        Count(("completed",), 1, start),
        Count(("dead",), 2, start),
        Count(("running",), 1, start),
        Count(("scheduled",), 1, desk.now + 9 * SECOND),
    ]
    assert count(desk) == [Count((), 5, start)]
    assert len(jobs) == 4


def test_by_queue_and_task(desk: Desk) -> None:
    for queue, task in (("red", "work"), ("blue", "other"), ("red", "work"), ("red", "other")):
        desk.add(task, queue=queue)

    assert [(each.key, each.count) for each in count(desk, Axis.QUEUE, Axis.TASK)] == [
        (("blue", "other"), 1),
        (("red", "other"), 1),
        (("red", "work"), 2),
    ]
    assert [(each.key, each.count) for each in count(desk, Axis.TASK, Axis.QUEUE)] == [
        (("other", "blue"), 1),
        (("other", "red"), 1),
        (("work", "red"), 2),
    ]


def test_by_status_of_the_dead_letter(desk: Desk) -> None:
    jobs = [desk.add() for _ in range(3)]
    lease = desk.worker()
    desk.settle(lease, *((claimed, DEATH) for claimed in desk.claim(lease)[:2]))
    desk.alter_one(jobs[0], Replay())

    assert [(each.key, each.count) for each in count(desk, Axis.STATUS)] == [
        ((None,), 1),
        (("open",), 1),
        (("replayed",), 1),
    ]


def test_all_axes_at_once(desk: Desk) -> None:
    job = desk.add("other", queue="red")
    desk.alter_one(job, Cancel())

    assert count(desk, Axis.STATE, Axis.QUEUE, Axis.TASK, Axis.STATUS) == [
        Count(("cancelled", "red", "other", None), 1, desk.now),
    ]


def test_only_what_the_filter_means_is_counted(desk: Desk) -> None:
    desk.add(queue="red", tags=("a",))
    desk.add(queue="red")
    desk.add(queue="blue")

    assert [(each.key, each.count) for each in count(desk, Axis.QUEUE, queues=["red"])] == [(("red",), 2)]
    assert [each.count for each in count(desk, tag="a")] == [1]
    assert count(desk, Axis.QUEUE, states=[]) == []
    assert count(desk, states=[State.DEAD]) == [Count((), 0, None)]


def test_the_oldest_is_by_due_time_where_there_is_one(desk: Desk) -> None:
    first = desk.add(delay=60.0)
    desk.later(10)
    second = desk.add()
    assert desk.job(first).due_at == desk.now + 50 * SECOND

    [total] = count(desk)

    assert total.oldest == desk.job(second).enqueued_at


def test_every_job_is_in_exactly_one_state(desk: Desk) -> None:
    for _ in range(6):
        desk.add()
    lease = desk.worker()
    claims = desk.claim(lease)
    desk.settle(lease, (claims[0], Completed()), (claims[1], DEATH))
    desk.alter(Filter(ids=[claims[1].id]), Replay(delay=5.0))

    assert sum(each.count for each in count(desk, Axis.STATE)) == 6
