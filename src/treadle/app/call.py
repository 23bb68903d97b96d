"""A call of a task that is not stored yet, and the outbox that stores calls."""

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Generic, Protocol, TypeVar, Unpack

import msgspec

from treadle.app.after_commit import after_commit
from treadle.app.codec import Prepared
from treadle.app.connection import Connection
from treadle.app.handle import JobHandle, JobHandles
from treadle.app.options import UNSAID, Options, OptionWords, read_options
from treadle.app.settings import TaskSettings, write_overrides
from treadle.engine.plan import Plan, together
from treadle.engine.session import Durability, Session
from treadle.model.errors import BadInput, UnknownParent
from treadle.model.job import Enqueued, JobId, NewJob, Stored
from treadle.model.record import Record, Space

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

logger: logging.Logger = logging.getLogger("treadle")


class Outbox:
    """Where an app's calls go on their way to the store."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._looked_for_workers = False

    def send(self, calls: Sequence["Call[Any]"]) -> None:
        """Store every call, or none. Raises `UnknownParent`, and `BadInput` for a circle of edges."""
        self._store(self.connection.session, *_batch(calls))

    async def asend(self, calls: Sequence["Call[Any]"]) -> None:
        """The awaitable twin of `send`."""
        await self._astore(self.connection.session, *_batch(calls))

    def send_in(self, connection: Any, calls: Sequence["Call[Any]"]) -> None:
        """Store every call inside the transaction that is open on `connection`. Raises `NotTransactional`, and as `send`."""
        jobs, durability = _batch(calls)
        session = self.connection.lent(connection)
        if session is None:
            self._after(connection, jobs, durability)
        else:
            self._store(session, jobs, durability)

    async def asend_in(self, connection: Any, calls: Sequence["Call[Any]"]) -> None:
        """The awaitable twin of `send_in`."""
        jobs, durability = _batch(calls)
        session = self.connection.lent(connection)
        if session is None:
            self._after(connection, jobs, durability)
        else:
            await self._astore(session, jobs, durability)

    def _store(self, session: Session, jobs: list[NewJob], durability: Durability) -> None:
        if jobs:
            self._read(jobs, *session.run(self._plan(jobs), durability))

    async def _astore(self, session: Session, jobs: list[NewJob], durability: Durability) -> None:
        if jobs:
            self._read(jobs, *await session.arun(self._plan(jobs), durability))

    def _after(self, connection: Any, jobs: list[NewJob], durability: Durability) -> None:
        """Store the jobs when the user's transaction has committed."""
        own = self.connection.session
        after_commit(connection, partial(self._store, own, jobs, durability), partial(self._astore, own, jobs, durability))

    def _plan(self, jobs: list[NewJob]) -> Plan[tuple[Any, ...]]:
        """Enqueue; the first time, see in the same step whether any worker has ever served this store.

        The store's own plans, put together as they are, take one exchange: a plan around them would take one for each answer.
        """
        engine = self.connection.engine
        if self._looked_for_workers:
            return together(engine.enqueue(jobs))
        return together(engine.enqueue(jobs), engine.read(Space.SERVED))

    def _read(self, jobs: list[NewJob], answers: list[Enqueued], served: Sequence[Record] = ()) -> None:
        if not self._looked_for_workers:
            self._looked_for_workers = True
            if not served:
                logger.warning(
                    "no worker has ever served %s: the job waits there until one does. Start one with `treadle worker MODULE`.",
                    self.connection.store.location,
                )
        for job, answer in zip(jobs, answers, strict=True):
            if answer.verdict is Stored.UNKNOWN_PARENT:
                raise UnknownParent(
                    ", ".join(edge.parent for edge in job.edges),
                    f"{job.task} waits for a job that is neither stored nor in the same call",
                    "Enqueue the parents first, or all together with enqueue_many. Nothing was stored.",
                )


class Callee(Protocol[R_co]):
    """What a call asks of its task."""

    @property
    def settings(self) -> TaskSettings:
        """How its jobs are stored and run."""
        ...

    @property
    def fn(self) -> Callable[..., Any]:
        """The function itself."""
        ...

    @property
    def is_async(self) -> bool:
        """True for an `async def`."""
        ...

    @property
    def wants_context(self) -> bool:
        """True when the body takes a `Context` in front."""
        ...

    def prepare(self, payload: str) -> Prepared:
        """The arguments of a stored call, as the body takes them."""
        ...

    def encode_result(self, value: object) -> str | None:
        """The JSON text of what the body returned."""
        ...

    def decode_result(self, text: str | None) -> R_co:
        """What the body returned, from its JSON text."""
        ...


