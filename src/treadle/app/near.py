"""Which names somebody may have meant who wrote another."""

import difflib
from collections.abc import Iterable

_ALIKE = 0.6


def near(name: str, known: Iterable[str]) -> list[str]:
    """The closest of the known names, three at most: both their module and what stands behind its dot must look alike."""
    front, _, own = name.rpartition(".")
    alike = [each for each in known if _alike(own, each.rpartition(".")[2]) and _alike(front, each.rpartition(".")[0])]
    return difflib.get_close_matches(name, alike, n=3, cutoff=0.0)


def _alike(one: str, other: str) -> bool:
    return difflib.SequenceMatcher(None, one, other).ratio() >= _ALIKE
