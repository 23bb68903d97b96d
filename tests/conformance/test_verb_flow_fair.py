"""Tenants: within a queue and a priority each gets its share, whoever floods it."""

import random
from collections import Counter
from typing import Any

import pytest

from conformance.desk import DEATH, Desk
from treadle.model.errors import InvalidOption
from treadle.model.filter import Replay
from treadle.model.flow import Hold, Ordering
from treadle.model.job import JobId, Want
from treadle.model.outcome import Completed, Released
from treadle.model.record import Space, Write
from treadle.model.state import State

ONE = Want("default", 1, 1)


def served(desk: Desk, count: int, *, by: dict[JobId, str]) -> list[str]:
    """The tenants of the next jobs, each claimed alone and completed."""
    lease = desk.worker("serves", 1e6)
    tenants: list[str] = []
    for _ in range(count):
        for claimed in desk.claim(lease, ONE):
            tenants.append(by[claimed.id])
            desk.finish(lease, claimed)
    return tenants


def flood(desk: Desk, tenants: dict[str, int], by: dict[JobId, str]) -> None:
    """So many jobs of each tenant, in the order of the tenants."""
    jobs = [desk.new(fair=tenant or None) for tenant, count in tenants.items() for _ in range(count)]
    by.update((job.id, job.fair or "") for job in jobs)
    desk.enqueue(*jobs)


def test_tenants_take_turns(desk: Desk) -> None:
    by: dict[JobId, str] = {}
    flood(desk, {"a": 5, "b": 2, "c": 3}, by)

    assert served(desk, 10, by=by) == [*"abc", *"abc", *"ac", "a", "a"]


def test_a_tenant_that_comes_late_is_served_next(desk: Desk) -> None:
    by: dict[JobId, str] = {}
    flood(desk, {"a": 100}, by)
    assert served(desk, 3, by=by) == ["a"] * 3
    flood(desk, {"b": 2}, by)

    assert served(desk, 4, by=by) == [*"ab", *"ab"]


def test_jobs_of_one_tenant_keep_their_order(desk: Desk) -> None:
    jobs = [desk.add(fair=tenant) for tenant in "aabba"]

    assert [each.id for each in desk.claim(desk.worker())] == [jobs[i] for i in (0, 2, 1, 3, 4)]


def test_priority_goes_before_fairness(desk: Desk) -> None:
    first, second = desk.add(fair="a"), desk.add(fair="a")
    urgent = [desk.add(fair="a", priority=1) for _ in range(2)]
    other = desk.add(fair="b")

    assert [each.id for each in desk.claim(desk.worker())] == [*urgent, first, other, second]


def test_weights_say_who_gets_how_much(desk: Desk) -> None:
    desk.write(Write(Space.FAIR, "default", '{"paid": 3, "free": 1}'))
    by: dict[JobId, str] = {}
    flood(desk, {"free": 40, "paid": 40, "other": 40}, by)
    shares = Counter(served(desk, 50, by=by))

    assert abs(shares["paid"] - 30) <= 1
    assert abs(shares["free"] - 10) <= 1
    assert abs(shares["other"] - 10) <= 1


def test_jobs_without_a_tenant_are_one_tenant_more(desk: Desk) -> None:
    by: dict[JobId, str] = {}
    flood(desk, {"": 4}, by)
    flood(desk, {"a": 3}, by)
    flood(desk, {"": 2}, by)

    order = served(desk, 9, by=by)
    assert order[:2] == ["", "a"]
    assert sorted(order) == [*[""] * 6, *"aaa"]


def test_jobs_without_a_tenant_keep_their_order(desk: Desk) -> None:
    plain = [desk.add() for _ in range(3)]
    desk.add(fair="a")
    plain += [desk.add() for _ in range(3)]
    desk.add(fair="a")
    plain += [desk.add(), desk.add()]
    claimed = [each.id for each in desk.claim(desk.worker())]

    assert [each for each in claimed if each in plain] == plain


def test_nobody_pays_for_what_was_served_before_the_queue_was_empty(desk: Desk) -> None:
    by: dict[JobId, str] = {}
    flood(desk, {"a": 50}, by)
    served(desk, 50, by=by)
    flood(desk, {"b": 5, "a": 2}, by)

    assert served(desk, 7, by=by) == [*"ba", *"ba", *"bbb"]


@pytest.mark.parametrize("late", [{}, {"fair": "c"}, {"fair": "a"}, {"holds": (Hold("api"),)}, {"ordering": Ordering("line")}])
def test_who_is_too_late_to_start_stands_in_the_queue_until_it_expires(desk: Desk, late: dict[str, Any]) -> None:
    """A claim that passes it by does not empty the queue: what was given to tenants before counts on."""
    expiring = desk.add(start_within=1.0, **late)
    first, second = desk.add(fair="a"), desk.add(fair="a")
    desk.later(2)
    lease = desk.worker()
    claimed = desk.claim(lease)
    assert [each.id for each in claimed] == [first, second]
    desk.settle(lease, (claimed[1], Released()))
    other = desk.add(fair="b")

    assert [each.id for each in desk.claim(lease)] == [other, second]
    assert desk.promote().expired == 1
    assert desk.state(expiring) is State.EXPIRED
    last, newcomer = desk.add(fair="a"), desk.add(fair="d")
    assert [each.id for each in desk.claim(lease)] == [last, newcomer]


