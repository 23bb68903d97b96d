"""How soon somebody looks again who has looked for nothing."""


class Eagerness:
    """Pauses that double while looks are in vain, between two bounds in seconds."""

    def __init__(self, first: float, most: float) -> None:
        self._first = first
        self._most = most
        self._pause = 0.0

    def after(self, *, vain: bool) -> float:
        """Seconds to wait after a look: none after one that was worth it."""
        self._pause = min(self._most, max(self._first, self._pause * 2)) if vain else 0.0
        return self._pause
