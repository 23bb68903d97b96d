"""claim: who gets what, in which order, and who gets nothing."""

import pytest

from conformance.desk import SECOND, TASKS, Desk
from treadle.model.job import Claims, JobId, Want
from treadle.model.outcome import Crashed, Released, Retrying, Snoozed
from treadle.model.record import Space, Write
from treadle.model.state import State


def ids(jobs: list) -> list[JobId]:
    return [job.id for job in jobs]


def pause(desk: Desk, queue: str) -> None:
    desk.run(desk.engine.write([Write(Space.PAUSED, queue, '{"by": "ada"}')]))


def test_a_claimed_job_runs_under_the_lease(desk: Desk) -> None:
    job = desk.add(args='{"n": 1}', options='{"a": 1}', headers='{"b": 2}', priority=3, version=2, codec="json")
    lease = desk.worker("w9")
    enqueued_at, claimed_at = desk.now, desk.later(5)

    claimed = desk.claim_one(lease, job)

    assert (claimed.task, claimed.version, claimed.codec, claimed.queue, claimed.priority) == ("work", 2, "json", "default", 3)
    assert (claimed.args, claimed.options, claimed.headers) == ('{"n": 1}', '{"a": 1}', '{"b": 2}')
    assert (claimed.attempt, claimed.failures, claimed.crashes, claimed.snoozes) == (1, 0, 0, 0)
    assert (claimed.enqueued_at, claimed.claimed_at) == (enqueued_at, claimed_at)
    assert (claimed.first_failed_at, claimed.start_by, claimed.suspect) == (None, None, False)
    stored = desk.job(job)
    assert (stored.state, stored.attempt, stored.lease, stored.worker) == (State.RUNNING, 1, lease, "w9")
    assert stored.claimed_at == claimed_at


def test_a_job_is_claimed_once(desk: Desk) -> None:
    job = desk.add()
    first, second = desk.worker("w1"), desk.worker("w2")

    assert ids(desk.claim(first)) == [job]
    assert desk.claim(second) == []
    assert desk.claim(first) == []


def test_larger_priority_goes_first_then_the_order_of_arrival(desk: Desk) -> None:
    low, normal, also_normal, high = (desk.add(priority=priority) for priority in (-50, 0, 0, 50))

    assert ids(desk.claim(desk.worker())) == [high, normal, also_normal, low]


def test_order_of_arrival_is_the_order_of_the_batch(desk: Desk) -> None:
    first, second, third = desk.new(), desk.new(), desk.new()
    desk.enqueue(third, first, second)

    assert ids(desk.claim(desk.worker())) == [third.id, first.id, second.id]


def test_a_claim_of_other_tasks_finds_what_others_walked_by(desk: Desk) -> None:
    passed = desk.add(task="other")
    wanted = [desk.add(task="work") for _ in range(4)]
    lease = desk.worker()

    assert ids(desk.claim(lease, Want("default", 2, 2), tasks=["work"])) == wanted[:2]
    assert ids(desk.claim(lease, Want("default", 2, 2), tasks=["other"])) == [passed]
    assert ids(desk.claim(lease, Want("default", 2, 2), tasks=["work"])) == wanted[2:]


def test_each_want_gets_its_take(desk: Desk) -> None:
    red = [desk.add(queue="red") for _ in range(3)]
    blue = [desk.add(queue="blue") for _ in range(3)]

    jobs = desk.claim(desk.worker(), Want("blue", 2, 2), Want("red", 1, 1))

    assert ids(jobs) == [*blue[:2], red[0]]


def test_what_one_queue_leaves_goes_to_the_others_in_their_order(desk: Desk) -> None:
    red = [desk.add(queue="red") for _ in range(6)]
    blue = [desk.add(queue="blue") for _ in range(6)]
    green = [desk.add(queue="green")]

    jobs = desk.claim(desk.worker(), Want("red", 1, 3), Want("green", 5, 6), Want("blue", 1, 9))

    assert ids(jobs) == [*red[:3], *green, *blue[:3]]


