"""Group commit: lone enqueues of one process that meet share an exchange with the store, and its commit.

Who finds few storing stores at once. Who comes meanwhile waits, and as soon as one of them is back, the first of those who wait
stores for all of them. So nobody waits for company, and under load each exchange carries as many jobs as came during the one
before: leader and followers, as databases share a flush of their log.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from threading import Lock, get_ident
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from weakref import WeakKeyDictionary

from treadle.app.connection import Connection
from treadle.engine.plan import Plan, Steps, adrive, drive
from treadle.engine.session import Durability, Session
from treadle.model.errors import StoreError
from treadle.model.job import Enqueued, NewJob

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from concurrent.futures import Future

MOST = 100
"""Jobs in one exchange: with payloads of the largest size that is allowed by default, 6 MiB."""
ABREAST = 2
"""Exchanges at once, where a store carries out two side by side sooner: the program prepares one while the other is away."""

PATIENCE = 60.0
"""Seconds after which a thread goes by itself: longer than a call to any store takes."""


class Seat:
    """One who stores a job, and, while he waits, a future of what he will be told.

    That is the answer, or an error of the store; a crew that he is to store for, himself the first of it; or nothing, when he
    is to store by himself.
    """

    __slots__ = ("durability", "job", "told")

    def __init__(self, job: NewJob, durability: Durability) -> None:
        self.job: NewJob = job
        self.durability: Durability = durability
        self.told: Any = None

    def tell(self, what: "Enqueued | StoreError | Crew | None") -> None:
        """Let him go on, unless he has left."""
        if not self.told.done():
            self.told.set_result(what)


Crew = list[Seat]


class Group:
    """Those who store by one session now, and those who wait until one of them is back."""

    def __init__(self, session: Session, abreast: int, future: Callable[[], Any]) -> None:
        self.session: Session = session
        self._abreast = abreast
        self._future = future
        self._lock = Lock()
        self._away = 0
        self._waiting: Crew = []

    def go(self) -> bool:
        """Whether the caller may go by himself now. If so, he says `back`."""
        with self._lock:
            free = self._away < self._abreast
            self._away += free
            return free

    def back(self) -> None:
        """One is back: the next crew may go."""
        with self._lock:
            while self._waiting:
                crew = [seat for seat in self._waiting[:MOST] if not seat.told.done()]
                del self._waiting[:MOST]
                if crew:
                    crew[0].tell(crew)
                    return
            self._away -= 1

    def store(self, job: NewJob, durability: Durability) -> Plan[Enqueued]:
        """Wait, and store or be stored for, as a plan whose steps are a seat to wait on and a crew to store for.

        The answer to a crew is the store's answers, or the error that was raised instead of them.
        """
        return Plan("enqueue", partial(self._store, Seat(job, durability)))

    def _store(self, seat: Seat) -> Steps[Enqueued]:
        crew: Crew | None = [seat]
        if not self._enter(seat):
            told = yield from self._wait(seat)
            if isinstance(told, Enqueued):
                return told
            crew = told
        found = None if crew is None else (yield from self._lead(crew))
        if found is None:
            found = yield [seat]
        if isinstance(found, Exception):
            raise found
        answer: Enqueued = found[0]
        return answer

    def _enter(self, seat: Seat) -> bool:
        """Go at once, or sit down."""
        with self._lock:
            if self._away < self._abreast:
                self._away += 1
                return True
            seat.told = self._future()
            self._waiting.append(seat)
            return False

    def _wait(self, seat: Seat) -> Steps[Enqueued | Crew | None]:
        try:
            told: Enqueued | StoreError | Crew | None = yield seat
        except GeneratorExit:  # cancelled or interrupted
            self._leave(seat)
            raise
        if isinstance(told, StoreError):
            raise told
        if told is None and self._leave(seat):  # nobody came back in time: an interrupt struck where Python shields nobody
            self.back()
        return told

    def _leave(self, seat: Seat) -> bool:
        """Stand up; whether he sat there still."""
        with self._lock:
            if seat in self._waiting:
                self._waiting.remove(seat)
                return True
            told: Crew | object = seat.told.result() if seat.told.done() and not seat.told.cancelled() else None
        if isinstance(told, list):  # he was just to go
            self._tell(cast("Crew", told), None)
            self.back()
        return False

    def _lead(self, crew: Crew) -> Steps[Any]:
        """What became of a crew; None where the fault may be one job's, and each is to go by himself."""
        found: Any = None
        try:
            found = yield crew
            if len(crew) > 1 and isinstance(found, Exception) and not isinstance(found, StoreError):
                found = None
            return found
        finally:
            self._tell(crew, found)
            self.back()

    def _tell(self, crew: Crew, found: "list[Enqueued] | Exception | None") -> None:
        """Tell all but the first what became of them."""
        for place, seat in enumerate(crew[1:], 1):
            seat.tell(found[place] if isinstance(found, list) else found if isinstance(found, StoreError) else None)


