"""What one process knows of whether its store can be reached, and the few lines that it writes about that."""

import logging
import threading
from collections.abc import Callable
from time import monotonic

from treadle.model.errors import CannotOpen, StoreBusy, StoreError

log: logging.Logger = logging.getLogger("treadle.worker")

UNREACHED = (StoreError, OSError)
"""What says that the store could not be used just now. Any other error is about what was to be stored."""

REMIND_EVERY = 60.0
"""Seconds between two lines about a store that stays away: each call that fails would be a line a second."""

WELL = 5.0
"""Seconds without a failure after which the next one is news: a store that takes some calls and not others is no news."""

SILENCE = 1.0
"""Seconds of it, at most, after which leases may have run out for no other reason: those of other workers may be short."""

GRACE = 4.0
"""Seconds after an outage for which a process leaves leases alone that ran out meanwhile.

Their supervisors, who know why, find the store again within `rescuer.PATIENCE_MOST`, or within the seconds that a connection
to a network that stood still needs; and with this the jobs of a worker that did die are claimable 5 s after the outage.
"""


class Outage:
    """Told of every call to the store that failed or went through; any thread may tell.

    `meanwhile` is what this process does without a store, for the log. Leases may have run out for no other reason when
    nothing went through for `length` seconds and something failed. `after` says that an outage is just over.
    """

    def __init__(
        self, location: str, meanwhile: str, length: float, *, after: bool = False, clock: Callable[[], float] = monotonic
    ) -> None:
        self._location = location
        self._meanwhile = meanwhile
        self._length = length
        self._clock = clock
        self._lock = threading.Lock()
        self._reached_at = clock()
        self._failed_at: float | None = None
        self._back_at = float("-inf")
        self._told_at = float("-inf")
        self._told = False
        self._calm_at = clock() + GRACE if after else 0.0

    @property
    def away(self) -> bool:
        """Whether the last that was heard is a failure."""
        return self._failed_at is not None

    def calm_in(self) -> float:
        """Seconds until what ran out during the last outage may be judged; 0 when none is so fresh."""
        return max(0.0, self._calm_at - self._clock())

    def failed(self, error: BaseException) -> None:
        """The store was not reached: said once, and then once a minute while it stays away."""
        with self._lock:
            now = self._clock()
            new = self._failed_at is None and now - self._back_at >= WELL
            if self._failed_at is None:
                self._failed_at = now
            if not new and now - self._told_at < REMIND_EVERY:
                return
            self._told_at = now
            again, self._told = self._told, True
            since = now - self._failed_at
        away = isinstance(error, (CannotOpen, StoreBusy, OSError))
        if again:
            what = f"has been away for {since:.0f} s" if away else f"has been of no use for {since:.0f} s"
            log.warning("the store at %s %s: %s", self._location, what, self.plain(error))
        else:
            what = "is away" if away else "cannot be used"
            log.warning("the store at %s %s: %s; %s", self._location, what, self.plain(error), self._meanwhile)

    def reached(self) -> None:
        """The store answered."""
        now = self._clock()
        if not self.away:
            self._reached_at = now
            return
        with self._lock:
            since, self._failed_at = self._failed_at, None
            if since is None:
                return
            if now - self._reached_at >= self._length:
                self._calm_at = now + GRACE
            self._reached_at = self._back_at = now
            told, self._told = self._told, False
        if told:
            log.warning("the store is back after %.1f s", now - since)

    def plain(self, error: BaseException) -> str:
        """The error in one line, without the place, which the line names already."""
        return one_line(error).removeprefix(f"{self._location}: ")


def one_line(error: BaseException) -> str:
    """The text of an error on one line, without the full stop; its class where it says nothing."""
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
