"""A fault proxy between a store's clients and its server: what a network does on a bad day, on command.

Everything passes through on loopback. A test (or a nemesis) says from any thread what is to go wrong: bytes come late or
slowly, nobody reads any more while the sockets stay open, connections are reset, new ones are refused, or a request
arrives and its answer is lost.
"""

import asyncio
import random
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

R = TypeVar("R")

Matches = Callable[[bytes], bool]

_CHUNK = 65_536


class Proxy:
    """Listens on a free port of loopback and forwards to `target`, until closed. Its methods may be called from any thread."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self.lost_replies = 0
        self._delay = (0.0, 0.0)
        self._rate = 0.0
        self._cut: Matches | None = None
        self._cuts = 0
        self._refusing = False
        self._pairs: set[_Pair] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault proxy", daemon=True)
        self._thread.start()
        self._flowing = self._on_loop(_made(asyncio.Event))
        self._loop.call_soon_threadsafe(self._flowing.set)
        self._server = self._on_loop(asyncio.start_server(self._accept, "127.0.0.1", 0))
        self.port: int = self._server.sockets[0].getsockname()[1]

    # -- what may go wrong

    def pass_(self) -> None:
        """Let everything through again, at full speed. Connections that were reset stay so."""
        self._delay, self._rate, self._cut, self._refusing = (0.0, 0.0), 0.0, None, False
        self._loop.call_soon_threadsafe(self._flowing.set)

    def delay(self, seconds: float, jitter: float = 0.0) -> None:
        """Hold each piece of data back for so long, and up to `jitter` seconds more."""
        self._delay = (seconds, jitter)

    def throttle(self, bytes_per_second: float) -> None:
        """Let no more than this through in each direction of each connection."""
        self._rate = bytes_per_second

    def freeze(self) -> None:
        """Read nothing more from now on; every socket stays open. What is sent meanwhile arrives after `pass_`."""
        if threading.current_thread() is self._thread:  # a request that was being matched asks for it
            self._flowing.clear()
        else:
            self._on_loop(_made(self._flowing.clear))

    def refuse(self) -> None:
        """Reset each new connection at once; those that stand go on."""
        self._refusing = True

    def reset(self) -> int:
        """Break every connection with a reset; returns how many there were. New ones are served."""
        return self._on_loop(self._reset())

    def lose_reply(self, matches: Matches = lambda _: True, times: int = 1) -> None:
        """Deliver the next request that matches, and reset its connection when the answer comes, instead of passing that on.

        So many `times`, each on another connection.
        """
        self._cut, self._cuts = matches, times

    @property
    def connections(self) -> int:
        """How many connections stand now."""
        return len(self._pairs)

    def close(self) -> None:
        """Break everything off and stop listening."""
        self._on_loop(self._shut())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # -- on the proxy's own loop

    def _on_loop(self, work: Coroutine[Any, Any, R]) -> R:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            _break(writer)
            return
        try:
            there, back = await asyncio.open_connection(*self.target)
        except OSError:
            _break(writer)
            return
        pair = _Pair(writer, back)
        self._pairs.add(pair)
        try:
            done, pending = await asyncio.wait(
                [
                    asyncio.ensure_future(self._carry(reader, back, pair, request=True)),
                    asyncio.ensure_future(self._carry(there, writer, pair, request=False)),
                ],
                return_when=asyncio.FIRST_COMPLETED,
            )
            for each in pending:
                each.cancel()
            await asyncio.gather(*done, *pending, return_exceptions=True)
        except asyncio.CancelledError:
            return  # the proxy is closed; asyncio's streams would report a handler that was cancelled
        finally:
            self._pairs.discard(pair)
            for each in (writer, back):
                each.close()

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, pair: "_Pair", *, request: bool) -> None:
        while True:
            await self._flowing.wait()
            data = await source.read(_CHUNK)
            await self._flowing.wait()  # frozen while it waited: what came in the meantime stays here
            if not data:
                return
            if request and not pair.doomed and self._cut is not None and self._cut(data):
                pair.doomed = True
                self._cuts -= 1
                if not self._cuts:
                    self._cut = None
            elif not request and pair.doomed:
                self.lost_replies += 1
                pair.reset()
                return
            await self._hold_back(len(data))
            sink.write(data)
            await sink.drain()

    async def _hold_back(self, size: int) -> None:
        least, jitter = self._delay
        pause = least + random.uniform(0.0, jitter) + (size / self._rate if self._rate else 0.0)
        if pause:
            await asyncio.sleep(pause)

    async def _reset(self) -> int:
        pairs = list(self._pairs)
        for pair in pairs:
            pair.reset()
        return len(pairs)

    async def _shut(self) -> None:
        self._server.close()
        self._flowing.set()
        await self._reset()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


class _Pair:
    """One connection: the client's side and the server's."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self._writers = (client, server)
        self.doomed = False

    def reset(self) -> None:
        for writer in self._writers:
            _break(writer)


def _break(writer: asyncio.StreamWriter) -> None:
    """Close with a reset: lingering for zero seconds makes the kernel send one (Stevens, UNIX Network Programming, 7.5)."""
    with suppress(OSError):
        connection: socket.socket = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _made(make: Callable[[], R]) -> R:
    return make()
