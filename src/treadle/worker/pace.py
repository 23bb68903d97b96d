"""How much to hold ready beside what runs: a buffer of at most 50 ms of measured work."""

BUFFERED_SECONDS = 0.05
BRIEF = 0.0001
"""A body shorter than this, in seconds, costs less than waking a thread for it."""

MOST = 2000
"""Jobs in the buffer at most: two full claims, one running while the other is under way."""


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