def test_a_queue_never_gets_more_than_its_up_to(desk: Desk) -> None:
    red = [desk.add(queue="red") for _ in range(6)]

    assert ids(desk.claim(desk.worker(), Want("blue", 4, 4), Want("red", 1, 2))) == red[:2]


def test_all_wants_together_never_get_more_than_the_sum_of_takes(desk: Desk) -> None:
    for _ in range(9):
        desk.add(queue="red")
        desk.add(queue="blue")

    assert len(desk.claim(desk.worker(), Want("red", 2, 9), Want("blue", 1, 9))) == 3


def test_a_want_of_nothing_may_still_take_what_is_left(desk: Desk) -> None:
    red = [desk.add(queue="red") for _ in range(3)]

    assert ids(desk.claim(desk.worker(), Want("red", 0, 5), Want("blue", 2, 2))) == red[:2]


def test_no_want_gets_no_job(desk: Desk) -> None:
    desk.add()

    assert desk.run(desk.engine.claim(desk.worker(), [], TASKS, now=desk.now)) == Claims([], False)


def test_overflow_respects_priority_within_a_queue(desk: Desk) -> None:
    low = desk.add(queue="red", priority=-1)
    high = desk.add(queue="red", priority=1)
    middle = desk.add(queue="red")

    assert ids(desk.claim(desk.worker(), Want("red", 1, 3), Want("blue", 2, 2))) == [high, middle, low]


def test_unknown_tasks_are_left_for_workers_that_know_them(desk: Desk) -> None:
    strange = [desk.add("strange", priority=9) for _ in range(3)]
    job = desk.add("work")

    lease = desk.worker()
    assert ids(desk.claim(lease)) == [job]
    assert desk.claim(lease, tasks=()) == []
    assert desk.states(*strange) == [State.QUEUED] * 3
    assert ids(desk.claim(lease, tasks=("strange",))) == strange


def test_a_paused_queue_gives_nothing_until_it_is_resumed(desk: Desk) -> None:
    red, blue = desk.add(queue="red"), desk.add(queue="blue")
    pause(desk, "red")
    lease = desk.worker()

    assert ids(desk.claim(lease, Want("red", 5, 5), Want("blue", 5, 5))) == [blue]
    desk.run(desk.engine.write([Write(Space.PAUSED, "red", None)]))
    assert ids(desk.claim(lease, Want("red", 5, 5), Want("blue", 5, 5))) == [red]


def test_what_a_paused_queue_leaves_goes_to_the_others(desk: Desk) -> None:
    desk.add(queue="red")
    blue = [desk.add(queue="blue") for _ in range(3)]
    pause(desk, "red")

    assert ids(desk.claim(desk.worker(), Want("red", 2, 2), Want("blue", 1, 9))) == blue


def test_a_job_past_its_start_by_deadline_is_left(desk: Desk) -> None:
    job = desk.add(start_within=5.0, priority=9)
    plain = desk.add()
    lease = desk.worker()
    desk.later(5 + 1e-6)

    assert ids(desk.claim(lease)) == [plain]
    assert desk.state(job) is State.QUEUED


def test_a_job_at_its_start_by_deadline_is_claimed(desk: Desk) -> None:
    job = desk.add(start_within=5.0)
    lease = desk.worker()
    start_by = desk.later(5)

    assert desk.claim_one(lease, job).start_by == start_by


@pytest.mark.parametrize("live", [State.SCHEDULED, State.BLOCKED, State.RETRYING])
def test_only_queued_jobs_are_claimed(desk: Desk, live: State) -> None:
    lease = desk.worker()
    if live is State.SCHEDULED:
        job = desk.add(delay=1.0)
    elif live is State.BLOCKED:
        job = desk.child(desk.add())
        desk.claim(lease)
    else:
        job = desk.add()
        desk.run_once(job, Retrying(1.0, "{}"))
    desk.later(10)

    assert desk.claim(lease) == []
    assert desk.state(job) is live


