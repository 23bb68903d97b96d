"""What befalls the server and the way to it, at random but by a seed: one thing at a time, written down before it happens."""

import random
import time
from collections.abc import Callable
from pathlib import Path

from servers.ground import Ground

from . import journal
from .account import Account
from .journal import Journal, Tail

AWAY = 2.0
"""Seconds at most that a dead server stays so; what it needs to recover comes on top."""

PROMISED = 20
"""Jobs that a server must have acknowledged before it dies once more: on a busy machine one that forgets had made two promises
in three lives, and was not found out."""


class Weather:
    """The server's deaths and the network's moods. `tick` does what is due."""

    def __init__(self, ground: Ground, account: Account, draw: random.Random, lease: float, folder: Path) -> None:
        self.deaths = 0
        self.troubles = 0
        self._ground = ground
        self._account = account
        self._draw = draw
        self._lease = lease
        self._journal = Journal(folder / journal.FAULTS)
        self._acknowledged = Tail(folder / journal.ACKNOWLEDGED)
        self._promised = 0
        self._number = 0
        self._until: float | None = None
        self._end: Callable[[], None] = ground.proxy.pass_
        self._last_bad = -10.0
        self._moods: dict[str, Callable[[float], float]] = {
            "late": self._late,
            "slow": self._slow,
            "frozen": self._frozen,
            "reset": self._reset,
            "refused": self._refused,
            "reply lost": self._reply_lost,
        }

    @property
    def fair(self) -> bool:
        """Whether nothing is wrong now."""
        return self._until is None

    def lately(self, seconds: float) -> bool:
        """Whether anything was wrong within the last seconds."""
        return not self.fair or time.monotonic() - self._last_bad < seconds

    def tick(self) -> None:
        """End what has lasted long enough."""
        if self._until is None or time.monotonic() < self._until:
            if self.fair:
                self._ground.look()
            return
        self.clear()

    def clear(self) -> None:
        """Let the sun shine."""
        if self._until is None:
            return
        self._end()
        self._journal.write(act="fair", what="store", ends="outage", number=self._number, workers=[], supervised=True)
        self._until, self._last_bad = None, time.monotonic()

    def kill(self) -> bool:
        """End the server, unless it has hardly promised anything; it comes back after a while, at most `AWAY` seconds."""
        self._promised += len(list(self._acknowledged.news()))
        if self._promised < PROMISED:
            return False
        self._promised = 0
        self._note("server killed")
        self._account.away = True
        self._ground.kill()
        self.deaths += 1
        self._begin(self._draw.uniform(0.0, AWAY), self._return)
        return True

    def trouble(self) -> bool:
        """One of the network's moods."""
        what = self._draw.choice(list(self._moods))
        self._note(what)
        self.troubles += 1
        self._begin(self._moods[what](self._draw.random()), self._ground.proxy.pass_)
        return True

    def _note(self, what: str) -> None:
        self._number += 1
        self._journal.write(act="outage", what=what, number=self._number, workers=[], supervised=True)

    def _begin(self, seconds: float, end: Callable[[], None]) -> None:
        self._until, self._end = time.monotonic() + seconds, end

    def _return(self) -> None:
        self._ground.start()
        self._account.away = False

    # -- moods: each does it, and says for how long; `share` is a number from 0 to 1

    def _late(self, share: float) -> float:
        self._ground.proxy.delay(0.2 * share, 0.1)
        return 3.0

    def _slow(self, share: float) -> float:
        self._ground.proxy.throttle(10_000 + 90_000 * share)
        return 3.0

    def _frozen(self, share: float) -> float:
        self._ground.proxy.freeze()
        return 1.5 * self._lease * share

    def _reset(self, share: float) -> float:
        self._ground.proxy.reset()
        return 0.0

    def _refused(self, share: float) -> float:
        self._ground.proxy.refuse()
        self._ground.proxy.reset()
        return 3.0 * share

    def _reply_lost(self, share: float) -> float:
        """The answers to the next few requests, on as many connections."""
        self._ground.proxy.lose_reply(times=1 + int(5 * share))
        return 1.0
