"""Which slots are fired and which are let go, by how late they are seen."""

from itertools import islice, takewhile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.policy.catching_up import AT_ONCE, ON_TIME, CatchUp, Decision, Passed, decide
from treadle.policy.slots import SECOND, Interval

MINUTE = 60 * SECOND
HOURLY = Interval(60 * MINUTE)
DAY = 24 * 60 * MINUTE
NOON = 1000 * DAY + DAY // 2
HOUR = HOURLY.period


def test_nothing_has_come() -> None:
    for how in CatchUp:
        assert decide(HOURLY, NOON, NOON + HOUR - 1, how, DAY) is None
        assert decide(HOURLY, NOON, NOON - HOUR, how, DAY) is None


def test_a_slot_on_time_is_fired_whatever_is_said_of_missed_ones() -> None:
    for how in CatchUp:
        for late in (0, ON_TIME):
            assert decide(HOURLY, NOON - HOUR, NOON + late, how, DAY) == Decision((NOON,), (), NOON)


def test_once_fires_the_latest_for_all_that_were_missed() -> None:
    decision = decide(HOURLY, NOON - 5 * HOUR, NOON + 10 * MINUTE, CatchUp.ONCE, DAY)
    missed = Passed(NOON - 4 * HOUR, NOON - HOUR, 4, "missed: a later slot stands for it")
    assert decision == Decision((NOON,), (missed,), NOON)


def test_skip_lets_missed_slots_go_and_fires_what_is_on_time() -> None:
    decision = decide(HOURLY, NOON - 2 * HOUR, NOON + 10 * MINUTE, CatchUp.SKIP, DAY)
    assert decision == Decision((), (Passed(NOON - HOUR, NOON, 2, "missed"),), NOON)
    decision = decide(HOURLY, NOON - 2 * HOUR, NOON, CatchUp.SKIP, DAY)
    assert decision == Decision((NOON,), (Passed(NOON - HOUR, NOON - HOUR, 1, "missed"),), NOON)


def test_all_fires_all_in_steps() -> None:
    decision = decide(HOURLY, NOON - 5 * HOUR, NOON, CatchUp.ALL, DAY)
    assert decision == Decision(tuple(NOON - hours * HOUR for hours in (4, 3, 2, 1, 0)), (), NOON)
    minutely = Interval(MINUTE)
    decision = decide(minutely, NOON - 150 * MINUTE, NOON, CatchUp.ALL, DAY)
    assert decision is not None
    assert len(decision.fire) == AT_ONCE
    assert decision.through == decision.fire[-1] == NOON - 50 * MINUTE


@pytest.mark.parametrize("how", CatchUp)
def test_beyond_the_window_nothing_is_caught_up(how: CatchUp) -> None:
    decision = decide(HOURLY, NOON - 100 * HOUR, NOON, how, 3 * HOUR)
    assert decision is not None
    assert decision.passed[0] == Passed(NOON - 99 * HOUR, NOON - 4 * HOUR, 96, "missed: older than the window")
    assert decision.through == NOON
    assert len(decision.fire) == (4 if how is CatchUp.ALL else 1)


def test_all_of_nothing_within_the_window_still_moves_on() -> None:
    decision = decide(Interval(DAY), NOON - 10 * DAY, NOON, CatchUp.ALL, HOUR)
    assert decision is not None
    assert (decision.fire, decision.through) == ((), NOON - DAY // 2)


def test_a_year_of_seconds_is_counted_to_ten_thousand() -> None:
    decision = decide(Interval(SECOND), NOON - 365 * DAY, NOON, CatchUp.ONCE, 0)
    assert decision is not None
    assert decision.passed[0].number == 10_000
    assert len(decision.fire) == 61


@given(
    st.integers(1, 200),
    st.lists(st.integers(0, 20_000), min_size=1, max_size=12),
    st.sampled_from(CatchUp),
    st.integers(0, 9000),
)
def test_every_slot_is_decided_once_however_the_looks_fall(period: int, pauses: list[int], how: CatchUp, window: int) -> None:
    rule, through, now = Interval(period * SECOND), NOON, NOON
    decided: list[int] = []
    let_go = 0
    for pause in pauses:
        now += pause * SECOND
        while (decision := decide(rule, through, now, how, window * SECOND)) is not None:
            assert decision.through > through
            assert all(now - slot <= max(window * SECOND, ON_TIME) for slot in decision.fire)
            if how is CatchUp.SKIP:
                assert all(now - slot <= ON_TIME for slot in decision.fire)
            decided += decision.fire
            let_go += sum(each.number for each in decision.passed)
            through = decision.through
    there = list(islice(takewhile(lambda slot: slot <= now, rule.after(NOON)), 200_000))
    assert decided == sorted(set(decided))
    assert set(decided) <= set(there)
    if let_go < 10_000:
        assert len(decided) + let_go == len(there)
    if how is CatchUp.ALL and window * SECOND >= now - NOON:
        assert decided == there
