"""Sleeping until another thread says that it is over: what waiters within one process are made of."""

import asyncio
import threading
from collections.abc import Callable


class Sleeper:
    """Sleeps in a thread or on an event loop until `wake`, which any thread may say. A wake is kept until it is seen."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._woken = False
        self._asleep: set[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = set()
        self._listener: tuple[asyncio.AbstractEventLoop, Callable[[], None]] | None = None

    @property
    def listened(self) -> bool:
        """Whether somebody is called at each wake."""
        return self._listener is not None

    def wake(self) -> None:
        """One of the topics has come true. Any thread may say so."""
        with self._condition:
            self._woken = True
            self._condition.notify_all()
            asleep, self._asleep = self._asleep, set()
            for loop, sleeper in asleep:
                loop.call_soon_threadsafe(_rouse, sleeper)
            if self._listener is not None:
                self._woken = False
                self._ring(*self._listener)

    def ring(self) -> None:
        """Call whoever listens, as a wake does, and wake nobody else."""
        with self._condition:
            if self._listener is not None:
                self._ring(*self._listener)

    def forget(self) -> None:
        """Forget what was heard."""
        with self._condition:
            self._woken = False

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
        with self._condition:
            self._listener = None

    def _ring(self, loop: asyncio.AbstractEventLoop, wake: Callable[[], None]) -> None:
        try:
            loop.call_soon_threadsafe(wake)
        except RuntimeError:  # the loop is closed: nobody listens any more
            self._listener = None

    def _take(self) -> bool:
        woken, self._woken = self._woken, False
        return woken


def _rouse(sleeper: "asyncio.Future[None]") -> None:
    if not sleeper.done():
        sleeper.set_result(None)
