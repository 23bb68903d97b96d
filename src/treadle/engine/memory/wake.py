"""Wakes within one process: a hub that knows who waits for what, and the waiters."""

import threading
from collections.abc import Iterable, Sequence

from treadle.engine.sleeper import Sleeper


class Hub:
    """Hands topics to the waiters that listen for them."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a signal's handler may wake somebody while its own thread does
        self._listening: dict[str, set[MemoryWaiter]] = {}

    def wake(self, topics: Iterable[str]) -> None:
        """Wake every idle waiter of these topics."""
        with self._lock:
            waiters = {waiter for topic in topics for waiter in tuple(self._listening.get(topic, ()))}
        for waiter in waiters:
            waiter.wake()

    def listen(self, waiter: "MemoryWaiter", topics: Iterable[str]) -> None:
        """Let a waiter hear of these topics."""
        with self._lock:
            for topic in topics:
                self._listening.setdefault(topic, set()).add(waiter)

    def leave(self, waiter: "MemoryWaiter", topics: Iterable[str]) -> None:
        """Let a waiter hear no more."""
        with self._lock:
            for topic in topics:
                waiters = self._listening.get(topic, set())
                waiters.discard(waiter)
                if not waiters:
                    self._listening.pop(topic, None)

    def close(self) -> None:
        """Forget everybody."""
        with self._lock:
            self._listening.clear()


class MemoryWaiter(Sleeper):
    """Waits for topics. Idle from the start; a wake while idle is kept until seen."""

    def __init__(self, hub: Hub, topics: Sequence[str]) -> None:
        super().__init__()
        self._hub = hub
        self._topics = tuple(topics)
        self._idle = False
        self.idle(waiting=True)

    def idle(self, waiting: bool) -> None:
        """Declare whether a wake is wanted now. A busy waiter hears nothing, and forgets what it heard."""
        if waiting == self._idle:
            return
        self._idle = waiting
        if waiting:
            self._hub.listen(self, self._topics)
            return
        self._hub.leave(self, self._topics)
        self.forget()

    def close(self) -> None:
        """Stop listening."""
        self.idle(waiting=False)
        super().close()