class Call(Generic[R_co]):
    """A call that is checked but not stored: enqueue it alone, in bulk, or as the parent of another.

    Its id is fixed, so enqueueing it twice stores it once.
    """

    __slots__ = ("_outbox", "args", "id", "said", "task")

    def __init__(
        self,
        id: JobId,  # noqa: A002 - the word that users read it by
        task: Callee[R_co],
        args: str,
        outbox: Outbox,
        said: Options,
    ) -> None:
        self.id: JobId = id
        self.task: Callee[R_co] = task
        self.args: str = args
        self.said: Options = said
        self._outbox = outbox

    def __repr__(self) -> str:
        return f"<Call {self.task.settings.name} {self.id}>"

    def options(self, **words: Unpack[OptionWords]) -> "Call[R_co]":
        """The same call with these options laid over those it has; it keeps its id unless `job_id` is given."""
        said = read_options(words).over(self.said)
        return Call(said.job_id or self.id, self.task, self.args, self._outbox, said)

    def enqueue(self) -> JobHandle[R_co]:
        """Store the call."""
        self._outbox.send([self])
        return self.handle()

    async def aenqueue(self) -> JobHandle[R_co]:
        """The awaitable twin of `enqueue`."""
        await self._outbox.asend([self])
        return self.handle()

    def enqueue_in(self, connection: Any) -> JobHandle[R_co]:
        """Store the call inside the transaction that is open on `connection`, as `Task.enqueue_in` does."""
        self._outbox.send_in(connection, [self])
        return self.handle()

    async def aenqueue_in(self, connection: Any) -> JobHandle[R_co]:
        """The awaitable twin of `enqueue_in`."""
        await self._outbox.asend_in(connection, [self])
        return self.handle()

    def handle(self) -> JobHandle[R_co]:
        """A handle on the job that this call is, or becomes once stored."""
        return JobHandle(self.id, self._outbox.connection, self.task.decode_result)

    def to_job(self) -> NewJob:
        """The call as the engine takes it."""
        settings, said = self.task.settings, self.said
        if said is UNSAID:
            return NewJob(
                id=self.id,
                task=settings.name,
                args=self.args,
                queue=settings.queue,
                priority=settings.priority,
                start_within=settings.start_within,
                version=settings.version,
                headers=_headers(settings, settings.tags, None),
                tags=settings.tags,
                max_crashes=settings.max_crashes,
            )
        tags = tuple(dict.fromkeys(settings.tags + said.tags))
        return NewJob(
            id=self.id,
            task=settings.name,
            args=self.args,
            queue=settings.queue if said.queue is None else said.queue,
            priority=settings.priority if said.priority is None else said.priority,
            delay=said.delay,
            run_at=said.run_at,
            start_within=settings.start_within if said.start_within is None else said.start_within,
            version=settings.version,
            options=write_overrides(said),
            headers=_headers(settings, tags, said.key),
            tags=tags,
            key=said.key,
            edges=said.after,
            max_crashes=settings.max_crashes,
        )

    @property
    def durability(self) -> Durability:
        """What this call asks of the store."""
        return self.said.durability or self.task.settings.durability


def check_calls(calls: Iterable[Call[R]]) -> list[Call[R]]:
    """The calls as a list. Raises `BadInput` for what is no list, and for what is no call."""
    if not isinstance(calls, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise BadInput(calls, "this is not a list of calls", "Write enqueue_many([task.call(...), ...]).")
    listed = list(calls)
    for each in listed:
        if not isinstance(each, Call):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise BadInput(each, "this is not a call", "Write task.call(...), which checks a call without storing it.")
    return listed


def handles(calls: Iterable[Call[R]]) -> JobHandles[R]:
    """The handles of many calls, in their order."""
    return JobHandles([each.handle() for each in calls])


def _headers(settings: TaskSettings, tags: tuple[str, ...], key: str | None) -> str | None:
    if not (tags or key or settings.redacted):
        return None
    headers: dict[str, Any] = {}
    if tags:
        headers["tags"] = tags
    if key:
        headers["key"] = key
    if settings.redacted:
        headers["redacted"] = settings.redacted
    return msgspec.json.encode(headers).decode()


def _batch(calls: Sequence[Call[Any]]) -> tuple[list[NewJob], Durability]:
    """The jobs of one call to the store, and the strictest durability among them."""
    jobs: list[NewJob] = []
    durability, edged = Durability.RELAXED, False
    for each in calls:
        job = each.to_job()
        jobs.append(job)
        if job.edges:
            edged = True
        if each.durability is Durability.DEFAULT:
            durability = Durability.DEFAULT
    if edged:
        _refuse_circles(jobs)
    return jobs, durability


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
