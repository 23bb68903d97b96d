"""enqueue: every job stored once, or an answer that says why not."""

from conformance.desk import SECOND, Desk
from treadle.model.filter import Filter
from treadle.model.job import Edge, Enqueued, Stored
from treadle.model.outcome import Completed
from treadle.model.record import Guard, Space, Write
from treadle.model.state import State


def guard(expect: int | None, value: str | None = "1", key: str = "nightly") -> Guard:
    return Guard(Write(Space.SCHEDULE, key, value, expect))


def test_a_new_job_is_stored_as_it_was_handed_over(desk: Desk) -> None:
    job = desk.new(
        "work",
        args='{"n": 7}',
        queue="billing",
        priority=-3,
        version=4,
        codec="json+aes",
        options='{"timeout": 3}',
        headers='{"traceparent": "00"}',
        tags=("red", "blue"),
        key="acme",
    )

    assert desk.enqueue(job) == [Enqueued(job.id, Stored.STORED, State.QUEUED)]

    stored = desk.job(job.id)
    assert (stored.id, stored.task, stored.args, stored.queue) == (job.id, "work", '{"n": 7}', "billing")
    assert (stored.priority, stored.version, stored.codec) == (-3, 4, "json+aes")
    assert (stored.options, stored.headers, stored.key) == ('{"timeout": 3}', '{"traceparent": "00"}', "acme")
    assert set(stored.tags) == {"red", "blue"}
    assert (stored.enqueued_at, stored.due_at, stored.start_by) == (desk.now, None, None)
    assert (stored.attempt, stored.failures, stored.crashes, stored.snoozes, stored.releases) == (0, 0, 0, 0, 0)
    assert (stored.claimed_at, stored.finished_at, stored.lease, stored.worker) == (None, None, None, None)
    assert (stored.result, stored.reason, stored.progress, stored.dead, stored.blocked_on) == (None,) * 5
    assert (stored.cancel_requested, stored.stuck, stored.suspect) == (False, False, False)
    assert (stored.attempts, stored.parents, stored.children, dict(stored.notes or {})) == ((), (), (), {})


def test_nothing_to_store_is_nothing_stored(desk: Desk) -> None:
    assert desk.enqueue() == []
    assert desk.find() == []


def test_answers_stand_in_the_order_of_the_jobs(desk: Desk) -> None:
    jobs = [desk.new(), desk.new(delay=5.0), desk.new()]

    assert [answer.id for answer in desk.enqueue(*jobs)] == [job.id for job in jobs]


def test_a_delayed_job_is_scheduled(desk: Desk) -> None:
    job = desk.job(desk.add(delay=2.5))

    assert (job.state, job.due_at) == (State.SCHEDULED, desk.now + 2_500_000)


def test_run_at_is_taken_as_it_is(desk: Desk) -> None:
    job = desk.job(desk.add(run_at=desk.now + 1))

    assert (job.state, job.due_at) == (State.SCHEDULED, desk.now + 1)


def test_what_is_due_already_is_queued(desk: Desk) -> None:
    now = desk.job(desk.add(run_at=desk.now))
    past = desk.job(desk.add(run_at=desk.now - SECOND))
    zero = desk.job(desk.add(delay=0.0))

    assert [job.state for job in (now, past, zero)] == [State.QUEUED] * 3
    assert [job.due_at for job in (now, past, zero)] == [desk.now, desk.now - SECOND, desk.now]


def test_the_start_by_deadline_counts_from_the_due_time(desk: Desk) -> None:
    at_once = desk.job(desk.add(start_within=3.0))
    delayed = desk.job(desk.add(start_within=3.0, delay=10.0))

    assert at_once.start_by == desk.now + 3 * SECOND
    assert delayed.start_by == desk.now + 13 * SECOND


def test_a_repeated_enqueue_changes_nothing(desk: Desk) -> None:
    job = desk.new(args="[1]")
    desk.enqueue(job)
    before = desk.snapshot()
    desk.later(1)

    again = desk.new(id=job.id, args="[2]", queue="elsewhere", edges=(Edge("nobody"),), guard=guard(99))

    assert desk.enqueue(again) == [Enqueued(job.id, Stored.ALREADY, State.QUEUED)]
    desk.later(-1)
    assert desk.snapshot() == before


