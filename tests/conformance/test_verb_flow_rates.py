"""Rates: how many may start, when the others may, and whom they hold up meanwhile."""

import pytest

from conformance.desk import SECOND, START, Desk
from treadle.model.errors import InvalidOption
from treadle.model.flow import Gate, Hold, Rule
from treadle.model.job import Want
from treadle.model.outcome import Note, NoteKind, Retrying, Verdict
from treadle.model.record import Space, Write
from treadle.model.state import State

API = (Hold("api"),)


def held(*keys: str) -> tuple[Hold, ...]:
    return tuple(Hold("api", key) for key in keys)


def test_a_job_that_holds_a_limit_without_a_rule_starts(desk: Desk) -> None:
    jobs = [desk.add(holds=API), desk.add(holds=(Hold("other", "k", 5), Hold("third")))]

    assert [each.id for each in desk.claim(desk.worker())] == jobs


def test_starts_are_spaced_evenly(desk: Desk) -> None:
    desk.limit("api", rate=60, per=60)
    jobs = [desk.add(holds=API) for _ in range(5)]

    assert desk.started(desk.worker(), 10) == [(float(i), job) for i, job in enumerate(jobs)]


def test_after_a_rest_a_burst_may_start_at_once(desk: Desk) -> None:
    desk.limit("api", rate=60, per=60, burst=3)
    for _ in range(6):
        desk.add(holds=API)
    worker = desk.worker()

    assert [at for at, _ in desk.started(worker, 10)] == [0.0, 0.0, 0.0, 1.0, 2.0, 3.0]
    for _ in range(3):
        desk.add(holds=API)
    assert [at for at, _ in desk.started(worker, 10)] == [0.0, 0.0, 0.0]


def test_a_cost_takes_as_much_of_the_rate(desk: Desk) -> None:
    desk.limit("api", rate=60, per=60, burst=3)
    for cost in (2, 2, 1, 3):
        desk.add(holds=(Hold("api", "", cost),))

    assert [at for at, _ in desk.started(desk.worker(), 20)] == [0.0, 1.0, 2.0, 5.0]


def test_a_cost_above_the_burst_starts_alone(desk: Desk) -> None:
    desk.limit("api", rate=60, per=60, burst=2)
    for cost in (1, 5, 1):
        desk.add(holds=(Hold("api", "", cost),))

    assert [at for at, _ in desk.started(desk.worker(), 20)] == [0.0, 1.0, 5.0]


def test_a_strict_rate_holds_in_every_window(desk: Desk) -> None:
    desk.limit("api", rate=3, per=10, strict=True)
    worker = desk.worker()
    first = desk.add(holds=API)
    desk.claim_one(worker, first)
    desk.later(4)
    for _ in range(6):
        desk.add(holds=API)

    assert [at for at, _ in desk.started(worker, 30)] == [0.0, 0.0, 6.0, 10.0, 10.0, 16.0]


def test_a_strict_cost_waits_until_enough_has_left_the_window(desk: Desk) -> None:
    desk.limit("api", rate=4, per=10, strict=True)
    for cost in (1, 2, 3, 9, 1):
        desk.add(holds=(Hold("api", "", cost),))

    assert [at for at, _ in desk.started(desk.worker(), 60)] == [0.0, 0.0, 10.0, 20.0, 30.0]


def test_a_small_cost_does_not_overtake_a_large_one(desk: Desk) -> None:
    desk.limit("api", rate=1, per=1, burst=3)
    worker = desk.worker()
    first, large = (desk.add(holds=(Hold("api", "", 3),)) for _ in range(2))
    desk.claim_one(worker, first)
    desk.later(1)
    small = desk.add(holds=API)
    assert desk.claim(worker) == []

    assert desk.started(worker, 10) == [(2.0, large), (3.0, small)]


def test_each_key_has_a_rate_of_its_own(desk: Desk) -> None:
    desk.limit("api", rate=1, per=10)
    red, red_too, blue = (desk.add(holds=held(key)) for key in ("red", "red", "blue"))

    assert desk.started(desk.worker(), 15) == [(0.0, red), (0.0, blue), (10.0, red_too)]


def test_who_may_not_start_is_parked_and_holds_nobody_up(desk: Desk) -> None:
    desk.limit("api", rate=1, per=10)
    first, second = desk.add(holds=API), desk.add(holds=API)
    plain = desk.add()
    answer = desk.claims_of(desk.worker())

    assert [each.id for each in answer.jobs] == [first, plain]
    assert answer.wakes_at == desk.now + 10 * SECOND
    parked = desk.job(second)
    assert (parked.state, parked.blocked_on) == (State.BLOCKED, "limit")
    assert desk.gates() == [Gate("api", "", 1, 1, desk.now + 10 * SECOND)]
    assert desk.promote().next_due == desk.now + 10 * SECOND


