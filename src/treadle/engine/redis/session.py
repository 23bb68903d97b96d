"""Runs plans on Redis: from any thread, or on any event loop, with a deadline on every call."""

import asyncio
import os
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from typing import Any, TypeVar

from treadle.engine.aside import aside
from treadle.engine.plan import Plan
from treadle.engine.redis.address import Dialled
from treadle.engine.redis.errand import Answered, Errand, Ground
from treadle.engine.redis.link import Link, Lost, Stream
from treadle.engine.redis.steps import converse
from treadle.engine.session import Durability
from treadle.engine.taking import take
from treadle.model.errors import CannotOpen, StoreBusy

R = TypeVar("R")

_forgotten: list[object] = []


class RedisSession:
    """Plans on connections of our own: one for threads, which take turns, and one for each event loop, which share it."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.RLock()  # a signal's handler may come in while its own thread has it
        self._inside = False
        self._reached = False
        self._lanes: deque[int] = deque()
        self._most_lanes = count()
        self._link: Link | None = None
        self._streams: dict[asyncio.AbstractEventLoop, Stream] = {}
        self._dialling: dict[asyncio.AbstractEventLoop, asyncio.Lock] = {}

    def run(self, plan: Plan[R], durability: Durability = Durability.DEFAULT) -> R:
        """Run a plan to its answer in the calling thread."""
        if self._pid != os.getpid():
            self._forget()
        talk, lane = converse(plan), self._lane()
        try:
            batch = next(talk)
            while True:
                batch = talk.send(self._carry(Errand(self._ground, batch, durability, lane)))
        except StopIteration as stop:
            answer: R = stop.value
            return answer
        finally:
            self._lanes.append(lane)
            talk.close()

    async def arun(self, plan: Plan[R], durability: Durability = Durability.DEFAULT) -> R:
        """Run a plan without blocking the event loop."""
        if self._pid != os.getpid():
            self._forget()
        talk, lane = converse(plan), self._lane()
        try:
            batch = next(talk)
            while True:
                batch = talk.send(await self._acarry(Errand(self._ground, batch, durability, lane)))
        except StopIteration as stop:
            answer: R = stop.value
            return answer
        finally:
            self._lanes.append(lane)
            talk.close()

    def _lane(self) -> int:
        """A number that no other call of this session has now: from any thread, or from the middle of another call."""
        try:
            return self._lanes.pop()
        except IndexError:
            return next(self._most_lanes)

    def close(self) -> None:
        """Give the connections back. The session may be used again, and opens anew."""
        if self._pid != os.getpid():
            self._forget()
            return
        with self._lock:
            self._drop()
        streams, self._streams = self._streams, {}
        for stream in streams.values():
            stream.retire()
        for loop, lock in list(self._dialling.items()):
            if not lock.locked():  # else who comes now would dial beside who dials already
                self._dialling.pop(loop, None)

    def _forget(self) -> None:
        """In a forked child: drop what belongs to the parent without touching it."""
        for stream in list(self._streams.values()):
            stream.forget()
        _forgotten.append((self._link, self._streams))
        self._begin_anew()

    def _carry(self, errand: Errand) -> Sequence[Any] | None:
        lock, held = self._lock, list[bool]()
        try:
            if not take(lock.acquire, self._ground.timeout, held):
                raise StoreBusy(
                    f"{self._ground.location}: another thread kept this session for {self._ground.timeout:g} s. Call again."
                )
            return self._carry_aside(errand) if self._inside else self._carry_alone(errand)
        finally:
            if True in held:
                lock.release()

    def _carry_alone(self, errand: Errand) -> Sequence[Any] | None:
        self._inside = True
        try:
            return self._insist(errand)
        finally:
            self._inside = False

    def _carry_aside(self, errand: Errand) -> Sequence[Any] | None:
        """In the middle of another call of this thread, which a handler or a finalizer has interrupted: on another connection.

        It waited five seconds for itself, and was told that another thread kept the session.
        """
        outer, self._link = self._link, None
        try:
            return self._insist(errand)
        finally:
            mine, self._link = self._link, outer
            if mine is not None:
                mine.close()

    def _insist(self, errand: Errand) -> Sequence[Any] | None:
        while (answers := self._once(errand)) is None:
            time.sleep(errand.pause())
        return answers.replies

    def _once(self, errand: Errand) -> Answered | None:
        """One try; None asks for another."""
        try:
            if self._link is None:
                self._link = Link(self._ground.dial(errand.deadline))
                self._reached = True
            replies = self._link.request(*errand.payload(), errand.deadline)
        except Lost as lost:
            self._drop()
            errand.broke(lost)
            return None
        except CannotOpen as error:
            errand.unreachable(error, reached_before=self._reached)
            return None
        except BaseException:
            self._drop()  # the reply is still on its way: nobody else may take it for theirs
            raise
        try:
            return errand.answered(replies)
        finally:
            if errand.elsewhere:
                self._drop()

    def _drop(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.close()

    async def _acarry(self, errand: Errand) -> Sequence[Any] | None:
        answers = await self._aonce(errand)
        while answers is None:
            await asyncio.sleep(errand.pause())
            answers = await self._aonce(errand)
        return answers.replies

    async def _aonce(self, errand: Errand) -> Answered | None:
        loop = asyncio.get_running_loop()
        try:
            stream = self._streams.get(loop)
            if stream is None or not stream.open:
                stream = await self._open_stream(loop, errand.deadline)
            replies = await stream.request(*errand.payload(), errand.deadline)
        except Lost as lost:
            errand.broke(lost)
            return None
        except CannotOpen as error:
            errand.unreachable(error, reached_before=self._reached)
            return None
        try:
            return errand.answered(replies)
        finally:
            if errand.elsewhere:
                stream.retire()

    async def _open_stream(self, loop: asyncio.AbstractEventLoop, deadline: float) -> Stream:
        """The loop's connection, dialled in a thread by the first of the tasks that want it."""
        self._sweep()
        async with self._dialling.setdefault(loop, asyncio.Lock()):
            stream = self._streams.get(loop)
            if stream is not None and stream.open:
                return stream
            dialling = aside(lambda: self._ground.dial(deadline))
            try:
                dialled = await asyncio.shield(dialling)
            except asyncio.CancelledError:
                dialling.add_done_callback(_hang_up)
                raise
            self._reached = True
            stream = self._streams[loop] = Stream(dialled, loop)
            return stream

    def _sweep(self) -> None:
        """Hang up for loops that are closed. Other threads open and sweep meanwhile: each look is one call into C."""
        for loop in list(self._streams) + list(self._dialling):
            if loop.is_closed():
                stream = self._streams.pop(loop, None)
                self._dialling.pop(loop, None)
                if stream is not None:
                    stream.close()


def _hang_up(dialling: "asyncio.Future[Dialled]") -> None:
    with suppress(Exception, asyncio.CancelledError):
        dialling.result().sock.close()
