"""The Retry-After header: seconds, dates, and whatever servers send instead."""

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from treadle import InvalidDuration, retry_after

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("120", 120.0),
        (" 7 ", 7.0),
        ("0", 0.0),
        (30, 30.0),
        ("99999999999999999999", 30 * 86_400.0),
        ("Sun, 01 Mar 2026 12:01:30 GMT", 90.0),
        ("Sunday, 01-Mar-26 12:01:30 GMT", 90.0),
        ("Sun Mar  1 12:01:30 2026", 90.0),
        ("Sun, 01 Mar 2026 11:00:00 GMT", 0.0),
        ("Fri, 01 Mar 2126 12:00:00 GMT", 30 * 86_400.0),
    ],
)
def test_a_header_is_seconds_from_now(header, expected):
    assert retry_after(header, now=NOW) == expected


def test_a_response_or_its_headers_will_do():
    headers = {"Retry-After": "5"}
    assert retry_after(headers) == 5
    assert retry_after(SimpleNamespace(headers=headers)) == 5
    assert retry_after(SimpleNamespace(headers={"retry-after": "6"})) == 6


@pytest.mark.parametrize(
    "header", ["", "soon", "-5", "1.5", "٣", {}, SimpleNamespace(headers={}), object(), "Sun, 99 Foo 2026"]
)
def test_anything_else_is_refused(header):
    with pytest.raises(InvalidDuration):
        retry_after(header, now=NOW)
