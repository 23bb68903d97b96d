"""The operator's client: look at jobs, queues and workers, and change them. Every call has an awaitable twin."""

import getpass
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from treadle.app import operating
from treadle.app.connection import Connection
from treadle.app.deploying import Fitting, Misfit
from treadle.app.holdups import Holdup, see_holdups, see_standstills, see_suspects
from treadle.app.limit import Limit
from treadle.app.limits import Limits
from treadle.app.obstacles import Obstacle, see_obstacles
from treadle.app.queue import described
from treadle.app.registry import Registry
from treadle.app.stopping import NO_KEY, pausing, resuming
from treadle.app.storetime import here, own_time
from treadle.app.view import Count, Job, QueueView, Standstill, WorkerView, view_count, view_worker
from treadle.app.where import EVERYTHING, Filter, Where, among, narrowed, whole
from treadle.engine.plan import Plan
from treadle.model import filter as asked
from treadle.model import job as stored
from treadle.model.filter import (
    ACTOR_CAP,
    Altered,
    Annotate,
    Axis,
    Cancel,
    Change,
    Erase,
    Page,
    Prioritise,
    Replay,
    Resolve,
    Retention,
    check_remark,
)
from treadle.model.job import JobId, Micros
from treadle.model.state import LIVE, State
from treadle.policy.duration import Duration, seconds
from treadle.policy.pressure import Cap

WAITING = Filter(states=tuple(state for state in State if state in LIVE and state is not State.RUNNING))
_OPEN = Filter(states=(State.DEAD,), status="open")
_CHUNK = 1000


