"""Durations: what reads as one, and what is refused."""

import contextlib
import math
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.model.errors import InvalidDuration
from treadle.policy.duration import seconds


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("90s", 90.0),
        ("5m", 300.0),
        ("2h", 7200.0),
        ("1d", 86_400.0),
        ("1w", 604_800.0),
        ("1.5h", 5400.0),
        ("250ms", 0.25),
        ("20us", 0.00002),
        (" 3 s ", 3.0),
        (0, 0.0),
        (1.5, 1.5),
        (timedelta(minutes=2), 120.0),
    ],
)
def test_what_reads_as_a_duration(value, expected):
    assert seconds(value) == pytest.approx(expected)


@pytest.mark.parametrize(
    "value",
    [-1, -0.001, timedelta(seconds=-1), math.nan, math.inf, -math.inf, True, False, "", "5", "-5m", "5 minutes", "1h30m", "m5",
     "٣s", "1e3s", ".5s", None, [1], b"5m", 10**400, "99999999d", 1e12],
)  # fmt: skip
def test_what_does_not_is_refused_with_a_cure(value):
    with pytest.raises(InvalidDuration) as caught:
        seconds(value)
    assert "90s" in caught.value.cure
    assert caught.value.rule


@pytest.mark.parametrize("value", ["-5", "-5m", " -1 h"])
def test_a_negative_text_is_refused_for_being_negative(value):
    with pytest.raises(InvalidDuration, match="cannot be negative"):
        seconds(value)


@given(st.floats(min_value=0, max_value=1e9))
def test_a_number_is_itself(value):
    assert seconds(value) == value


@given(st.text(max_size=12))
def test_any_text_either_reads_or_is_refused(text):
    with contextlib.suppress(InvalidDuration):
        assert seconds(text) >= 0
