"""Waiting for something to become true, with a deadline: the one place in these tests that lets time pass."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 60.0
"""Generous: a busy machine is slow, and a test that fails because of that says nothing."""


def until(look: Callable[[], T], what: str, *, seconds: float = PATIENCE) -> T:
    """Look again and again until the answer is true, and return it. Fails, saying what was awaited, when time is up."""
    end = time.monotonic() + seconds
    while not (answer := look()):
        if time.monotonic() > end:
            raise AssertionError(f"after {seconds:g} s still not: {what}")
        time.sleep(0.02)
    return answer
