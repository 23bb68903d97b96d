"""Group commit: lone enqueues of one event loop that meet share an exchange with the store, and its commit.

Who finds few storing stores at once. Who comes meanwhile waits, and as soon as one of them is back, a crew of those who wait
is stored together. So nobody waits for company, and under load each exchange carries as many jobs as came during the one
before, as databases share a flush of their log. An exchange of several belongs to none of them: whoever of them is cancelled
takes nothing from the others.
"""

from collections import deque
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

from treadle.app.connection import Connection
from treadle.engine.session import Durability, Session
from treadle.model.errors import CannotOpen, StoreBusy, StoreError, without_password
from treadle.model.job import Enqueued, NewJob

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future, Task

MOST = 100
"""Jobs in one exchange."""
LARGEST = 1 << 20
"""Characters of arguments in one exchange of several: ninety callers with 3 MB each passed the deadline together."""
ABREAST = 2
"""Exchanges at once, where a store carries out two side by side sooner: the program prepares one while the other is away."""
UNANSWERED = (StoreBusy, CannotOpen)
"""What says that nobody answers, whichever job was sent."""

E = TypeVar("E", bound=BaseException)


class Seat(NamedTuple):
    """One who waits: what he stores, since when by the loop's clock, and where he is told."""

    job: NewJob
    durability: Durability
    since: float
    told: "Future[Enqueued]"


Crew = list[Seat]


class GroupCommit:
    """Stores lone jobs that look at no other job, each with those that come at the same time on its event loop."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._groups: WeakKeyDictionary[AbstractEventLoop, Group] = WeakKeyDictionary()

    async def store(self, session: Session, job: NewJob, durability: Durability) -> Enqueued:
        """Store one job, and return when it is committed. Raises what the session raises."""
        from asyncio import get_running_loop  # here, because it costs a program that has no loop more than its first enqueue

        loop = get_running_loop()
        group = self._groups.get(loop)
        if group is None or group.session is not session:
            group = self._groups[loop] = Group(self._connection, session)
        return await group.store(loop, job, durability)


class Group:
    """Those who store by one session on one event loop now, and those who wait until one of them is back.

    It is kept under its loop, and must not hold it, so each call hands it in.
    """

    def __init__(self, connection: Connection, session: Session) -> None:
        self.session: Session = session
        self._connection = connection
        self._abreast = ABREAST if connection.store.abreast else 1
        self._away: set[object] = set()
        """One for each exchange under way. Not a count: an interrupt may strike anywhere, and what is taken out of a set twice
        is out of it all the same."""
        self._waiting: deque[Seat] = deque()

    async def store(self, loop: "AbstractEventLoop", job: NewJob, durability: Durability) -> Enqueued:
        """Store one job: at once, or with others."""
        if len(self._away) >= self._abreast:
            seat = Seat(job, durability, loop.time(), loop.create_future())
            self._waiting.append(seat)
            return await seat.told
        began, me = loop.time(), object()
        try:
            self._away.add(me)
            return (await self._send([job], durability))[0]
        except StoreError as error:
            self._disappoint(error, began)
            raise
        finally:
            self._away.discard(me)
            self._next(loop)

    async def _send(self, jobs: list[NewJob], durability: Durability) -> list[Enqueued]:
        return await self.session.arun(self._connection.engine.enqueue(jobs), durability)

    def _next(self, loop: "AbstractEventLoop") -> None:
        """Send those who wait on their way, as many crews as may be away."""
        if loop.is_closed():
            return
        if self._waiting and not self._connection.holds(self.session):
            # The session would open anew, and nobody would close it.
            where = without_password(self._connection.url)
            closed = StoreBusy(f"{where}: the app was closed while this call waited. Nothing was stored; call again.")
            while self._waiting:
                _tell(self._waiting.popleft(), closed)
        while self._waiting and len(self._away) < self._abreast:
            crew = self._crew()
            if crew:
                task = loop.create_task(self._carry(loop, crew), name="treadle group commit")
                self._away.add(task)
                task.add_done_callback(partial(self._back, loop, crew))

    def _crew(self) -> Crew:
        """The next who go together: all as strict as the first of them, so that none waits for what he did not ask for."""
        crew: Crew = []
        rest: list[Seat] = []
        size = 0
        while self._waiting and len(crew) < MOST:
            seat = self._waiting.popleft()
            if seat.told.done():  # cancelled
                continue
            size += len(seat.job.args)
            if crew and (seat.durability is not crew[0].durability or size > LARGEST):
                size -= len(seat.job.args)
                rest.append(seat)
            else:
                crew.append(seat)
        self._waiting.extendleft(reversed(rest))
        return crew

    async def _carry(self, loop: "AbstractEventLoop", crew: Crew) -> None:
        """Store for a crew, and tell each what became of his job."""
        began = loop.time()
        try:
            await self._try(crew)
        except UNANSWERED as error:
            self._disappoint(error, began)
            for seat in crew:
                _tell(seat, error)

    def _back(self, loop: "AbstractEventLoop", crew: Crew, task: "Task[None]") -> None:
        """An exchange is over, however it ended. Nothing else is run of one that is cancelled before it has begun."""
        self._away.discard(task)
        for seat in crew:
            if not seat.told.done() and not loop.is_closed():  # the loop ends, or an interrupt struck
                seat.told.cancel()
        self._next(loop)

    async def _try(self, crew: Crew) -> None:
        """Store all at once; if one of them cannot be stored, one after the other. Raises what says that nobody answers."""
        try:
            answers = await self._send([seat.job for seat in crew], crew[0].durability)
        except UNANSWERED:
            raise
        except Exception as error:  # noqa: BLE001 - whoever it is about is told, and raises it
            if len(crew) == 1:
                _tell(crew[0], error)
            else:
                for seat in crew:
                    await self._try([seat])
            return
        for seat, answer in zip(crew, answers, strict=True):
            if not seat.told.done():
                seat.told.set_result(answer)

    def _disappoint(self, error: Exception, began: float) -> None:
        """Nobody answers: whoever has waited for as long as that took waits no more.

        Crews that took their turns at a store which was away kept the last of a thousand callers waiting for ten deadlines.
        """
        if not isinstance(error, UNANSWERED):
            return
        while self._waiting and self._waiting[0].since <= began:
            _tell(self._waiting.popleft(), error)


def _tell(seat: Seat, error: Exception) -> None:
    if not seat.told.done():
        seat.told.set_exception(_twin(error))


def _twin(error: E) -> E:
    """The same error once more, without what led to it: no caller is to read of another's frames, notes and errors."""
    kind = type(error)
    twin = kind.__new__(kind, *error.args)
    twin.args = error.args
    twin.__dict__.update(error.__dict__)
    twin.__dict__.pop("__notes__", None)
    return twin
