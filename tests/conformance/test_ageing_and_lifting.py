"""What is built from `Prioritise` goes the same way on every engine: ageing, and parents as urgent as their children."""

from conformance.desk import SECOND, Desk
from treadle.app.ageing import MANY, age_queues
from treadle.app.lifting import lift
from treadle.app.queue import age_write
from treadle.model.flow import Hold
from treadle.model.job import JobId


def turn(desk: Desk) -> dict[str, int]:
    return desk.run(age_queues(desk.engine, desk.now)).gained


def test_jobs_gain_priority_by_age_in_rounds(plain_desk: Desk) -> None:
    desk = plain_desk
    desk.write(age_write("default", 60.0, "ada"))
    jobs = [desk.new() for _ in range(MANY + 5)]
    desk.enqueue(*jobs)
    desk.add(queue="beside")
    assert turn(desk) == {"default": 0}
    desk.later(60.000001)
    new = desk.add(priority=5)

    assert [turn(desk), turn(desk), turn(desk)] == [{"default": MANY}, {"default": 5}, {}]
    lease, got = desk.worker(), list[JobId]()
    while claims := desk.claim(lease):
        got += [each.id for each in claims]
    assert got == [*(job.id for job in jobs), new]
    assert {job.priority for job in desk.find(queues=["beside"])} == {0}


def test_a_job_that_waited_for_its_time_has_not_waited_long(plain_desk: Desk) -> None:
    desk = plain_desk
    desk.write(age_write("default", 60.0, "ada"))
    job = desk.add(delay=3600.0)
    desk.later(3600)
    desk.promote()
    assert turn(desk) == {"default": 0}
    desk.later(61)

    assert turn(desk) == {"default": 1}
    assert (desk.job(job).priority, desk.job(job).due_at) == (10, desk.now - 61 * SECOND)


def test_waiting_ancestors_are_lifted(plain_desk: Desk) -> None:
    desk = plain_desk
    desk.limit("api", concurrency=1)
    oldest = desk.add(holds=(Hold("api"),), queue="beside")
    other = desk.add(priority=60)
    parent = desk.child(oldest, other)
    low = desk.child(parent, priority=-3)

    assert desk.run(lift(desk.engine, {low: 50, "nobody": 70})) == 3
    assert [desk.job(each).priority for each in (oldest, other, parent, low)] == [50, 60, 50, 50]
    assert desk.run(lift(desk.engine, {low: 50})) == 0
