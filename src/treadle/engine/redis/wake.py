"""The wake port: sharded channels, one for each topic, that a script speaks to only when somebody has said it listens.

A waiter that declares itself idle subscribes, and then writes its topics down in the hash `ears` (or `ears:job` for the ends
of single jobs), in one exchange whose end it waits for: so whatever is stored after the declaration is announced. A script
looks into `ears` before it speaks, which spares a thousand settled jobs a thousand calls, and strikes out a topic when its
call reaches nobody. So a waiter that dies leaves nothing behind for long. A waiter that loses its connection counts as
woken, since it may have missed something. A wake is a hint: polling is the truth, so nothing here raises into a caller.

But polling alone is slow where each job frees the slot of the next: with two slots a worker that heard nothing did four
such jobs a second, and 500 when it heard. So a waiter that could not declare itself tries again for as long as it waits,
and a server whose memory is full takes declarations too.
"""

import asyncio
import os
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol

import hiredis

from treadle.engine.redis.address import Dialled
from treadle.engine.redis.replies import pack, push_of
from treadle.engine.redis.scripts import alone
from treadle.model.errors import StoreError

PATIENCE = 1.0
"""Seconds that a declaration may take. A waiter that could not declare itself in time is not woken: the poll finds the work."""

_AGAIN = 1.0
"""Seconds between two tries to be heard."""

_RENEWAL = 10.0
"""Seconds after which who is idle is written down again: a failover or a flush may have lost it without a word."""

_NOT_NOW = (BlockingIOError, InterruptedError, ssl.SSLWantReadError)


class Switchboard(Protocol):
    """What a waiter needs of its store."""

    tag: bytes

    def dial(self, deadline: float) -> Dialled:
        """One more connection."""
        ...