def test_an_unknown_lease_claims_nothing_and_is_told(desk: Desk) -> None:
    job = desk.add()

    assert desk.run(desk.engine.claim("nobody", [Want("default", 1, 1)], TASKS, now=desk.now)) == Claims([], True)
    assert desk.state(job) is State.QUEUED


def test_an_expired_lease_claims_nothing_and_is_told(desk: Desk) -> None:
    job = desk.add()
    lease = desk.worker(length=30.0)
    wants = [Want("default", 1, 1)]
    desk.later(30)

    assert desk.run(desk.engine.claim(lease, wants, TASKS, now=desk.now)) == Claims([], True)
    assert desk.state(job) is State.QUEUED
    desk.later(-1e-6)
    assert ids(desk.claim(lease)) == [job]


def make_suspect(desk: Desk, *jobs: JobId) -> None:
    lease = desk.worker("doomed", length=1.0)
    assert set(ids(desk.claim(lease, suspects=100))) == set(jobs)
    desk.later(1)
    assert {rescued.id for rescued in desk.rescue(delay=1.0)} == set(jobs)
    desk.later(1)
    assert desk.promote().queued == len(jobs)


def test_suspects_are_claimed_only_as_many_as_asked_for(desk: Desk) -> None:
    suspects = [desk.add() for _ in range(3)]
    make_suspect(desk, *suspects)
    plain = [desk.add() for _ in range(2)]
    lease = desk.worker()

    assert ids(desk.claim(lease)) == plain
    [one] = desk.claim(lease, suspects=1)
    assert (one.id, one.suspect, one.crashes) == (suspects[0], True, 1)
    assert ids(desk.claim(lease, suspects=5)) == suspects[1:]


def test_a_suspect_passed_by_leaves_its_place_to_the_next(desk: Desk) -> None:
    suspects = [desk.add(priority=9) for _ in range(2)]
    make_suspect(desk, *suspects)
    plain = [desk.add() for _ in range(3)]

    assert ids(desk.claim(desk.worker(), Want("default", 3, 3), suspects=1)) == [suspects[0], *plain[:2]]


def test_the_number_of_suspects_counts_over_all_wants(desk: Desk) -> None:
    suspects = [desk.add() for _ in range(2)]
    make_suspect(desk, *suspects)
    for _ in range(2):
        desk.add(queue="red")
    lease = desk.worker()
    wants = [Want("default", 1, 9), Want("red", 0, 9), Want("default", 3, 9)]

    jobs = desk.claim(lease, *wants, suspects=1)

    assert [job.suspect for job in jobs] == [True, False, False]


@pytest.mark.parametrize(
    ("outcome", "counters"),
    [
        (Retrying(1.0, "{}"), (1, 0, 0)),
        (Crashed("signal 9", 1.0), (0, 1, 0)),
        (Snoozed(1.0), (0, 0, 1)),
        (Released(), (0, 0, 0)),
    ],
)
def test_the_next_attempt_knows_what_came_before(desk: Desk, outcome: object, counters: tuple[int, int, int]) -> None:
    job = desk.add()
    desk.run_once(job, outcome)  # type: ignore[arg-type]
    failed_at = desk.now
    desk.later(1)
    desk.promote()

    claimed = desk.claim_one(desk.worker(), job)

    assert claimed.attempt == 2
    assert (claimed.failures, claimed.crashes, claimed.snoozes) == counters
    assert claimed.first_failed_at == (failed_at if counters[0] else None)


def test_the_first_failure_is_remembered_over_later_ones(desk: Desk) -> None:
    job = desk.add()
    first = desk.now
    for _ in range(2):
        desk.run_once(job, Retrying(1.0, "{}"))
        desk.later(1)
        desk.promote()

    assert desk.claim_one(desk.worker(), job).first_failed_at == first


def test_a_claim_does_not_look_past_what_it_takes(desk: Desk) -> None:
    job = desk.add(start_within=5.0)
    desk.later(SECOND)

    assert desk.claim(desk.worker(), Want("default", 0, 0)) == []
    assert desk.state(job) is State.QUEUED
