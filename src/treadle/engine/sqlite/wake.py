"""The wake port: Unix datagrams between the processes that share a database file.

A waiter's socket lies in the database's runtime directory. While the waiter is idle its file stands in `idle/`, under a
name that says what kinds of topic it waits for (`q`, `j`, `l`); while it is busy it stands in `busy/`, and costs producers
nothing. A producer looks, after its commit, at the age of `idle/` and sends its topics to those who wait for such.
A wake is a hint: polling is the truth, so nothing here ever raises into a caller.
"""

import os
import select
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from treadle.engine.session import LateWake, Wake

if TYPE_CHECKING:
    import asyncio

_ANY = b"*"
_MOST = 32_768
_RACY_NS = 50_000_000
"""A directory changed so recently may change again without its time showing it."""


class Bell:
    """The producers' side: knows who is idle, as cheaply as one `stat` per commit."""

    def __init__(self, directory: Callable[[], Path]) -> None:
        self._find = directory
        self._idle: str | None = None
        self._seen = -1
        self._names: tuple[str, ...] = ()

    def ring(self, wakes: Sequence[Wake]) -> None:
        """Wake whoever is idle and waits for one of the topics."""
        with suppress(OSError):
            names = self._listeners()
            if not names:
                return
            topics: set[str] = set()
            for wake in wakes:
                if not isinstance(wake, LateWake) or any(wake.kind[0] in name for name in names):
                    topics |= wake.topics
            kinds = {topic[0] for topic in topics}
            if not kinds:
                return
            text = "\n".join(topics).encode()
            if len(text) > _MOST:
                text = _ANY
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                for name in names:
                    if not kinds.isdisjoint(name.partition(".")[2]):
                        _send(sender, f"{self._idle}/{name}", text)

    def _listeners(self) -> tuple[str, ...]:
        if self._idle is None:
            self._idle = str(self._find() / "idle")
        try:
            changed = os.stat(self._idle).st_mtime_ns  # noqa: PTH116 - a third of the price of Path.stat
        except FileNotFoundError:
            os.makedirs(self._idle, mode=0o700, exist_ok=True)  # noqa: PTH103 - the next look is then a plain one
            return ()
        if changed == self._seen:
            return self._names
        self._names = tuple(os.listdir(self._idle))  # noqa: PTH208 - names are all that is wanted
        self._seen = changed if time.time_ns() - changed > _RACY_NS else -1
        return self._names


def _send(sender: socket.socket, path: str, text: bytes) -> None:
    try:
        sender.sendto(text, path)
    except ConnectionRefusedError:
        with suppress(FileNotFoundError):
            os.unlink(path)  # noqa: PTH108 - its owner has died
    except OSError:
        return  # gone since, or its mailbox is full: it has been woken already


class SqliteWaiter:
    """The waiters' side: a datagram socket that is visible only while its owner is idle."""

    def __init__(self, directory: Path, topics: Sequence[str]) -> None:
        self._topics = frozenset(topics)
        kinds = "".join(sorted({topic[0] for topic in topics}))
        name = f"{os.urandom(6).hex()}.{kinds}"
        for each in ("idle", "busy"):
            (directory / each).mkdir(mode=0o700, exist_ok=True)
            _sweep(directory / each)
        self._directory = directory
        self._shown = directory / "idle" / name
        self._hidden = directory / "busy" / name
        self._socket = _bound(self._hidden)
        self._idle = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._look: Callable[[], None] | None = None

    def idle(self, waiting: bool) -> None:
        """Declare whether a wake is wanted now: a busy waiter costs producers nothing.

        A cleaner of temporary files may have swept the socket away. Whoever says again that he is idle is seen again.
        """
        if waiting == self._idle:
            if waiting and not self._shown.exists():
                self._return()
            return
        self._idle = waiting
        source, target = (self._hidden, self._shown) if waiting else (self._shown, self._hidden)
        try:
            source.rename(target)
        except OSError:
            if waiting:
                self._return()

    def _return(self) -> None:
        """Be seen under the same name, with another socket; or leave it to the poll."""
        with suppress(OSError):
            for each in (self._directory.parent, self._directory, self._hidden.parent, self._shown.parent):
                each.mkdir(mode=0o700, exist_ok=True)
            fresh = _bound(self._shown)
            stale, self._socket = self._socket, fresh
            if self._loop is not None and self._look is not None:
                self._loop.remove_reader(stale)
                self._loop.add_reader(fresh, self._look)
            stale.close()

    def wait(self, timeout: float) -> bool:
        """Block until one of the topics is woken (True) or `timeout` seconds are over (False)."""
        deadline = time.monotonic() + timeout
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        while True:
            if self._woken():
                return True
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            poll.poll(left * 1000)

    async def await_(self, timeout: float) -> bool:
        """The awaitable twin of `wait`."""
        if self._woken():
            return True
        if timeout <= 0:
            return False
        import asyncio  # here, because it costs a command that asks one question more than its answer

        loop = asyncio.get_running_loop()
        future: asyncio.Future[bool] = loop.create_future()

        def look() -> None:
            if not future.done() and self._woken():
                future.set_result(True)

        def give_up() -> None:
            if not future.done():
                future.set_result(False)

        loop.add_reader(self._socket, look)
        timer = loop.call_later(timeout, give_up)
        try:
            return await future
        finally:
            timer.cancel()
            loop.remove_reader(self._socket)

    def listen(self, wake: Callable[[], None]) -> None:
        """From now on, call `wake` on the running event loop each time one of the topics is woken."""
        import asyncio

        def look() -> None:
            if self._woken():
                wake()

        self._loop, self._look = asyncio.get_running_loop(), look
        self._loop.add_reader(self._socket, look)

    def close(self) -> None:
        """Stop listening."""
        if self._loop is not None:
            self._loop.remove_reader(self._socket)
            self._loop = None
        for path in (self._shown, self._hidden):
            with suppress(FileNotFoundError):
                path.unlink()
        self._socket.close()

    def _woken(self) -> bool:
        """Take every message that lies there; true if one of them speaks of our topics."""
        woken = False
        while True:
            try:
                text = self._socket.recv(_MOST + 1)
            except (BlockingIOError, InterruptedError):
                return woken
            if not woken:
                woken = text == _ANY or not self._topics.isdisjoint(text.decode().split("\n"))


def _bound(path: Path) -> socket.socket:
    """A mailbox that lies there. Raises `OSError`."""
    mailbox = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        mailbox.setblocking(False)
        mailbox.bind(str(path))
    except BaseException:
        mailbox.close()
        raise
    return mailbox


def _sweep(directory: Path) -> None:
    """Remove the sockets of processes that have died."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        for path in directory.iterdir():
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                path.unlink(missing_ok=True)
            except OSError:
                continue  # moved or removed since