class Client:
    """What may be asked of a store and changed in it, by id or by filter.

    Changes answer with one `Altered` per job, `done` saying whether the job's state allowed it; they go through in steps
    of 1,000 jobs, each step whole or not at all. With `dry_run=True` they answer the same and change nothing, but nobody looks
    at unique keys, which may refuse a replay: then `holder` is the job that has the key. `actor` is who the audit says it was,
    in at most 200 characters: the name of the operating system's user unless given. Reasons and notes take at most 2,000
    characters. Raises `InvalidOption`.
    """

    def __init__(
        self,
        connection: Connection,
        registry: Registry,
        actor: str | None = None,
        declared: Mapping[str, Limit] | None = None,
    ) -> None:
        self._connection = connection
        self._registry = registry
        self._declared: Mapping[str, Limit] = {} if declared is None else declared
        check_remark("actor", actor, ACTOR_CAP)
        self._actor = actor

    @property
    def actor(self) -> str:
        """Who the audit says made a change."""
        if self._actor is None:
            try:
                self._actor = getpass.getuser().encode("utf-8", "backslashreplace").decode()
            except (KeyError, OSError):
                self._actor = f"uid {os.getuid()}"
        return self._actor

    def acting_as(self, actor: str) -> "Client":
        """The same client with another name in the audit."""
        return Client(self._connection, self._registry, actor, self._declared)

    @property
    def limits(self) -> Limits:
        """The limits of the store: what they let through, and changing that."""
        return Limits(self._connection, self._declared, lambda: self.actor)

    def get(self, job: JobId) -> Job:
        """One job with its attempts, parents and children. Raises `UnknownJob`."""
        return self._connection.run(operating.get_job(self._connection.engine, job))

    async def aget(self, job: JobId) -> Job:
        """The awaitable twin of `get`."""
        return await self._connection.arun(operating.get_job(self._connection.engine, job))

    def find(self, where: Filter = EVERYTHING, page: Page | None = None) -> list[Job]:
        """Jobs as they are now, newest first, a hundred at most unless `page` says otherwise. Redacted values are hidden."""
        return self._connection.run(operating.find_jobs(self._connection.engine, whole(where), page or Page()))

    async def afind(self, where: Filter = EVERYTHING, page: Page | None = None) -> list[Job]:
        """The awaitable twin of `find`."""
        return await self._connection.arun(operating.find_jobs(self._connection.engine, whole(where), page or Page()))

    def obstacles(self, jobs: Sequence[Job]) -> Mapping[JobId, Obstacle]:
        """What keeps jobs that wait from starting, and the cure: nobody takes them, or what they are blocked on.

        Queued: the queue or the task is paused, or no live worker serves the one or knows the other. Blocked: the key of a
        limit, and who paused it or how many wait there, a breaker, the first of its order and what that one waits for, a
        parent that is a dead letter. Scheduled: put off by a worker whose code is too old. Dead, with its details: the
        newer job that keeps it from being replayed. By id, where that can be said; it is looked up now, and stored nowhere.
        """
        return self._connection.run(see_obstacles(self._connection.engine, jobs, self._now()))

    async def aobstacles(self, jobs: Sequence[Job]) -> Mapping[JobId, Obstacle]:
        """The awaitable twin of `obstacles`."""
        return await self._connection.arun(see_obstacles(self._connection.engine, jobs, self._now()))

    def suspects(self, most: int = 200) -> Mapping[str, int]:
        """How many of the `most` oldest queued jobs run alone because a worker died with them in hand, by queue."""
        return self._connection.run(see_suspects(self._connection.engine, most))

    async def asuspects(self, most: int = 200) -> Mapping[str, int]:
        """The awaitable twin of `suspects`."""
        return await self._connection.arun(see_suspects(self._connection.engine, most))

    def standstills(self) -> list[Standstill]:
        """Which queued jobs nobody takes, why, and the cure, by queue and task: what `obstacles` says, for the whole store."""
        return self._connection.run(see_standstills(self._connection.engine, self._now()))

    async def astandstills(self) -> list[Standstill]:
        """The awaitable twin of `standstills`."""
        return await self._connection.arun(see_standstills(self._connection.engine, self._now()))

    def holdups(self) -> list[Holdup]:
        """What blocked jobs of the store wait for that somebody should know of, and the cure, the most numerous first.

        Paused keys of limits, breakers that are not closed, dead letters that stop their order (as far as the 10,000 oldest
        blocked jobs wait behind them), and workers that are too old (by the 200 newest scheduled jobs).
        """
        return self._connection.run(see_holdups(self._connection.engine))

    async def aholdups(self) -> list[Holdup]:
        """The awaitable twin of `holdups`."""
        return await self._connection.arun(see_holdups(self._connection.engine))

    def count(self, where: Filter = EVERYTHING, by: Sequence[Axis] = (Axis.STATE,)) -> list[Count]:
        """How many jobs there are, by state unless `by` names other axes."""
        return [view_count(each) for each in self._connection.run(self._connection.engine.count(whole(where), by))]

    async def acount(self, where: Filter = EVERYTHING, by: Sequence[Axis] = (Axis.STATE,)) -> list[Count]:
        """The awaitable twin of `count`."""
        return [view_count(each) for each in await self._connection.arun(self._connection.engine.count(whole(where), by))]

    def cancel(self, where: Where, reason: str = "", *, dry_run: bool = False) -> list[Altered]:
        """Cancel jobs: waiting ones at once, running ones by telling their worker. Raises `UnknownJob` for an id."""
        return self._change(among(where, Filter(states=tuple(LIVE))), Cancel(reason), dry_run)

    async def acancel(self, where: Where, reason: str = "", *, dry_run: bool = False) -> list[Altered]:
        """The awaitable twin of `cancel`."""
        return await self._achange(among(where, Filter(states=tuple(LIVE))), Cancel(reason), dry_run)

    def retry(self, where: Where, *, delay: Duration = 0.0, dry_run: bool = False) -> list[Altered]:
        """Run jobs again, or now instead of later, with fresh budgets: whatever is retrying, scheduled or ended badly."""
        return self._change(among(where, EVERYTHING), Replay(seconds(delay)), dry_run)

    async def aretry(self, where: Where, *, delay: Duration = 0.0, dry_run: bool = False) -> list[Altered]:
        """The awaitable twin of `retry`."""
        return await self._achange(among(where, EVERYTHING), Replay(seconds(delay)), dry_run)

    def replay(
        self,
        where: Where = _OPEN,
        *,
        delay: Duration = 0.0,
        args: str | None = None,
        note: str | None = None,
        dry_run: bool = False,
    ) -> list[Altered]:
        """Send dead letters back to the queue with fresh budgets; `args` (JSON text) replaces their arguments.

        Raises `UnknownJob`, and `InvalidArguments` or `UnknownTask` if the new arguments do not fit: then none is replayed.
        """
        return self._change(among(where, _OPEN), Replay(seconds(delay), args, note), dry_run)

    async def areplay(
        self,
        where: Where = _OPEN,
        *,
        delay: Duration = 0.0,
        args: str | None = None,
        note: str | None = None,
        dry_run: bool = False,
    ) -> list[Altered]:
        """The awaitable twin of `replay`."""
        return await self._achange(among(where, _OPEN), Replay(seconds(delay), args, note), dry_run)

    def resolve(self, where: Where, note: str | None = None, *, dry_run: bool = False) -> list[Altered]:
        """Close dead letters for good; children held by them are cancelled."""
        return self._change(among(where, _OPEN), Resolve(note), dry_run)

    async def aresolve(self, where: Where, note: str | None = None, *, dry_run: bool = False) -> list[Altered]:
        """The awaitable twin of `resolve`."""
        return await self._achange(among(where, _OPEN), Resolve(note), dry_run)

    def annotate(self, where: Where, note: str, *, dry_run: bool = False) -> list[Altered]:
        """Write a note on dead letters."""
        return self._change(among(where, Filter(states=(State.DEAD,))), Annotate(note), dry_run)

    async def aannotate(self, where: Where, note: str, *, dry_run: bool = False) -> list[Altered]:
        """The awaitable twin of `annotate`."""
        return await self._achange(among(where, Filter(states=(State.DEAD,))), Annotate(note), dry_run)

    def prioritise(self, where: Where, priority: int, *, dry_run: bool = False) -> list[Altered]:
        """Give waiting jobs another priority, at the back of which they go. Raises `UnknownJob`, and `InvalidOption`."""
        return self._change(among(where, WAITING), Prioritise(priority), dry_run)

    async def aprioritise(self, where: Where, priority: int, *, dry_run: bool = False) -> list[Altered]:
        """The awaitable twin of `prioritise`."""
        return await self._achange(among(where, WAITING), Prioritise(priority), dry_run)

    def erase(
        self, where: Where | None = None, *, tag: str | None = None, key: str | None = None, dry_run: bool = False
    ) -> list[Altered]:
        """Remove every trace of jobs but the audit line: by id, filter, tag or key. Running jobs stay: cancel them first.

        Raises `InvalidOption` when nothing narrows what is meant.
        """
        return self._change(narrowed(where, tag, key), Erase(), dry_run)

    async def aerase(
        self, where: Where | None = None, *, tag: str | None = None, key: str | None = None, dry_run: bool = False
    ) -> list[Altered]:
        """The awaitable twin of `erase`."""
        return await self._achange(narrowed(where, tag, key), Erase(), dry_run)

    def pause(
        self,
        queue: str | None = None,
        reason: str = "",
        *,
        task: str | None = None,
        limit: str | None = None,
        key: str = NO_KEY,
    ) -> None:
        """Stop handing out jobs of a queue, of a task in all queues, or of one key of a limit, everywhere, until resumed.

        Jobs that run already go on. Raises `InvalidOption` unless exactly one of the three is named, for a key of a limit that
        has none, and for no key of one that has; `UnknownLimit` where neither the store nor this app knows it.
        """
        self._connection.run(self._pausing(reason, queue=queue, task=task, limit=limit, key=key))

    async def apause(
        self,
        queue: str | None = None,
        reason: str = "",
        *,
        task: str | None = None,
        limit: str | None = None,
        key: str = NO_KEY,
    ) -> None:
        """The awaitable twin of `pause`."""
        await self._connection.arun(self._pausing(reason, queue=queue, task=task, limit=limit, key=key))

    def resume(self, queue: str | None = None, *, task: str | None = None, limit: str | None = None, key: str = NO_KEY) -> bool:
        """Hand out jobs again of what was paused; False if it was not.

        A queue that is outside its hours as well is left to them. Raises `NotPermitted` for one that nothing else keeps closed.
        """
        return self._connection.run(self._resuming(queue=queue, task=task, limit=limit, key=key))

    async def aresume(
        self, queue: str | None = None, *, task: str | None = None, limit: str | None = None, key: str = NO_KEY
    ) -> bool:
        """The awaitable twin of `resume`."""
        return await self._connection.arun(self._resuming(queue=queue, task=task, limit=limit, key=key))

    def describe(
        self,
        queue: str,
        *,
        cap: Cap | Literal["none", "declared"] | None = None,
        window: str | None = None,
        tz: str = "UTC",
        weight: int | None = None,
        age: Duration | Literal["none"] | None = None,
    ) -> None:
        """Say how much may wait in a queue, in which hours it is served, and its share of each worker, without a deploy.

        What is left out stays as it is. `"none"` takes a cap or a window away, `"declared"` leaves it to the code again; a
        weight of 0 leaves it to how the workers were started. `age`: after waiting for so long a job gains 10 of
        priority, and so on each time. Producers and workers heed it within ten seconds. Raises `InvalidOption`.
        """
        self._connection.run(self._connection.engine.write(described(queue, cap, window, tz, weight, age, self.actor)))

    async def adescribe(
        self,
        queue: str,
        *,
        cap: Cap | Literal["none", "declared"] | None = None,
        window: str | None = None,
        tz: str = "UTC",
        weight: int | None = None,
        age: Duration | Literal["none"] | None = None,
    ) -> None:
        """The awaitable twin of `describe`."""
        await self._connection.arun(self._connection.engine.write(described(queue, cap, window, tz, weight, age, self.actor)))

    def queues(self) -> list[QueueView]:
        """Every queue that holds live jobs or is paused, by name."""
        return self._connection.run(operating.see_queues(self._connection.engine))

    async def aqueues(self) -> list[QueueView]:
        """The awaitable twin of `queues`."""
        return await self._connection.arun(operating.see_queues(self._connection.engine))

    def misfits(self) -> list[Misfit]:
        """Waiting jobs that this app's code cannot take, and why: what `treadle check-deploy` says before a deploy."""
        fitting = Fitting(self._registry)
        while fitting.take(self._connection.run(fitting.page(self._connection.engine))):
            pass
        return fitting.misfits()

    async def amisfits(self) -> list[Misfit]:
        """The awaitable twin of `misfits`."""
        fitting = Fitting(self._registry)
        while fitting.take(await self._connection.arun(fitting.page(self._connection.engine))):
            pass
        return fitting.misfits()

    def workers(self) -> list[WorkerView]:
        """Every worker process whose lease has not been removed."""
        return [view_worker(each) for each in self._connection.run(self._connection.engine.leases())]

    async def aworkers(self) -> list[WorkerView]:
        """The awaitable twin of `workers`."""
        return [view_worker(each) for each in await self._connection.arun(self._connection.engine.leases())]

    def prune(self, retention: Retention) -> int:
        """Delete finished jobs beyond this retention, in steps of 1,000; how many went."""
        total = 0
        while pruned := self._connection.run(self._connection.engine.prune(retention, limit=_CHUNK)):
            total += pruned
        return total

    async def aprune(self, retention: Retention) -> int:
        """The awaitable twin of `prune`."""
        total = 0
        while pruned := await self._connection.arun(self._connection.engine.prune(retention, limit=_CHUNK)):
            total += pruned
        return total

    def _change(self, where: asked.Filter, change: Change, dry_run: bool) -> list[Altered]:
        engine = self._connection.engine
        meant = self._connection.run(operating.meant(engine, where, change, self._check(change)))
        if dry_run:
            return meant
        altered: list[Altered] = []
        for ids in operating.chunks(meant, _CHUNK):
            step = self._connection.run(operating.alter_these(engine, where, ids, change, self.actor))
            altered += step
        return altered

    async def _achange(self, where: asked.Filter, change: Change, dry_run: bool) -> list[Altered]:
        engine = self._connection.engine
        meant = await self._connection.arun(operating.meant(engine, where, change, self._check(change)))
        if dry_run:
            return meant
        altered: list[Altered] = []
        for ids in operating.chunks(meant, _CHUNK):
            step = await self._connection.arun(operating.alter_these(engine, where, ids, change, self.actor))
            altered += step
        return altered

    def _check(self, change: Change) -> Callable[[stored.Job], None] | None:
        """What every job meant must pass: new arguments must fit its task."""
        if not isinstance(change, Replay) or change.args is None:
            return None
        args = change.args

        def check(job: stored.Job) -> None:
            task = self._registry.get(job.task)
            operating.check_object(args) if task is None else task.check_args(args, job.version)

        return check

    def _pausing(self, reason: str, **what: Any) -> Plan[Any]:
        check_remark("reason", reason)
        return pausing(self._connection.engine, self._declared, self.actor, reason or "", **what)

    def _resuming(self, **what: Any) -> Plan[bool]:
        return resuming(self._connection.engine, self._now(), **what)

    def _now(self) -> Micros:
        return own_time(self._connection.store) or here()
