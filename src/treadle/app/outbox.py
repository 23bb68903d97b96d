"""Where an app's calls go on their way to the store."""

import logging
import time
from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

from treadle.app.after_commit import after_commit, named
from treadle.app.connection import Connection
from treadle.app.group_commit import GroupCommit
from treadle.app.lifting import lift, urged
from treadle.app.pressure import Pressure, Shed, shed, strangers
from treadle.app.queue import Queue
from treadle.engine.contract import Engine
from treadle.engine.plan import Plan, Steps, adrive, drive, together
from treadle.engine.session import Durability, Session
from treadle.model.errors import BadInput, DuplicateJob, IdempotencyConflict, TreadleError, UnknownParent
from treadle.model.job import Enqueued, JobId, NewJob, Stored
from treadle.model.record import Record, Space

if TYPE_CHECKING:
    from treadle.app.call import Call

logger: logging.Logger = logging.getLogger("treadle")


class Batch(NamedTuple):
    """The jobs of one call to the store, and the strictest durability among them.

    `strict` are those that want no double; with `may_be_refused`, what another job has may be a reason to store none of them.
    With `keyed`, some may turn out to be repeats.
    """

    jobs: list[NewJob]
    durability: Durability
    strict: Collection[JobId]
    may_be_refused: bool
    edged: bool = False
    keyed: bool = False