def test_who_was_parked_comes_back_to_where_it_stood(desk: Desk) -> None:
    desk.limit("api", rate=1, per=10)
    desk.add(holds=API)
    parked = desk.add(holds=API)
    worker = desk.worker()
    desk.claim(worker)
    later = [desk.add() for _ in range(3)]
    desk.later(10)

    assert desk.promote().queued == 1
    assert [each.id for each in desk.claim(worker)] == [parked, *later]


def test_the_parked_come_back_by_priority(desk: Desk) -> None:
    desk.limit("api", rate=1, per=10)
    worker = desk.worker()
    desk.add(holds=API)
    desk.claim(worker)
    low, high = desk.add(holds=API, priority=-1), desk.add(holds=API, priority=1)
    assert desk.claim(worker) == []

    assert desk.started(worker, 25) == [(10.0, high), (20.0, low)]


def test_several_limits_are_taken_together_or_not_at_all(desk: Desk) -> None:
    desk.limit("api", rate=1, per=10)
    desk.limit("mail", rate=1, per=100)
    both = (Hold("api"), Hold("mail"))
    first, second, third = desk.add(holds=both), desk.add(holds=both), desk.add(holds=API)

    assert desk.started(desk.worker(), 150) == [(0.0, first), (10.0, third), (100.0, second)]


def test_a_hold_named_twice_counts_once(desk: Desk) -> None:
    desk.limit("api", rate=1, per=10)
    desk.add(holds=(Hold("api"), Hold("api", "", 5)))
    desk.add(holds=API)

    assert [at for at, _ in desk.started(desk.worker(), 15)] == [0.0, 10.0]


def test_every_attempt_counts(desk: Desk) -> None:
    desk.limit("api", rate=1, per=10)
    job = desk.add(holds=API)
    worker = desk.worker()
    desk.finish(worker, desk.claim_one(worker, job), Retrying(1.0, "{}"))

    assert desk.started(worker, 15) == [(10.0, job)]


def test_a_rule_may_change_at_any_time(desk: Desk) -> None:
    desk.limit("api", rate=1, per=3600)
    worker = desk.worker()
    for _ in range(4):
        desk.add(holds=API)
    assert len(desk.started(worker, 60)) == 1

    desk.limit("api", rate=1, per=10)
    starts = [at for at, _ in desk.started(worker, 25)]

    assert 9 < starts[0] < 10
    assert starts[1] == pytest.approx(starts[0] + 10)


def test_a_rule_may_be_taken_away(desk: Desk) -> None:
    desk.limit("api", rate=1, per=3600)
    worker = desk.worker()
    jobs = [desk.add(holds=API) for _ in range(4)]
    desk.claim(worker)
    desk.write(Write(Space.LIMIT, "api", None))

    assert desk.started(worker, 1) == [(0.0, job) for job in jobs[1:]]


def test_a_record_that_is_no_rule_is_refused(desk: Desk) -> None:
    desk.limit("api", rate=1, per=10)
    for value in ("[]", "no", '{"rate": 0, "period": 1}', '{"rate": 1}', '{"strict": 1}', '{"concurrency": 1.5}'):
        with pytest.raises(InvalidOption):
            desk.write(Write(Space.SCHEDULE, "s", "1"), Write(Space.LIMIT, "api", value))

    assert desk.run(desk.engine.read(Space.SCHEDULE)) == []
    desk.write(Write(Space.LIMIT, "api", '{"rate": 1, "period": 5000000, "by": "ada"}'))
    assert Rule.from_text(desk.run(desk.engine.read(Space.LIMIT))[0].value) == Rule(1, 5_000_000)


def test_no_more_gated_jobs_are_taken_than_asked_for(desk: Desk) -> None:
    first, second = desk.add(holds=API), desk.add(holds=API)
    plain = desk.add()
    worker = desk.worker()

    answer = desk.claims_of(worker, gated=1)
    assert ([each.id for each in answer.jobs], answer.more) == ([first], True)
    answer = desk.claims_of(worker, gated=0)
    assert (answer.jobs, answer.more) == ([], True)
    answer = desk.claims_of(worker, Want("default", 1, 1), gated=1)
    assert ([each.id for each in answer.jobs], answer.more) == ([second], False)
    answer = desk.claims_of(worker, gated=0)
    assert ([each.id for each in answer.jobs], answer.more) == ([plain], False)


def test_a_gated_job_that_nobody_here_knows_holds_nobody_up(desk: Desk) -> None:
    desk.add("strange", holds=API)
    desk.add(holds=API, start_within=1.0)
    plain = desk.add()
    desk.later(2)
    answer = desk.claims_of(desk.worker(), gated=0)

    assert ([each.id for each in answer.jobs], answer.more) == ([plain], False)


