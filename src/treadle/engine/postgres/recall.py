"""What one session remembers from one call to the next: how far it has claimed, and whether the way was clear."""

import time

from treadle.engine.postgres.steps import Gated, Marks, Way

SWEEP = 1.0
"""Seconds after which a claim looks at its whole queue again: what was stored late, behind the marks, waits no longer."""
CROWDED = 0.1
"""Seconds for which settlements call whoever waits themselves, once one has seen that somebody did."""
LONGEST = 32
"""Claims that judge job by job, at most, before one tries again whether the way is clear."""
KNOWN = 64
"""Limits that are remembered of one queue: code declares a few. With more, jobs are judged one by one: a claim locks two things
for each of them, and with 7,500 the server had no room for its locks left.
"""
NEVER = float("-inf")


class Memory:
    """How far one session has claimed in each queue, for the tasks of each claim, and what it expects of gated jobs there.

    Marks are kept only from one full batch to the next. Where a claim was hindered, those that follow judge job by job: one at
    first, then two, four and so on, until one finds the way clear.
    """

    def __init__(self) -> None:
        self._marks: dict[tuple[str, str], tuple[float, dict[int, int]]] = {}
        self._gated: dict[tuple[str, str], _Seen] = {}
        self._crowded = NEVER

    @property
    def crowded(self) -> bool:
        """Whether somebody waited lately for what the ends of jobs make room for."""
        return time.monotonic() - self._crowded < CROWDED

    def crowd(self) -> None:
        """Somebody waits."""
        self._crowded = time.monotonic()

    def recall(self, queue: str, tasks: str) -> Marks | Gated:
        """The marks of these tasks in a queue, or what to expect there; no marks, once a second, to look at all of it."""
        key = (queue, tasks)
        seen = self._gated.get(key) if self._gated else None
        if seen is not None and time.monotonic() - seen.at < SWEEP:
            return seen.expected()
        found = self._marks.get(key)
        if found is None:
            return {}
        if time.monotonic() - found[0] >= SWEEP:
            self._marks.pop(key, None)
            return {}
        return found[1]

    def remember(self, queue: str, tasks: str, found: Marks | Gated) -> None:
        """Add marks to those that were recalled; empty ones end them all."""
        key = (queue, tasks)
        if isinstance(found, Gated):
            self._gated.setdefault(key, _Seen()).found(found)
            return
        if seen := self._gated.get(key):
            seen.gone()
        if not found:
            self._marks.pop(key, None)
            return
        since, before = self._marks.get(key) or (time.monotonic(), {})
        self._marks[key] = (since, {**before, **found})


class _Seen:
    """When gated jobs were seen in a queue, and what has been learnt of them since ever."""

    def __init__(self) -> None:
        self.at = NEVER
        self._limits: frozenset[str] = frozenset()
        self._left = self._length = self._passed = 0
        self._marks: Marks = {}
        self._since = NEVER

    def found(self, found: Gated) -> None:
        """Once more, now."""
        self.at = time.monotonic()
        self._mark(found)
        self._passed = found.passed
        known = self._limits | found.limits
        self._limits = known if len(known) <= KNOWN else frozenset()
        if found.way is Way.CLEAR:
            self._left = self._length = 0
        elif found.limits and self._limits:
            self._left = 0  # they hindered because nobody knew of them
        elif found.way is Way.HINDERED:
            self._left = self._length = min(LONGEST, 2 * self._length) or 1

    def gone(self) -> None:
        """None waits there any more."""
        self.at, self._marks = NEVER, {}

    def _mark(self, found: Gated) -> None:
        # A second counts from the claim that was made without marks: of one that was answered after its end it begins nothing.
        if found.marks and not self._marks:
            self._since = self.at
        self._marks = {**self._marks, **found.marks} if found.marks else {}

    def expected(self) -> Gated:
        """What the next claim may expect; no marks, once a second, so that it looks at all of the queue."""
        if not self._left:
            if time.monotonic() - self._since >= SWEEP:
                self._marks = {}
            return Gated(Way.CLEAR, self._limits, self._marks, self._passed)
        self._left -= 1
        return Gated(Way.JUDGED, self._limits)
