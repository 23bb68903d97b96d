"""How much to hold ready beside what runs: a buffer of at most 50 ms of measured work, and what of it starts at once."""

from collections.abc import Iterable

BUFFERED_SECONDS = 0.05
SOON = 0.02
"""Seconds by which the start of a gated job may lag behind its claim, as far as bodies measured so far foretell."""
BRIEF = 0.0001
"""A body shorter than this, in seconds, costs less than waking a thread for it."""

MOST = 2000
"""Jobs in the buffer at most: two full claims, one running while the other is under way."""


class Paces:
    """How long the bodies of gated tasks take, by task. Until it has been measured, a task counts as slow.

    One mean for all that an executor runs would not do: ten calls of a service, claimed for eight threads that had run nothing
    but brief bodies so far, would hold slots of a limit that others could use, and starts that its rate will not give again.
    """

    def __init__(self) -> None:
        self._slow: set[str] = set()
        self._means: dict[str, float] = {}

    def expect(self, task: str) -> None:
        """This is a gated task."""
        self._slow.add(task)

    def took(self, task: str, seconds: float) -> None:
        """Learn from one body."""
        mean = self._means.get(task, seconds)
        mean = self._means[task] = mean + (seconds - mean) * 0.05
        if mean < BRIEF:
            self._slow.discard(task)
        else:
            self._slow.add(task)

    def brief(self, tasks: Iterable[str]) -> bool:
        """True when every gated one of these tasks has been seen to take next to no time."""
        return self._slow.isdisjoint(tasks)


class Pace:
    """A running mean of how long bodies take, and the buffer that follows from it."""

    __slots__ = ("_mean", "_slots")

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._mean: float | None = None

    def took(self, seconds: float) -> None:
        """Learn from one body."""
        mean = self._mean
        self._mean = seconds if mean is None else mean + (seconds - mean) * 0.05

    @property
    def brief(self) -> bool:
        """True once bodies have been seen to take next to no time."""
        return self._mean is not None and self._mean < BRIEF

    def buffer(self) -> int:
        """How many jobs beyond the free slots may be held; none before anything was measured."""
        mean = self._mean
        if mean is None:
            return 0
        return min(MOST, int(self._slots * BUFFERED_SECONDS / max(mean, 1e-6)))

    def soon(self) -> int:
        """How many jobs beyond the free slots would start within `SOON`: none but of brief bodies, one after the other."""
        mean = self._mean
        return min(MOST, int(SOON / max(mean, 1e-6))) if mean is not None and mean < BRIEF else 0