@pytest.mark.parametrize("cost", [1, 10**7])
def test_the_largest_numbers_that_a_rule_may_hold_are_reckoned_with(desk: Desk, cost: int) -> None:
    """A thousand years of one start, and a burst that nobody ever uses up."""
    desk.limit("api", rate=1, per=7.5e9, burst=2**53 - 1)
    worker = desk.worker(length=1e6)
    for _ in range(2):
        jobs = desk.enqueue(*(desk.new(holds=(Hold("api", "", cost),)) for _ in range(3)))
        assert [each.id for each in desk.claim(worker)] == [each.id for each in jobs]


def test_gated_and_plain_jobs_come_in_one_order(desk: Desk) -> None:
    jobs = [desk.add(priority=priority, holds=holds) for priority in (0, 5) for holds in ((), API, (), API)]

    assert [each.id for each in desk.claim(desk.worker())] == [*jobs[4:], *jobs[:4]]


def test_so_many_blocked_jobs_are_judged_in_one_claim_and_the_rest_in_the_next(desk: Desk) -> None:
    desk.limit("api", rate=1, per=3600)
    desk.enqueue(*(desk.new(holds=API) for _ in range(1010)))
    plain = desk.add()
    worker = desk.worker()

    answer = desk.claims_of(worker)
    assert (len(answer.jobs), answer.more) == (1, True)
    assert desk.gates()[0].parked == 999
    answer = desk.claims_of(worker)
    assert ([each.id for each in answer.jobs], answer.more) == ([plain], False)
    assert desk.gates()[0].parked == 1009


@pytest.mark.parametrize(("asked", "first"), [(300, 300), (1500, 1000)])
def test_a_large_batch_of_gated_jobs_comes_in_order_with_the_plain_ones_between(desk: Desk, asked: int, first: int) -> None:
    """No more than are asked for, and no more than are judged in one claim; a plain job behind the last of them waits."""
    jobs = desk.enqueue(*(desk.new(holds=held(f"k{i % 7}") if i % 11 else ()) for i in range(1200)))
    gated = [i for i in range(1200) if i % 11]
    worker = desk.worker()

    answer = desk.claims_of(worker, Want("default", 1500, 1500), gated=asked)
    cut = gated[first]
    assert ([each.id for each in answer.jobs], answer.more) == ([each.id for each in jobs[:cut]], True)
    answer = desk.claims_of(worker, Want("default", 1500, 1500), gated=1000)
    assert ([each.id for each in answer.jobs], answer.more) == ([each.id for each in jobs[cut:]], False)


def test_a_key_at_rest_is_forgotten_and_a_busy_one_is_not(desk: Desk) -> None:
    desk.limit("api", rate=1, per=3600)
    worker = desk.worker(length=1e6)
    jobs = [desk.add(holds=API) for _ in range(2)]
    assert desk.started(worker, 60) == [(0.0, jobs[0])]
    desk.prune_all()

    assert desk.started(worker, 3600) == [(3540.0, jobs[1])]


def test_a_strict_rate_is_never_passed_in_any_window(plain_desk: Desk) -> None:
    desk = plain_desk
    desk.limit("api", rate=100, per=60, strict=True)
    for _ in range(10):
        desk.enqueue(*(desk.new(holds=API) for _ in range(100)))
    starts = [at for at, _ in desk.started(desk.worker(length=1e6), 1000)]

    assert len(starts) == 1000
    assert all(later - earlier >= 60 for earlier, later in zip(starts, starts[100:], strict=False))
    assert starts[-1] == 540
    assert desk.now > START


@pytest.mark.parametrize("beside", ['"a\\u0000b"', '"\\ud800"', "NaN", "Infinity"])
def test_a_rule_with_something_beside_it_that_not_every_engine_reads_is_refused(desk: Desk, beside: str) -> None:
    with pytest.raises(InvalidOption):
        desk.write(Write(Space.LIMIT, "api", f'{{"concurrency": 1, "by": {beside}}}'))

    assert desk.run(desk.engine.read(Space.LIMIT)) == []


def test_a_throttle_without_a_key_is_one_of_the_limit_without_keys(desk: Desk) -> None:
    first, second = desk.add(holds=(Hold("api"),)), desk.new(holds=(Hold("api"),))
    lease = desk.worker()
    claimed = desk.claim_one(lease, first)
    note = Note(claimed.ref, first, claimed.attempt, NoteKind.THROTTLE, "api", "5")
    assert desk.run(desk.engine.note(lease, [note], now=desk.now)) == [Verdict.DONE]
    desk.enqueue(second)

    assert desk.claim(lease) == []
    desk.later(5)
    assert desk.promote().queued == 1
    desk.claim_one(lease, second.id)