class Outbox:
    """Stores calls. Each answer says under which id, and whether a job stood there already.

    Caps of queues are looked at first, in the same transaction where the caller has one open: what they refuse is refused
    before anything is written. What stands there already takes no room, so it is never refused.
    """

    def __init__(self, connection: Connection, queues: Mapping[str, Queue] | None = None) -> None:
        self.connection = connection
        self.pressure: Pressure = Pressure(connection, {} if queues is None else queues)
        """What is known of queues that have caps."""
        self._group_commit = GroupCommit(connection)
        self._looked_for_workers = False
        self._looking = False

    def send(self, calls: Sequence["Call[Any]"]) -> list[Enqueued]:
        """Store every call, or none.

        Raises `UnknownParent`, `DuplicateJob`, `IdempotencyConflict`, `QueueFull`, and `BadInput` for a circle of edges.
        """
        batch = _batch(calls)
        session = self.connection.session
        if self.pressure.absent:
            return self._store(session, batch, [])
        began = monotonic()
        while True:
            wait, sheds = drive(self._room(batch, began), session.run)
            if not wait:
                return self._store(session, batch, sheds)
            time.sleep(wait)

    async def asend(self, calls: Sequence["Call[Any]"]) -> list[Enqueued]:
        """The awaitable twin of `send`."""
        batch = _batch(calls)
        session = self.connection.session
        if self.pressure.absent:
            return await self._astore(session, batch, [])
        began = monotonic()
        while True:
            wait, sheds = await adrive(self._room(batch, began), session.arun)
            if not wait:
                return await self._astore(session, batch, sheds)
            import asyncio  # here, because it costs a program that has no loop more than its first enqueue

            await asyncio.sleep(wait)

    def send_in(self, connection: Any, calls: Sequence["Call[Any]"]) -> list[Enqueued]:
        """Store every call inside the transaction that is open on `connection`. Raises `NotTransactional`, and as `send`.

        Nothing waits for room in a queue here: what a transaction holds would be held all the while.
        """
        batch = _batch(calls)
        session = self.connection.lent(connection)
        sheds: list[Shed] = []
        if not self.pressure.absent:
            _, sheds = drive(self._room(batch, None), (session or self.connection.session).run)
        return self._after(connection, batch, sheds) if session is None else self._store(session, batch, sheds)

    async def asend_in(self, connection: Any, calls: Sequence["Call[Any]"]) -> list[Enqueued]:
        """The awaitable twin of `send_in`."""
        batch = _batch(calls)
        session = self.connection.lent(connection)
        sheds: list[Shed] = []
        if not self.pressure.absent:
            _, sheds = await adrive(self._room(batch, None), (session or self.connection.session).arun)
        return self._after(connection, batch, sheds) if session is None else await self._astore(session, batch, sheds)

    def _room(self, batch: Batch, began: float | None) -> Plan[tuple[float, list[Shed]]]:
        """Seconds to wait for room, and what is to be shed for it, as a plan whose steps are plans for a session.

        `began` is when this enqueue began, in monotonic seconds, None where it may not wait. Raises `QueueFull`.
        """

        def begin() -> Steps[tuple[float, list[Shed]]]:
            look = self.pressure.look(batch.jobs)
            if look is not None:
                since = monotonic()
                self.pressure.learn((yield look), since)
            coming: Sequence[NewJob] = batch.jobs
            if batch.keyed and self.pressure.over(coming):
                coming = yield strangers(self.connection.engine, coming)
            return self.pressure.judge(coming, None if began is None else monotonic() - began)

        return Plan("room", begin)

    def _store(self, session: Session, batch: Batch, sheds: list[Shed]) -> list[Enqueued]:
        if not batch.jobs:
            return []
        coming = self.pressure.expect(batch.jobs)
        looks = False
        try:
            looks = self._takes_look()
            told: Any = session.run(self._plan(batch, sheds, look=looks), batch.durability)
            answers = self._read(batch, sheds, told)
        finally:
            self.pressure.arrived(coming)
            self._looking = self._looking and not looks
        raising = self._raising(session, batch, answers)
        if raising is not None:
            with _best_effort():
                session.run(raising)
        return answers

    async def _astore(self, session: Session, batch: Batch, sheds: list[Shed]) -> list[Enqueued]:
        if not batch.jobs:
            return []
        coming = self.pressure.expect(batch.jobs)
        looks = False
        try:
            if self._is_shared(session, batch, sheds):
                told: Any = [await self._group_commit.store(session, batch.jobs[0], batch.durability)]
            else:
                looks = self._takes_look()
                told = await session.arun(self._plan(batch, sheds, look=looks), batch.durability)
            answers = self._read(batch, sheds, told)
        finally:
            self.pressure.arrived(coming)
            self._looking = self._looking and not looks
        raising = self._raising(session, batch, answers)
        if raising is not None:
            with _best_effort():
                await session.arun(raising)
        return answers

    def _is_shared(self, session: Session, batch: Batch, sheds: list[Shed]) -> bool:
        """Whether this goes with others: a lone job that neither waits for what others hold nor is refused for their sake."""
        return (
            len(batch.jobs) == 1 and not batch.jobs[0].is_judged and not sheds
            and session is self.connection.session and (self._looked_for_workers or self._looking)
        )  # fmt: skip

    def _takes_look(self) -> bool:
        """Whether this call is to look for workers: the first, and nobody beside it while it is under way.

        Of sixteen first calls at once each looked, was warned, and had a connection of its own, which the pool kept.
        """
        if self._looked_for_workers or self._looking:
            return False
        self._looking = True
        return True

    def _raising(self, session: Session, batch: Batch, answers: Sequence[Enqueued]) -> Plan[int] | None:
        """What makes the parents that were stored before as urgent as what waits for them now.

        Not inside a user's transaction: that would hold the parents, and wait for others that do.
        """
        wanted = urged(batch.jobs, answers) if batch.edged and session is self.connection.session else {}
        return lift(self.connection.engine, wanted) if wanted else None

    def _after(self, connection: Any, batch: Batch, sheds: list[Shed]) -> list[Enqueued]:
        """Store the jobs when the user's transaction has committed; until then nobody can say what stands in their place."""
        own = self.connection.session
        work, awork = partial(self._store, own, batch, sheds), partial(self._astore, own, batch, sheds)
        after_commit(connection, named(batch.jobs), work, awork)
        return [Enqueued(job.id, Stored.STORED, None) for job in batch.jobs]

    def _plan(self, batch: Batch, sheds: list[Shed], *, look: bool) -> Plan[Any]:
        """Enqueue; to `look`, see in the same step whether any worker has ever served this store.

        The store's own plans, put together as they are, take one exchange: a plan around them would take one for each answer.
        So only what may have to be taken back again has one around it.
        """
        engine = self.connection.engine
        enqueue = engine.enqueue(batch.jobs)
        if batch.may_be_refused or sheds:
            enqueue = Plan("shed" if sheds else "enqueue", partial(_enqueue, engine, batch, sheds))
        return together(enqueue, engine.read(Space.SERVED)) if look else enqueue

    def _read(
        self, batch: Batch, sheds: Sequence[Shed], told: list[Enqueued] | tuple[list[Enqueued], Sequence[Record]]
    ) -> list[Enqueued]:
        if isinstance(told, tuple):
            told, served = told
            self._looked_for_workers = True
            if not served:
                logger.warning(
                    "no worker has ever served %s: the job waits there until one does. Start one with `treadle worker MODULE`.",
                    self.connection.store.location,
                )
        _refuse(batch, told)
        self.pressure.added(batch.jobs, told, sheds)
        return told