def test_a_repeated_enqueue_of_a_finished_job_changes_nothing(desk: Desk) -> None:
    job = desk.add()
    desk.run_once(job, Completed("7"))
    before = desk.snapshot()

    assert desk.enqueue(desk.new(id=job)) == [Enqueued(job, Stored.ALREADY, State.COMPLETED)]
    assert desk.snapshot() == before


def test_the_second_of_two_equal_ids_in_a_batch_is_already_there(desk: Desk) -> None:
    job = desk.new(args="[1]")

    answers = desk.enqueue(job, desk.new(id=job.id, args="[2]"))

    assert answers == [Enqueued(job.id, Stored.STORED, State.QUEUED), Enqueued(job.id, Stored.ALREADY, State.QUEUED)]
    assert desk.job(job.id).args == "[1]"


def test_a_guard_that_holds_is_written_with_the_job(desk: Desk) -> None:
    job = desk.new(guard=guard(0, "slot 1"))

    assert desk.enqueue(job)[0].verdict is Stored.STORED
    [record] = desk.run(desk.engine.read(Space.SCHEDULE))
    assert (record.key, record.value, record.version) == ("nightly", "slot 1", 1)


def test_a_guard_that_fails_stores_nothing(desk: Desk) -> None:
    desk.enqueue(desk.new(guard=guard(0, "slot 1")))
    before = desk.snapshot()
    job = desk.new(guard=guard(0, "slot 2"))

    assert desk.enqueue(job) == [Enqueued(job.id, Stored.GUARDED, None)]
    assert desk.snapshot() == before


def test_a_failed_guard_does_not_keep_the_others_out(desk: Desk) -> None:
    good, bad = desk.new(), desk.new(guard=guard(5))

    assert [answer.verdict for answer in desk.enqueue(good, bad)] == [Stored.STORED, Stored.GUARDED]
    assert [job.id for job in desk.find()] == [good.id]


def test_a_job_named_twice_is_answered_for_each_by_itself(desk: Desk) -> None:
    guarded = desk.new(guard=guard(5))
    again = desk.new(id=guarded.id)
    answers = [(each.verdict, each.state) for each in desk.enqueue(guarded, again)]
    assert answers == [(Stored.GUARDED, None), (Stored.STORED, State.QUEUED)]

    guarded = desk.new(guard=guard(5))
    again, stranger = desk.new(id=guarded.id), desk.new(edges=(Edge("nobody"),))
    answers = [(each.verdict, each.state) for each in desk.enqueue(guarded, again, stranger)]
    assert answers == [(Stored.GUARDED, None), (Stored.REFUSED, None), (Stored.UNKNOWN_PARENT, None)]


def test_guards_see_the_writes_of_those_before_them(desk: Desk) -> None:
    first, second, third = desk.new(guard=guard(0)), desk.new(guard=guard(0)), desk.new(guard=guard(1, "2"))

    verdicts = [answer.verdict for answer in desk.enqueue(first, second, third)]

    assert verdicts == [Stored.STORED, Stored.GUARDED, Stored.STORED]
    [record] = desk.run(desk.engine.read(Space.SCHEDULE))
    assert (record.value, record.version) == ("2", 2)


def test_a_guard_may_ask_for_nothing_and_may_delete(desk: Desk) -> None:
    desk.enqueue(desk.new(guard=guard(None, "a")))
    desk.enqueue(desk.new(guard=guard(None, "b")))
    [record] = desk.run(desk.engine.read(Space.SCHEDULE))
    assert (record.value, record.version) == ("b", 2)

    assert desk.enqueue(desk.new(guard=guard(2, None)))[0].verdict is Stored.STORED
    assert desk.run(desk.engine.read(Space.SCHEDULE)) == []


def test_ten_thousand_jobs_in_one_call(plain_desk: Desk) -> None:
    jobs = [plain_desk.new() for _ in range(10_000)]

    answers = plain_desk.enqueue(*jobs)

    assert [answer.id for answer in answers] == [job.id for job in jobs]
    assert {answer.verdict for answer in answers} == {Stored.STORED}
    assert sum(each.count for each in plain_desk.run(plain_desk.engine.count(Filter()))) == 10_000
    lease = plain_desk.worker()
    assert [claimed.id for claimed in plain_desk.claim(lease)] == [job.id for job in jobs[:100]]
