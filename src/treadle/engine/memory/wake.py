"""Wakes within one process: a hub that knows who waits for what, and the waiters."""

import asyncio
import threading
from collections.abc import Callable, Iterable, Sequence


class Hub:
    """Hands topics to the waiters that listen for them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listening: dict[str, set[MemoryWaiter]] = {}

    def wake(self, topics: Iterable[str]) -> None:
        """Wake every idle waiter of these topics."""
        with self._lock:
            waiters = {waiter for topic in topics for waiter in self._listening.get(topic, ())}
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


class MemoryWaiter:
    """Waits for topics, from a thread or from an event loop. Idle from the start; a wake while idle is kept until seen."""

    def __init__(self, hub: Hub, topics: Sequence[str]) -> None:
        self._hub = hub
        self._topics = tuple(topics)
        self._condition = threading.Condition()
        self._woken = False
        self._asleep: set[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = set()
        self._listener: tuple[asyncio.AbstractEventLoop, Callable[[], None]] | None = None
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
        with self._condition:
            self._woken = False

    def wake(self) -> None:
        """Somebody made one of the topics true. Any thread may say so."""
        with self._condition:
            self._woken = True
            self._condition.notify_all()
            for loop, sleeper in self._asleep:
                loop.call_soon_threadsafe(_rouse, sleeper)
            self._asleep.clear()
            if self._listener is not None:
                loop, call = self._listener
                self._woken = False
                loop.call_soon_threadsafe(call)

    def wait(self, timeout: float) -> bool:
        """Block until one of the topics is woken (True) or `timeout` seconds are over (False)."""
        with self._condition:
            self._condition.wait_for(lambda: self._woken, timeout)
            return self._take()

    async def await_(self, timeout: float) -> bool:
        """The awaitable twin of `wait`."""
        loop = asyncio.get_running_loop()
        asleep = (loop, loop.create_future())
        with self._condition:
            if self._take():
                return True
            self._asleep.add(asleep)
        try:
            async with asyncio.timeout(timeout):
                await asleep[1]
        except TimeoutError:
            pass
        finally:
            with self._condition:
                self._asleep.discard(asleep)
        with self._condition:
            return self._take()

    def listen(self, wake: Callable[[], None]) -> None:
        """From now on, call `wake` on the running event loop each time one of the topics is woken."""
        with self._condition:
            self._listener = (asyncio.get_running_loop(), wake)

    def close(self) -> None:
        """Stop listening."""
        self.idle(waiting=False)
        with self._condition:
            self._listener = None

    def _take(self) -> bool:
        woken, self._woken = self._woken, False
        return woken


def _rouse(sleeper: "asyncio.Future[None]") -> None:
    if not sleeper.done():
        sleeper.set_result(None)
