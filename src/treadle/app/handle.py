"""What an enqueue gives back: a job's id, and ways to look at it, wait for it and stop it."""

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from itertools import takewhile
from typing import Generic, NoReturn, TypeVar, overload

from treadle.app.connection import Connection, refuse_in_loop
from treadle.app.operating import cancel_jobs, get_job, see_jobs
from treadle.app.view import Job
from treadle.engine.plan import Plan
from treadle.engine.session import Waiter
from treadle.model import job as stored
from treadle.model.errors import JobCancelled, JobDead, JobExpired, ResultTimeout
from treadle.model.job import JobId
from treadle.model.state import State
from treadle.policy.duration import Duration, seconds

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

_FIRST_POLL = 0.1
_LONGEST_POLL = 2.0
_READ = 250
"""Results that are read in one step: at 256 KiB each, the most they take is 64 MB."""


class JobHandle(Generic[R_co]):
    """One enqueued job. Costs nothing until it is asked something; every question has an awaitable twin."""

    __slots__ = ("_connection", "_decode", "existing", "id")

    def __init__(
        self, job: JobId, connection: Connection, decode: Callable[[str | None], R_co], *, existing: bool = False
    ) -> None:
        self.id: JobId = job
        self.existing: bool = existing
        """True when the enqueue that gave this handle stored nothing: the job was there already."""
        self._connection = connection
        self._decode = decode

    def __repr__(self) -> str:
        return f"<JobHandle {self.id}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, JobHandle) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def job(self) -> Job:
        """The job as it is now, with its details. Raises `UnknownJob`."""
        return self._connection.run(get_job(self._connection.engine, self.id))

    async def ajob(self) -> Job:
        """The awaitable twin of `job`."""
        return await self._connection.arun(get_job(self._connection.engine, self.id))

    def state(self) -> State:
        """Where the job is now. Raises `UnknownJob`."""
        return self._connection.run(self._look())[self.id].state

    async def astate(self) -> State:
        """The awaitable twin of `state`."""
        return (await self._connection.arun(self._look()))[self.id].state

    def cancel(self, reason: str = "") -> bool:
        """Ask the job to stop; True unless it had ended. A waiting job is cancelled at once, a running one is told."""
        return self._connection.run(cancel_jobs(self._connection.engine, self.id, reason))

    async def acancel(self, reason: str = "") -> bool:
        """The awaitable twin of `cancel`."""
        return await self._connection.arun(cancel_jobs(self._connection.engine, self.id, reason))

    def result(self, timeout: Duration | None = None) -> R_co:
        """Wait for the job to end and return what its body returned; `timeout` None waits for ever.

        Raises `JobDead`, `JobCancelled` or `JobExpired` if it ended otherwise, `ResultTimeout`, `UnknownJob`, and
        `WouldBlock` inside a running event loop.
        """
        refuse_in_loop("JobHandle.result()", "handle.aresult()")
        patience = _Patience(self.id, timeout)
        run = self._connection.run
        job = run(self._look())[self.id]
        if not job.state.final:
            with self._listening() as waiter:
                while not (job := run(self._look())[self.id]).state.final:
                    waiter.wait(patience.next())
        return self._outcome(job)

    async def aresult(self, timeout: Duration | None = None) -> R_co:
        """The awaitable twin of `result`."""
        patience = _Patience(self.id, timeout)
        run = self._connection.arun
        job = (await run(self._look()))[self.id]
        if not job.state.final:
            with self._listening() as waiter:
                while not (job := (await run(self._look()))[self.id]).state.final:
                    await waiter.await_(patience.next())
        return self._outcome(job)

    def _look(self) -> Plan[Mapping[JobId, stored.Job]]:
        """The job without its attempts and relatives: what is asked again and again while somebody waits."""
        return see_jobs(self._connection.engine, [self.id])

    @contextmanager
    def _listening(self) -> Generator[Waiter]:
        waiter = self._connection.store.waiter([f"job:{self.id}"])
        try:
            waiter.idle(True)
            yield waiter
        finally:
            waiter.close()

    def _outcome(self, job: stored.Job) -> R_co:
        if job.state is not State.COMPLETED:
            _refuse(job)
        return self._decode(job.result)


