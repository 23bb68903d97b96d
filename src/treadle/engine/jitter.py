"""Waits that are never twice the same: who failed together does not come back together."""

import random


def jittered(wait: float, least: float = 0.5) -> float:
    """Seconds between `least` times the wait and the wait."""
    return wait * random.uniform(least, 1.0)  # noqa: S311 - a wait, not a secret
