"""A call of a task that is not stored yet."""

from collections.abc import Callable, Iterable
from typing import Any, Generic, Protocol, TypeVar, Unpack

import msgspec

from treadle.app.codec import Prepared
from treadle.app.flow import Flow
from treadle.app.handle import JobHandle, JobHandles
from treadle.app.options import UNSAID, Options, OptionWords, read_options
from treadle.app.outbox import Outbox
from treadle.app.settings import TaskSettings, write_overrides
from treadle.app.twins import HEADER, kept_key
from treadle.engine.session import Durability
from treadle.model.errors import BadInput
from treadle.model.job import Enqueued, JobId, NewJob, Stored
from treadle.model.kind import is_a, is_list

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


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

    def prepare(self, payload: str, version: int | None = None) -> Prepared:
        """The arguments of a stored call, as the body takes them, upgraded where they are of an older version."""
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
        return self.answered(self._outbox.send([self])[0])

    async def aenqueue(self) -> JobHandle[R_co]:
        """The awaitable twin of `enqueue`."""
        return self.answered((await self._outbox.asend([self]))[0])

    def enqueue_in(self, connection: Any) -> JobHandle[R_co]:
        """Store the call inside the transaction that is open on `connection`, as `Task.enqueue_in` does."""
        return self.answered(self._outbox.send_in(connection, [self])[0])

    async def aenqueue_in(self, connection: Any) -> JobHandle[R_co]:
        """The awaitable twin of `enqueue_in`."""
        return self.answered((await self._outbox.asend_in(connection, [self]))[0])

    def handle(self) -> JobHandle[R_co]:
        """A handle on the job that this call is, or becomes once stored."""
        return JobHandle(self.id, self._outbox.connection, self.task.decode_result)

    def answered(self, answer: Enqueued) -> JobHandle[R_co]:
        """A handle on the job that stands for this call: its own, or the one that was there."""
        existing = answer.verdict is not Stored.STORED
        return JobHandle(answer.id, self._outbox.connection, self.task.decode_result, existing=existing)

    def to_job(self) -> NewJob:
        """The call as the engine takes it."""
        settings, said = self.task.settings, self.said
        if said is UNSAID:
            job = NewJob(
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
            return self._govern(job, settings.flow) if settings.governed else job
        tags = tuple(dict.fromkeys(settings.tags + said.tags))
        flow = settings.flow.over(said.flow)
        job = NewJob(
            id=self.id,
            task=settings.name,
            args=self.args,
            queue=settings.queue if said.queue is None else said.queue,
            priority=settings.priority if said.priority is None else said.priority,
            delay=said.delay,
            run_at=said.run_at,
            start_within=settings.start_within if said.start_within is None else said.start_within,
            version=settings.version,
            options=write_overrides(said, flow),
            headers=_headers(settings, tags, said.key),
            tags=tags,
            key=said.key,
            edges=said.after,
            max_crashes=settings.max_crashes,
        )
        return job if flow.plain else self._govern(job, flow)

    def _govern(self, job: NewJob, flow: Flow) -> NewJob:
        """Write onto the job what holds it back. Its body finds its limits and their keys among the headers."""
        held = flow.lay(job)
        unique = kept_key(job)
        if held or unique is not None:
            job.headers = _headers(self.task.settings, job.tags, job.key, held, unique)
        return job

    @property
    def strict(self) -> bool:
        """True when another job in its place is an error."""
        unique = self.said.flow.get("unique") or self.task.settings.flow.unique
        return unique is not None and unique.on_conflict == "raise"

    @property
    def durability(self) -> Durability:
        """What this call asks of the store."""
        return self.said.durability or self.task.settings.durability


def check_calls(calls: Iterable[Call[R]]) -> list[Call[R]]:
    """The calls as a list. Raises `BadInput` for what is no list, and for what is no call."""
    if not is_list(calls):
        raise BadInput(calls, "this is not a list of calls", "Write enqueue_many([task.call(...), ...]).")
    listed = list(calls)
    for each in listed:
        if not is_a(each, Call):
            raise BadInput(each, "this is not a call", "Write task.call(...), which checks a call without storing it.")
    return listed


def handles(calls: Iterable[Call[R]], answers: Iterable[Enqueued]) -> JobHandles[R]:
    """The handles of many calls, in their order."""
    return JobHandles([call.answered(answer) for call, answer in zip(calls, answers, strict=True)])


def _headers(
    settings: TaskSettings,
    tags: tuple[str, ...],
    key: str | None,
    held: tuple[tuple[str, str], ...] = (),
    unique: str | None = None,
) -> str | None:
    if not (tags or key or settings.redacted or held or unique is not None):
        return None
    headers: dict[str, Any] = {}
    if tags:
        headers["tags"] = tags
    if key:
        headers["key"] = key
    if settings.redacted:
        headers["redacted"] = settings.redacted
    if held:
        headers["limits"] = held
    if unique is not None:
        headers[HEADER] = unique
    return msgspec.json.encode(headers).decode()