class RedisWaiter:
    """Waits for topics on a connection of its own, which is opened by the first declaration."""

    def __init__(self, store: Switchboard, topics: Sequence[str]) -> None:
        self._store = store
        self._channels = tuple(store.tag + b":" + topic.encode() for topic in dict.fromkeys(topics))
        self._topics = tuple(dict.fromkeys(topics))
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._dialled: Dialled | None = None
        self._idle = False
        self._declared = False
        self._woken = False
        self._closed = False
        self._tried = -_AGAIN
        self._returning = False
        self._listener: tuple[asyncio.AbstractEventLoop, Callable[[], None]] | None = None

    def idle(self, waiting: bool) -> None:
        """Declare whether a wake is wanted now: a busy waiter costs producers nothing."""
        with self._lock:
            if waiting == self._idle or self._closed:
                self._renew()
                return
            self._idle = waiting
            self._woken = False
            if waiting:
                self._declare()
                self._return_later()
            else:
                self._withdraw()

    def wait(self, timeout: float) -> bool:
        """Block until one of the topics is woken (True) or `timeout` seconds are over (False)."""
        deadline = time.monotonic() + timeout
        while True:
            with self._lock:
                if self._look():
                    return True
                sock = self._socket()
            left = deadline - time.monotonic()
            if left <= 0 or self._closed:
                return False
            _sleep(sock, min(left, _AGAIN))

    async def await_(self, timeout: float) -> bool:
        """The awaitable twin of `wait`."""
        loop = asyncio.get_running_loop()
        deadline = time.monotonic() + timeout
        while True:
            with self._lock:
                if self._look():
                    return True
                sock = self._socket()
            left = deadline - time.monotonic()
            if left <= 0 or self._closed:
                return False
            await _asleep(loop, sock, min(left, _AGAIN))

    def listen(self, wake: Callable[[], None]) -> None:
        """From now on, call `wake` on the running event loop each time one of the topics is woken."""
        with self._lock:
            self._unhook()
            self._listener = (asyncio.get_running_loop(), wake)
            self._returning = False
            self._hook()
            self._return_later()

    def close(self) -> None:
        """Stop listening."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._withdraw(forget=True)
            self._hang_up()
            self._listener = None

    def _socket(self) -> socket.socket | None:
        return None if self._dialled is None else self._dialled.sock

    def _declare(self) -> None:
        """Subscribe and be written down, or leave it to the poll. The lock must be held."""
        self._tried = time.monotonic()
        deadline = self._tried + PATIENCE
        try:
            if self._dialled is None or self._pid != os.getpid():
                self._pid = os.getpid()
                self._dialled = self._store.dial(deadline)
                self._dialled.sock.setblocking(False)
                self._hook()
            self._send(pack(("SSUBSCRIBE", *self._channels)) + b"".join(self._entries()), deadline)
            self._confirm(len(self._ears()), deadline)
        except (OSError, StoreError, hiredis.ProtocolError):
            self._hang_up()
            return
        self._declared = True

    def _renew(self) -> None:
        """Be written down again now and then; what comes back is looked at with the wakes. The lock must be held."""
        if not self._idle or not self._declared or time.monotonic() - self._tried < _RENEWAL:
            return
        self._tried = time.monotonic()
        try:
            self._send(b"".join(self._entries()), self._tried + PATIENCE)
        except OSError:
            self._hang_up()
            self._return_later()

    def _ears(self) -> dict[bytes, list[str]]:
        """The topics by the hash in which they are written down."""
        found: dict[bytes, list[str]] = {}
        for topic in self._topics:
            found.setdefault(b":ears:job" if topic.startswith("job:") else b":ears", []).append(topic)
        return found

    def _entries(self) -> list[bytes]:
        return [pack(("EVAL", alone("ears"), 1, self._store.tag + name, *topics)) for name, topics in self._ears().items()]

    def _send(self, payload: bytes, deadline: float) -> None:
        assert self._dialled is not None
        rest = memoryview(payload)
        while rest:
            try:
                rest = rest[self._dialled.sock.send(rest) :]
            except _NOT_NOW:
                if time.monotonic() >= deadline:
                    raise TimeoutError from None
                poll = select.poll()
                poll.register(self._dialled.sock, select.POLLOUT)
                poll.poll(50)

    def _confirm(self, replies: int, deadline: float) -> None:
        """Read until the server has written the topics down; a wake that comes after the subscription is kept."""
        subscribed = 0
        while replies:
            for reply in self._replies():
                push = push_of(reply)
                if push is not None:
                    subscribed += push == b"ssubscribe"
                    self._woken = self._woken or (subscribed == len(self._channels) and push == b"smessage")
                elif isinstance(reply, Exception):
                    raise StoreError(str(reply))
                elif subscribed == len(self._channels):  # what came before answers a renewal
                    replies -= 1
            if replies:
                if time.monotonic() >= deadline:
                    raise TimeoutError
                _sleep(self._socket(), max(0.001, deadline - time.monotonic()))

    def _replies(self) -> list[Any]:
        """Everything that lies there. Raises `OSError` at the end of the connection."""
        assert self._dialled is not None
        found: list[Any] = []
        with suppress(*_NOT_NOW):
            while True:
                data = self._dialled.sock.recv(65536)
                if not data:
                    raise ConnectionResetError
                self._dialled.reader.feed(data)
        while (reply := self._dialled.reader.gets()) is not False:
            found.append(reply)
        return found

    def _withdraw(self, *, forget: bool = False) -> None:
        """Unsubscribe without waiting. The lock must be held. A single job's topic is struck out when its waiter closes."""
        if self._dialled is None or not self._declared:
            return
        self._declared = False
        payload = pack(("SUNSUBSCRIBE", *self._channels))
        jobs = self._ears().get(b":ears:job")
        if forget and jobs:
            payload += pack(("HDEL", self._store.tag + b":ears:job", *jobs))
        with suppress(OSError):
            self._send(payload, time.monotonic() + PATIENCE)

    def _look(self) -> bool:
        """Take every message that lies there; true if one of our topics was woken. The lock must be held."""
        if self._dialled is None:
            if self._idle and not self._closed and time.monotonic() - self._tried >= _AGAIN:
                self._declare()
                self._woken = self._woken or self._declared  # something may have been missed meanwhile
        else:
            try:
                replies = self._replies()
                heard = {push_of(reply) for reply in replies}
                if self._idle and (b"sunsubscribe" in heard or any(isinstance(reply, Exception) for reply in replies)):
                    raise ConnectionResetError  # as good as lost: the server is not, or not any more, the one that has our slot
            except (OSError, hiredis.ProtocolError):
                self._hang_up()
                return False
            self._woken = self._woken or (self._idle and b"smessage" in heard)
        woken, self._woken = self._woken, False
        return woken and self._idle

    def _hook(self) -> None:
        if self._listener is not None and self._dialled is not None and not self._listener[0].is_closed():
            self._listener[0].add_reader(self._dialled.sock, self._on_readable)

    def _unhook(self) -> None:
        if self._listener is not None and self._dialled is not None and not self._listener[0].is_closed():
            self._listener[0].remove_reader(self._dialled.sock)

    def _on_readable(self) -> None:
        with self._lock:
            if self._closed or self._listener is None:
                return
            wake = self._listener[1]
            woken = self._look()
            self._return_later()
        if woken:
            wake()

    def _return_later(self) -> None:
        """See to it that an idle listener without a connection tries to be heard again. The lock must be held."""
        if self._listener is None or not self._idle or self._dialled is not None or self._returning or self._closed:
            return
        self._returning = True
        loop = self._listener[0]
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(loop.call_later, _AGAIN, self._return)

    def _return(self) -> None:
        """Try to be heard again, after the connection was lost or a declaration failed."""
        if self._closed or self._listener is None:
            return
        loop, _ = self._listener
        loop.run_in_executor(None, self._redeclare)

    def _redeclare(self) -> None:
        with self._lock:
            self._returning = False
            if self._closed or self._listener is None or not self._idle or self._dialled is not None:
                return
            loop, wake = self._listener
            listener, self._listener = self._listener, None  # hooks belong to the loop's own thread
            self._declare()
            self._listener = listener
            self._return_later()
            back = self._dialled is not None
        if back:
            with suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(self._hook)
                loop.call_soon_threadsafe(wake)

    def _hang_up(self) -> None:
        self._unhook()
        dialled, self._dialled = self._dialled, None
        self._declared = False
        if dialled is not None:
            dialled.sock.close()


def _sleep(sock: socket.socket | None, timeout: float) -> None:
    if sock is None:
        time.sleep(timeout)
        return
    poll = select.poll()
    with suppress(ValueError, OSError):  # closed meanwhile by another thread
        poll.register(sock, select.POLLIN)
        poll.poll(timeout * 1000)


async def _asleep(loop: asyncio.AbstractEventLoop, sock: socket.socket | None, timeout: float) -> None:
    if sock is None:
        await asyncio.sleep(timeout)
        return
    readable: asyncio.Future[None] = loop.create_future()

    def end() -> None:
        if not readable.done():
            readable.set_result(None)

    loop.add_reader(sock, end)
    timer = loop.call_later(timeout, end)
    try:
        await readable
    finally:
        timer.cancel()
        loop.remove_reader(sock)