def _enqueue(engine: Engine, batch: Batch, sheds: list[Shed]) -> Steps[list[Enqueued]]:
    answers = yield from engine.enqueue(batch.jobs).begin()
    _refuse(batch, answers)
    if sheds:
        yield from shed(engine, sheds, batch.jobs, answers).begin()
    return answers


def _refuse(batch: Batch, answers: list[Enqueued]) -> None:
    """Raise for what may not be stored: a plan that raises leaves nothing behind."""
    for each in answers:
        if each.verdict is not Stored.STORED:
            break
    else:
        return
    for job, each in zip(batch.jobs, answers, strict=True):
        match each.verdict:
            case Stored.UNKNOWN_PARENT:
                raise UnknownParent(
                    ", ".join(edge.parent for edge in job.edges),
                    f"{job.task} waits for a job that is neither stored nor in the same call",
                    "Enqueue the parents first, or all together with enqueue_many. Nothing was stored.",
                )
            case Stored.CONFLICT:
                raise IdempotencyConflict(
                    f"{job.task}: idempotency key",
                    f"job {each.id} was enqueued under it with other arguments",
                    "A key stands for one request: use another for another. Nothing was stored.",
                )
            case Stored.DUPLICATE if job.id in batch.strict:
                raise DuplicateJob(
                    job.task,
                    f"job {each.id} counts as the same and has not made way",
                    'Wait for it, or use on_conflict="return" to be given its handle. Nothing was stored.',
                    each.id,
                )
            case _:
                pass


def _batch(calls: Sequence["Call[Any]"]) -> Batch:
    jobs = [each.to_job() for each in calls]
    strict: list[JobId] = []
    durability, edged, keyed, unique = Durability.RELAXED, False, False, False
    for each, job in zip(calls, jobs, strict=True):
        if job.edges:
            edged = True
        if job.unique is not None:
            unique = True
            if each.strict:
                strict.append(job.id)
        if job.idempotency is not None:
            keyed = True
        if durability is Durability.RELAXED:
            durability = each.durability
    if edged:
        _refuse_circles(jobs)
        _inherit(jobs)
    return Batch(jobs, durability, strict, keyed or bool(strict), edged, keyed or unique)


@contextmanager
def _best_effort() -> Generator[None]:
    """What was enqueued is stored, whatever becomes of this."""
    try:
        yield
    except TreadleError as error:
        logger.warning("the parents of urgent jobs keep their priority: %s", error)


def _inherit(jobs: list[NewJob]) -> None:
    """Make parents at least as urgent as the most urgent job of the batch that waits for them, directly or through others.

    Else an urgent job waits for parents that stand behind everything which is less urgent than itself.
    """
    known = {job.id: job for job in jobs}
    waiting = [job for job in jobs if job.edges]
    for job in waiting:
        for edge in job.edges:
            parent = known.get(edge.parent)
            if parent is not None and parent.priority < job.priority:
                parent.priority = job.priority
                waiting.append(parent)


def _refuse_circles(jobs: list[NewJob]) -> None:
    """Raise `BadInput` if jobs of one batch wait for each other; edges to stored jobs cannot close a circle."""
    ids = {job.id for job in jobs}
    waits = {job.id: {edge.parent for edge in job.edges} & ids for job in jobs}
    children: dict[JobId, list[JobId]] = {}
    for child, parents in waits.items():
        for parent in parents:
            children.setdefault(parent, []).append(child)
    free = [job for job, parents in waits.items() if not parents]
    for job in free:
        for child in children.get(job, ()):
            waits[child].discard(job)
            if not waits[child]:
                free.append(child)
    if len(free) < len(waits):
        stuck = next(job for job in jobs if waits[job.id])
        raise BadInput(
            f"{stuck.task} {stuck.id}", "it waits for itself, directly or through others", "Remove one edge of the circle."
        )