class _Patience:
    """How long the next wait may be: growing polls, bounded by the caller's timeout."""

    def __init__(self, job: JobId, timeout: Duration | None) -> None:
        self._job = job
        self._timeout = None if timeout is None else seconds(timeout)
        self._end = None if self._timeout is None else time.monotonic() + self._timeout
        self._poll = _FIRST_POLL

    def next(self) -> float:
        """Seconds to wait now. Raises `ResultTimeout` when there is no time left."""
        poll = self._poll
        self._poll = min(_LONGEST_POLL, poll * 1.5)
        if self._end is None:
            return poll
        left = self._end - time.monotonic()
        if left <= 0:
            raise ResultTimeout(f"{self._job} has not ended within {self._timeout:g} s. The job goes on; ask again later.")
        return min(poll, left)


def _refuse(job: stored.Job) -> NoReturn:
    name = f"{job.task} {job.id}"
    if job.state is State.DEAD:
        why = stored.died_of(job.dead.cause, job.dead.reason) if job.dead else job.reason or ""
        raise JobDead(f"{name} is dead ({why})")
    if job.state is State.CANCELLED:
        raise JobCancelled(f"{name} was cancelled ({job.reason or 'no reason given'})")
    raise JobExpired(f"{name} expired: it had not started by its deadline")


class JobHandles(Sequence[JobHandle[R_co]]):
    """The handles of one bulk enqueue, in the order of its calls."""

    __slots__ = ("_handles",)

    def __init__(self, handles: Sequence[JobHandle[R_co]]) -> None:
        self._handles = tuple(handles)

    def __repr__(self) -> str:
        return f"<JobHandles of {len(self._handles)} jobs>"

    @overload
    def __getitem__(self, index: int) -> JobHandle[R_co]: ...
    @overload
    def __getitem__(self, index: slice) -> "JobHandles[R_co]": ...
    def __getitem__(self, index: int | slice) -> "JobHandle[R_co] | JobHandles[R_co]":
        return JobHandles(self._handles[index]) if isinstance(index, slice) else self._handles[index]

    def __len__(self) -> int:
        return len(self._handles)

    @property
    def ids(self) -> list[JobId]:
        """The ids of the jobs."""
        return [each.id for each in self._handles]

    def results(self, timeout: Duration | None = None) -> list[R_co]:
        """Wait for every job, `timeout` in all, and return their results in order. Raises what `JobHandle.result` raises."""
        refuse_in_loop("JobHandles.results()", "handles.aresults()")
        end = _deadline(timeout)
        found: list[R_co] = []
        take = _READ
        while handles := self._handles[len(found) : len(found) + take]:
            connection, plan = _look(handles)
            read = _ended(handles, connection.run(plan))
            found += read or [handles[0].result(_left(end))]
            take = _next(take, len(read))
        return found

    async def aresults(self, timeout: Duration | None = None) -> list[R_co]:
        """The awaitable twin of `results`."""
        end = _deadline(timeout)
        found: list[R_co] = []
        take = _READ
        while handles := self._handles[len(found) : len(found) + take]:
            connection, plan = _look(handles)
            read = _ended(handles, await connection.arun(plan))
            found += read or [await handles[0].aresult(_left(end))]
            take = _next(take, len(read))
        return found


def _look(handles: Sequence[JobHandle[R]]) -> tuple[Connection, Plan[Mapping[JobId, stored.Job]]]:
    # Handles made by one call share one connection.
    connection = handles[0]._connection  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
    return connection, see_jobs(connection.engine, list(dict.fromkeys(each.id for each in handles)))


def _ended(handles: Sequence[JobHandle[R]], jobs: Mapping[JobId, stored.Job]) -> list[R]:
    """The results of the leading jobs that have ended. Raises for the first of them that ended without one."""
    leading = takewhile(lambda each: jobs[each.id].state.final, handles)
    return [each._outcome(jobs[each.id]) for each in leading]  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]


def _next(take: int, read: int) -> int:
    """How many to look at next: fewer while they are not done yet, so that what is not done is not read again and again."""
    return min(_READ, 2 * take) if read == take else max(1, read)


def _deadline(timeout: Duration | None) -> float | None:
    return None if timeout is None else time.monotonic() + seconds(timeout)


def _left(end: float | None) -> float | None:
    return None if end is None else max(0.0, end - time.monotonic())
