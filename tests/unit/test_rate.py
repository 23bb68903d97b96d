"""Rates as people write them."""

import pytest

from treadle.model.errors import InvalidOption
from treadle.policy.rate import Rate, read_rate


@pytest.mark.parametrize(
    ("text", "rate", "shown"),
    [
        ("100/min", Rate(100, 60.0), "100/min"),
        ("100 / minute", Rate(100, 60.0), "100/min"),
        ("5/s", Rate(5, 1.0), "5/s"),
        ("5 per second", Rate(5, 1.0), "5/s"),
        ("1000/h", Rate(1000, 3600.0), "1000/h"),
        ("1/day", Rate(1, 86_400.0), "1/day"),
        ("10/30s", Rate(10, 30.0), "10/30s"),
        ("3/1.5h", Rate(3, 5400.0), "3/5400s"),
    ],
)
def test_a_rate_is_read_and_shown(text, rate, shown):
    assert read_rate(text) == rate
    assert str(rate) == shown
    assert read_rate(shown) == rate


@pytest.mark.parametrize(
    "text",
    ["", "100", "/min", "0/min", "-1/min", "1.5/min", "100/", "100/fortnight", "100/0s", "9" * 30 + "/s", "1/9999d", 5, None],
)
def test_what_is_no_rate_is_refused_with_a_cure(text):
    with pytest.raises(InvalidOption, match=r"rate|period|breaker"):
        read_rate(text)
