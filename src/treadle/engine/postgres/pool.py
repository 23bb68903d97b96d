"""The connections of one session: handed to one call after the other, opened while calls overlap, up to a number."""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as Late

from treadle.engine.aside import aside
from treadle.engine.postgres.driver import Link
from treadle.model.errors import StoreBusy

_FAREWELL = 1.0
"""Seconds for the answers that are still on their way when a connection is not wanted any more."""
IDLE = 30.0
"""Seconds after which a connection is hung up that nobody has used: a crowd of calls opens as many as it may, and is gone."""


class Pool:
    """Connections of a session, most recently used first, so that those beyond what is needed are found at the other end.

    Safe from threads and event loops alike, and from a signal's handler and a finalizer, which come in between any two calls of
    Python: the lock lets its own thread in again, what it guards is whole at each call, and nobody is spoken to under it. One
    enqueue in a handler stopped all threads for ever while its own thread looked whether a connection was alive.
    """

    def __init__(self, open_: Callable[[float], Link], most: int, location: str) -> None:
        self._open = open_
        self._most = most
        self._location = location
        self._lock = threading.RLock()
        self._free: list[tuple[Link, float]] = []
        self._count = 0
        self._queue: deque[Future[Link | None]] = deque()

    def take(self, deadline: float) -> Link:
        """A connection for the caller alone. Raises what opening raises, and `StoreBusy` when none comes free in time."""
        while True:
            found = self._find()
            if isinstance(found, Link):
                return found
            if found is None:
                return self._opened(deadline)
            try:
                link = found.result(max(0.0, deadline - time.monotonic()))
            except Late:
                self._give_up(found)
                raise self._exhausted() from None
            if link is not None:
                return link

    async def atake(self, deadline: float) -> Link:
        """The awaitable twin of `take`."""
        while True:
            found = self._find()
            if isinstance(found, Link):
                return found
            if found is None:
                return await self._open_aside(deadline)
            try:
                async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                    link = await asyncio.shield(asyncio.wrap_future(found))
            except BaseException as error:
                self._give_up(found)
                if isinstance(error, TimeoutError):
                    raise self._exhausted() from None
                raise
            if link is not None:
                return link

    def give(self, link: Link) -> None:
        """Take a connection back, for the next call, and hang up one that has not been used for long."""
        now, idle = time.monotonic(), None
        with self._lock:
            waiting = self._queue.popleft() if self._queue else None
            if waiting is None:
                if self._free and now - self._free[0][1] >= IDLE:
                    idle = self._free.pop(0)[0]
                    self._count -= 1
                self._free.append((link, now))
        if waiting is not None:
            waiting.set_result(link)
        elif idle is not None:
            idle.close()

    def drop(self, link: Link) -> None:
        """Hang up a connection that is of no more use; another may be opened in its place."""
        link.close()
        self._room()

    def close(self) -> None:
        """Hang up every connection that nobody uses."""
        with self._lock:
            links, self._free = self._free, []
            gone = len(links)
            self._count -= gone
        for link, _ in links:
            link.close(_FAREWELL)

    def _find(self) -> "Link | Future[Link | None] | None":
        """A free connection, or room for a new one (None), or a place in the queue."""
        waiting: Future[Link | None] | None = None
        while True:
            link = None
            with self._lock:
                if self._free:
                    link, _ = self._free.pop()
                elif self._count < self._most:
                    self._count += 1
                    return None
                elif waiting is not None:
                    self._queue.append(waiting)
                    return waiting
            if link is None:
                waiting = Future()
            elif link.alive():
                return link
            else:
                self.drop(link)

    def _opened(self, deadline: float) -> Link:
        try:
            return self._open(deadline)
        except BaseException:
            self._room()
            raise

    async def _open_aside(self, deadline: float) -> Link:
        """Open in a thread. Whoever stops waiting leaves the connection to the next, also where his loop is just closed."""
        loop, handed = asyncio.get_running_loop(), Future[Link]()

        def open_() -> None:
            try:
                link = self._opened(deadline)
            except BaseException as error:  # noqa: BLE001 - whatever happened belongs to the caller
                if not loop.is_closed() and handed.set_running_or_notify_cancel():
                    handed.set_exception(error)
                return
            if not loop.is_closed() and handed.set_running_or_notify_cancel():
                handed.set_result(link)
            else:
                self.give(link)

        aside(open_)
        try:
            return await asyncio.wrap_future(handed)
        except asyncio.CancelledError:
            if not handed.cancel():
                handed.add_done_callback(self._give_opened)
            raise
        except GeneratorExit:  # forgotten
            handed.add_done_callback(self._give_opened)
            raise

    def _give_opened(self, handed: "Future[Link]") -> None:
        if handed.exception() is None:
            self.give(handed.result())

    def _room(self) -> None:
        """There is room for one more connection: let the first in the queue open it."""
        with self._lock:
            self._count -= 1
        self._tell_of_room()

    def _tell_of_room(self) -> None:
        with self._lock:
            waiting = self._queue.popleft() if self._queue else None
        if waiting is not None:
            waiting.set_result(None)

    def _give_up(self, waiting: "Future[Link | None]") -> None:
        """Leave the queue; what was handed over meanwhile, or is just about to be, goes to the next."""
        try:
            with self._lock:
                self._queue.remove(waiting)
        except ValueError:
            waiting.add_done_callback(self._pass_on)

    def _pass_on(self, handed: "Future[Link | None]") -> None:
        link = handed.result()
        if link is None:
            self._tell_of_room()
        else:
            self.give(link)

    def _exhausted(self) -> StoreBusy:
        return StoreBusy(
            f"{self._location}: all {self._most} connections of this session were busy. Nothing was changed; call again, or "
            "raise ?connections= in the URL."
        )
