"""The retry rule: how long it waits, and when it gives up."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.model.errors import InvalidDuration, InvalidOption
from treadle.model.outcome import Cause
from treadle.model.raised import GiveUp, Retry
from treadle.policy.retry import NO_RETRY, Again, Over, Retries, decide


def after_failure(rule, error=None, *, before=0, since=None, draw=0.5, after=None, exhausted=Cause.FAILED):
    return decide(
        rule,
        failures_before=before,
        since_first_failure=since,
        error=error or ValueError("x"),
        draw=draw,
        after=after,
        exhausted=exhausted,
    )


def test_the_default_doubles_from_a_second_to_ten_minutes_and_gives_up_with_the_fifth_failure():
    rule = Retries(jitter="none", max_failures=20)
    assert [rule.delay(n, 0.9) for n in (0, 1, 2, 9, 10, 5000)] == [1, 2, 4, 512, 600, 600]
    default = Retries()
    assert default.jitter == "full"
    assert [type(after_failure(default, before=n)) for n in range(5)] == [Again, Again, Again, Again, Over]


@given(
    failures=st.integers(0, 10_000),
    draw=st.floats(0, 1, exclude_max=True),
    first=st.floats(0, 1e4),
    factor=st.floats(1, 1000),
    cap=st.floats(0, 1e5),
)
def test_a_delay_is_finite_and_between_nothing_and_the_cap(failures, draw, first, factor, cap):
    rule = Retries(first=first, factor=factor, cap=cap)
    delay = rule.delay(failures, draw)
    assert math.isfinite(delay)
    assert 0 <= delay <= cap


@given(draws=st.lists(st.floats(0, 1, exclude_max=True), min_size=2, max_size=2), failures=st.integers(0, 20))
def test_full_jitter_is_proportional_to_the_draw(draws, failures):
    low, high = sorted(draws)
    rule = Retries()
    assert rule.delay(failures, low) <= rule.delay(failures, high) <= Retries(jitter="none").delay(failures, 0)
    assert rule.delay(failures, 0.0) == 0


def test_a_list_of_delays_is_kept_to_the_letter():
    rule = Retries(["1m", "5m"])
    assert rule.max_failures == 3
    assert after_failure(rule, before=0, draw=0.1) == Again(60)
    assert after_failure(rule, before=1, draw=0.9) == Again(300)
    over = after_failure(rule, before=2)
    assert isinstance(over, Over)
    assert over.cause is Cause.FAILED
    assert Retries(["10s"], jitter="full").delay(0, 0.5) == 5


def test_an_empty_list_and_no_retry_mean_one_try():
    assert isinstance(after_failure(Retries([])), Over)
    assert isinstance(after_failure(NO_RETRY), Over)


def test_errors_that_are_not_worth_another_try_end_at_once():
    rule = Retries(on=(OSError,), give_up_on=(FileNotFoundError,))
    assert isinstance(after_failure(rule, TimeoutError()), Again)
    for error in (ValueError(), FileNotFoundError(), KeyboardInterrupt()):
        over = after_failure(rule, error)
        assert isinstance(over, Over)
        assert over.cause is Cause.GAVE_UP
        assert type(error).__name__ in over.reason
    assert isinstance(after_failure(Retries(), KeyboardInterrupt()), Over)


def test_retry_raised_inside_a_job_is_always_worth_it_but_spends_a_failure():
    rule = Retries(on=(OSError,), max_failures=2)
    assert after_failure(rule, Retry(), after=7.5) == Again(7.5)
    assert isinstance(after_failure(rule, Retry(), before=1, after=7.5), Over)


def test_give_up_ends_at_once_with_its_reason():
    assert after_failure(Retries(), GiveUp("card declined")) == Over(Cause.GAVE_UP, "card declined")
    assert after_failure(Retries(), GiveUp()).reason


def test_the_cause_of_exhaustion_is_what_the_caller_says():
    assert after_failure(NO_RETRY, exhausted=Cause.TIMED_OUT).cause is Cause.TIMED_OUT


def test_within_ends_tries_that_would_start_too_late():
    rule = Retries(["1m", "1m", "1m"], within="90s")
    assert after_failure(rule, since=None) == Again(60)
    assert after_failure(rule, before=1, since=30.0) == Again(60)
    over = after_failure(rule, before=1, since=61.0)
    assert isinstance(over, Over)
    assert "90 s" in over.reason


@pytest.mark.parametrize(
    "given_",
    [
        {"max_failures": 0},
        {"max_failures": True},
        {"max_failures": 1.5},
        {"factor": 0.5},
        {"factor": math.nan},
        {"factor": math.inf},
        {"jitter": "some"},
        {"on": (ValueError, "OSError")},
        {"on": int},
        {"give_up_on": (3,)},
        {"delays": ["1m"], "max_failures": 3},
        {"delays": "1m"},
    ],
)
def test_a_rule_that_cannot_be_is_refused(given_):
    with pytest.raises(InvalidOption):
        Retries(**given_)


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ({"delays": 3}, r"^3: the delays must be a list. Write Retries\(max_failures=3\)"),
        ({"delays": 1.5}, r"^1.5: the delays must be a list. Write Retries\(\[1.5\]\)"),
        ({"give_up_on": "ValueError"}, r"^'ValueError': give_up_on must hold exception classes"),
        ({"on": 3}, r"^3: on must hold exception classes"),
    ],
)
def test_a_rule_that_holds_something_else_names_it_whole(given_, said):
    with pytest.raises(InvalidOption, match=said):
        Retries(**given_)


@pytest.mark.parametrize("given_", [{"delays": ["soon"]}, {"first": -1}, {"cap": math.nan}, {"within": "later"}])
def test_a_rule_with_a_wrong_duration_is_refused(given_):
    with pytest.raises(InvalidDuration):
        Retries(**given_)


def test_rules_are_values():
    assert Retries(["60s"]) == Retries(["1m"])
    assert hash(Retries(on=OSError)) == hash(Retries(on=(OSError,)))
    with pytest.raises(AttributeError):
        Retries().max_failures = 3
