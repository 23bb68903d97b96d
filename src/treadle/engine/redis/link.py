"""A connection at work: requests out, replies in the same order back. One blocking, one for an event loop."""

import asyncio
import select
import ssl
import time
from collections import deque
from typing import Any

import hiredis

from treadle.engine.redis.address import Dialled
from treadle.engine.redis.replies import push_of

_CHUNK = 262_144
_NOT_NOW = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Lost(Exception):
    """The connection broke. `sent` says whether the request may have reached the server."""

    def __init__(self, why: str, *, sent: bool) -> None:
        super().__init__(why)
        self.sent = sent


class Link:
    """A blocking connection, used by one thread at a time."""

    def __init__(self, dialled: Dialled) -> None:
        self._sock = dialled.sock
        self._reader = dialled.reader
        self._poll = select.poll()
        self._poll.register(self._sock, select.POLLIN)

    def request(self, payload: bytes, count: int, deadline: float) -> list[Any]:
        """Send and wait for `count` replies; refusals are among them as values. Raises `Lost`."""
        if self._poll.poll(0):  # nothing was asked, so this can only be the end of the connection
            raise Lost("the server closed the connection", sent=False)
        try:
            self._sock.settimeout(max(0.001, deadline - time.monotonic()))
            self._sock.sendall(payload)
            return [self._next(deadline) for _ in range(count)]
        except (OSError, hiredis.ProtocolError) as error:
            raise Lost(_why(error), sent=True) from None

    def _next(self, deadline: float) -> Any:
        gets = self._reader.gets
        while True:
            reply = gets()
            if reply is False:
                data = self._sock.recv(_CHUNK)
                if not data:
                    raise ConnectionResetError("the server closed the connection")
                self._reader.feed(data)
                if time.monotonic() > deadline:
                    raise TimeoutError
            elif push_of(reply) is None:
                return reply

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()


def _why(error: Exception) -> str:
    return "no answer in time" if isinstance(error, TimeoutError) else str(error) or type(error).__name__


class Stream:
    """A connection on one event loop. Requests of many tasks share it: they go out at once and are answered in order.

    A caller that is cancelled leaves its place in the order behind, so the next reply still finds the right one.
    """

    def __init__(self, dialled: Dialled, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.open: bool = True  # for more requests
        self._hung_up = False
        self._sock = dialled.sock
        self._reader = dialled.reader
        self._waiting: deque[tuple[int, list[Any], asyncio.Future[list[Any]]]] = deque()
        self._unsent = bytearray()
        self._sock.setblocking(False)
        loop.add_reader(self._sock, self._read)

    async def request(self, payload: bytes, count: int, deadline: float) -> list[Any]:
        """Send and wait for `count` replies; refusals are among them as values. Raises `Lost`."""
        if not self.open:
            raise Lost("the connection was closed", sent=False)
        future: asyncio.Future[list[Any]] = self.loop.create_future()
        self._waiting.append((count, [], future))
        timer = self.loop.call_later(deadline - time.monotonic(), self._late, future)
        self._send(payload)
        try:
            return await future
        finally:
            timer.cancel()

    def _late(self, future: "asyncio.Future[list[Any]]") -> None:
        if not future.done():
            self._break("no answer in time")

    def _send(self, payload: bytes) -> None:
        if self._unsent:
            self._unsent += payload
            return
        try:
            sent = self._sock.send(payload)
        except _NOT_NOW:
            sent = 0
        except OSError as error:
            self._break(_why(error))
            return
        if sent < len(payload):
            self._unsent += memoryview(payload)[sent:]
            self.loop.add_writer(self._sock, self._write)

    def _write(self) -> None:
        try:
            sent = self._sock.send(self._unsent)
        except _NOT_NOW:
            return
        except OSError as error:
            self._break(_why(error))
            return
        del self._unsent[:sent]
        if not self._unsent:
            self.loop.remove_writer(self._sock)

    def _read(self) -> None:
        try:
            while True:
                data = self._sock.recv(_CHUNK)
                if not data:
                    self._break("the server closed the connection")
                    return
                self._reader.feed(data)
                self._deliver()
                if self._hung_up:
                    return
                if len(data) < _CHUNK and not isinstance(self._sock, ssl.SSLSocket):
                    return
        except _NOT_NOW:
            return
        except (OSError, hiredis.ProtocolError) as error:
            self._break(_why(error))

    def _deliver(self) -> None:
        gets, waiting = self._reader.gets, self._waiting
        while (reply := gets()) is not False:
            if push_of(reply) is not None or not waiting:
                continue
            count, replies, future = waiting[0]
            replies.append(reply)
            if len(replies) == count:
                waiting.popleft()
                if not future.done():
                    future.set_result(replies)
        if not self.open and not waiting:
            self.close()

    def _break(self, why: str) -> None:
        self.close()
        while self._waiting:
            future = self._waiting.popleft()[2]
            if not future.done():
                future.set_exception(Lost(why, sent=True))

    def retire(self) -> None:
        """Take no more requests, and hang up when those under way are answered. Any thread may say so.

        Whoever waited on a connection that was closed heard of it when his time was over, from a server that was well.
        """
        self.open = False
        if self.loop.is_closed():
            self.close()
        elif self.loop is asyncio._get_running_loop():  # noqa: SLF001 - public in all but name: the docs list it
            self._end()
        elif self.loop.is_running():
            try:
                self.loop.call_soon_threadsafe(self._end)
            except RuntimeError:  # closed meanwhile
                self.close()
        else:  # nobody reads the answers now
            self._break("the connection was closed")

    def _end(self) -> None:
        if not self._waiting:
            self.close()

    def forget(self) -> None:
        """In a forked child: the connection is the parent's."""
        self.open, self._hung_up = False, True

    def close(self) -> None:
        """Close the socket, on this loop or after its end."""
        self.open = False
        if not self._hung_up:
            self._hung_up = True
            if not self.loop.is_closed():
                self.loop.remove_reader(self._sock)
                self.loop.remove_writer(self._sock)
            self._sock.close()