@pytest.mark.parametrize("weight", [16, 80, 400, 2000, 0.3, 7])
def test_the_step_of_a_tenant_is_a_whole_number_halves_to_the_even_one(desk: Desk, weight: float) -> None:
    same = 1000 / max(1, round(1000 / weight))
    desk.write(Write(Space.FAIR, "default", f'{{"a": {weight}, "b": {same}}}'))
    first = [desk.add(fair="a") for _ in range(3)]
    other = [desk.add(fair="b") for _ in range(3)]

    claimed = [each.id for each in desk.claim(desk.worker())]
    assert claimed == [each for pair in zip(first, other, strict=True) for each in pair]


def test_what_a_tenant_was_given_counts_on_under_a_smaller_weight(desk: Desk) -> None:
    lease = desk.worker()
    desk.add(fair="a")
    for _ in range(6):
        desk.add(fair="b")
    desk.claim(lease, Want("default", 5, 5))
    desk.add(fair="b")
    desk.write(Write(Space.FAIR, "default", '{"a": 0.01}'))
    late = desk.add(fair="a")
    for _ in range(3):
        desk.add(fair="b")

    assert desk.claim(lease)[-1].id == late


def test_who_comes_back_takes_its_tenants_turn(desk: Desk) -> None:
    by: dict[JobId, str] = {}
    flood(desk, {"a": 3, "b": 3}, by)
    worker = desk.worker()
    [first] = desk.claim(worker, ONE)
    desk.finish(worker, first, Released())

    assert served(desk, 6, by=by) == ["b", "a", "b", "a", "b", "a"]


def test_a_later_and_a_replayed_job_take_their_tenants_turn(desk: Desk) -> None:
    by: dict[JobId, str] = {}
    late, sent_back = desk.new(fair="b", delay=5.0), desk.new(fair="c")
    by |= {late.id: "b", sent_back.id: "c"}
    desk.enqueue(late, sent_back)
    desk.run_once(sent_back.id, DEATH)
    desk.alter_one(sent_back.id, Replay())
    flood(desk, {"a": 4}, by)
    desk.later(5)
    desk.promote()

    assert served(desk, 6, by=by) == ["b", "c", "a", "a", "a", "a"]


def test_a_parked_job_keeps_the_place_it_was_given(desk: Desk) -> None:
    desk.limit("api", rate=1, per=10)
    worker = desk.worker()
    holds = (Hold("api"),)
    desk.claim_one(worker, desk.add(holds=holds))
    parked = desk.add(fair="a", holds=holds)
    others = [desk.add(fair=tenant) for tenant in "ab"]
    assert desk.claim(worker, ONE)[0].id == others[1]
    behind = desk.add(fair="b")
    desk.later(10)
    desk.promote()

    assert [each.id for each in desk.claim(worker)] == [parked, others[0], behind]


def test_with_one_of_a_thousand_tenants_flooding_nobody_else_waits_twice_as_long(plain_desk: Desk) -> None:
    desk, dice = plain_desk, random.Random(7)
    tenants = [f"t{number}" for number in range(999)]
    arrivals = tenants * 2
    dice.shuffle(arrivals)

    def waits(queue: str, flooding: int) -> list[int]:
        """How many starts each job of another tenant waits for: its own is the last of them."""
        by: dict[JobId, str] = {}
        jobs = [desk.new(queue=queue, fair=tenant) for tenant in ["flood"] * flooding + arrivals]
        by.update((job.id, job.fair or "") for job in jobs)
        desk.enqueue(*jobs)
        lease, want = desk.worker(queue, 1e6), Want(queue, 20, 20)
        order: list[str] = []
        while sum(tenant != "flood" for tenant in order) < len(arrivals):
            claimed = desk.claim(lease, want)
            order += [by[each.id] for each in claimed]
            desk.settle(lease, *((each, Completed()) for each in claimed))
        return [place + 1 for place, tenant in enumerate(order) if tenant != "flood"]

    alone, flooded = waits("alone", 0), waits("flooded", 3000)
    assert len(alone) == len(flooded) == len(arrivals)
    assert all(late <= 2 * place for late, place in zip(flooded, alone, strict=True))


def test_a_record_that_holds_no_weights_is_refused(desk: Desk) -> None:
    numbers = ('{"a": 0}', '{"a": 1e-9}', '{"a": -1}', '{"a": "1"}', '{"a": true}')
    for value in ("[]", "no", '{"a\\u0000b": 3}', '{"\\ud800": 2}', *numbers):
        with pytest.raises(InvalidOption):
            desk.write(Write(Space.FAIR, "default", value))

    assert desk.run(desk.engine.read(Space.FAIR)) == []