class GroupCommit:
    """Stores lone jobs that look at no other job, each with those that come at the same time. Safe in threads and after a fork.

    Callers of one event loop share with each other, and callers in threads do.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._loops: WeakKeyDictionary[AbstractEventLoop, Group] = WeakKeyDictionary()
        self._threads: _Threads | None = None

    def store(self, session: Session, job: NewJob, durability: Durability) -> Enqueued:
        """Store one job, and return when it is committed. Raises what the session raises."""
        threads, me = self._threads, get_ident()
        if threads is None or threads.pid != os.getpid() or threads.group.session is not session:
            threads = self._threads = _Threads(os.getpid(), self._group(session, _thread_future), set())
        group, inside = threads.group, threads.inside
        if me in inside:  # a signal's handler came in while this thread stores or waits: it must not wait for itself
            return session.run(self._connection.engine.enqueue([job]), durability)[0]
        inside.add(me)
        try:
            if group.go():
                try:
                    return session.run(self._connection.engine.enqueue([job]), durability)[0]
                finally:
                    group.back()
            return drive(group.store(job, durability), partial(self._send, session))
        finally:
            inside.discard(me)

    async def astore(self, session: Session, job: NewJob, durability: Durability) -> Enqueued:
        """The awaitable twin of `store`."""
        from asyncio import get_running_loop  # here, because it costs a program that has no loop more than its first enqueue

        loop = get_running_loop()
        group = self._loops.get(loop)
        if group is None or group.session is not session:
            # What is kept under a loop must not hold it: each future asks for it anew.
            group = self._loops[loop] = self._group(session, lambda: get_running_loop().create_future())
        if group.go():
            try:
                return (await session.arun(self._connection.engine.enqueue([job]), durability))[0]
            finally:
                group.back()
        return await adrive(group.store(job, durability), partial(self._asend, session))

    def _send(self, session: Session, step: Seat | Crew) -> Any:
        if isinstance(step, Seat):
            with suppress(TimeoutError):
                return step.told.result(PATIENCE)
            return None
        try:
            return session.run(self._plan(step), _strictest(step))
        except Exception as error:  # noqa: BLE001 - everybody whom it concerns is told, and raises it
            return error

    async def _asend(self, session: Session, step: Seat | Crew) -> Any:
        if isinstance(step, Seat):
            return await step.told
        try:
            return await session.arun(self._plan(step), _strictest(step))
        except Exception as error:  # noqa: BLE001 - everybody whom it concerns is told, and raises it
            return error

    def _group(self, session: Session, future: Callable[[], Any]) -> Group:
        return Group(session, ABREAST if self._connection.store.abreast else 1, future)

    def _plan(self, crew: Crew) -> Plan[list[Enqueued]]:
        return self._connection.engine.enqueue([seat.job for seat in crew])


class _Threads(NamedTuple):
    """The threads of one process that store or wait, and their group."""

    pid: int
    group: Group
    inside: set[int]


def _thread_future() -> "Future[Any]":
    from concurrent.futures import Future  # here, because who never waits has no use for it

    return Future()


def _strictest(crew: Crew) -> Durability:
    relaxed = all(seat.durability is Durability.RELAXED for seat in crew)
    return Durability.RELAXED if relaxed else Durability.DEFAULT
