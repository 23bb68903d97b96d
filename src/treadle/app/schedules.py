"""An app's schedules: those its code declares, and what an operator may ask of and do to any that the store knows."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any

import msgspec

from treadle.app import timetable
from treadle.app.client import Client
from treadle.app.connection import Connection
from treadle.app.handle import JobHandle
from treadle.app.options import micros
from treadle.app.registry import Registry
from treadle.app.schedule import Schedule
from treadle.app.storetime import ask_time, here, own_time
from treadle.app.timetable import Filled, Past, ScheduleView, Upcoming
from treadle.engine.plan import Plan, Steps
from treadle.model.errors import DefinitionError, InvalidOption
from treadle.model.filter import check_remark
from treadle.model.job import JobId, Micros
from treadle.model.kind import is_whole


class Schedules:
    """The schedules of one app. Every call has an awaitable twin; who acts is the name the app's client gives."""

    def __init__(self, connection: Connection, registry: Registry, client: Client) -> None:
        self._connection = connection
        self._registry = registry
        self._client = client
        self._declared: dict[str, Schedule] = {}

    def __repr__(self) -> str:
        return f"<Schedules {', '.join(self._declared) or 'none'}>"

    def __iter__(self) -> Iterator[Schedule]:
        return iter(self._declared.values())

    def __len__(self) -> int:
        return len(self._declared)

    def add(self, schedule: Schedule) -> None:
        """Make a schedule one of the app's. Raises `DefinitionError` if its name means another."""
        known = self._declared.get(schedule.name)
        if known is not None and (known.task.name, known.rule) != (schedule.task.name, schedule.rule):
            raise DefinitionError(f"two schedules are called {schedule.name}. Give one of them another name=.")
        self._declared[schedule.name] = schedule

    def get(self, name: str) -> Schedule | None:
        """The schedule of this name as this app declares it, None when it declares none."""
        return self._declared.get(name)

    def list(self) -> list[ScheduleView]:
        """Every schedule that this app declares or the store knows, by name: when it fires next, and what is wrong."""
        return self._run(lambda now: timetable.see(self._connection.engine, self._declared, now))

    async def alist(self) -> Sequence[ScheduleView]:
        """The awaitable twin of `list`."""
        return await self._arun(lambda now: timetable.see(self._connection.engine, self._declared, now))

    def preview(self, name: str, count: int = 20) -> Sequence[Upcoming]:
        """The next slots of a schedule, with what changes of the clock do to them. Raises `UnknownSchedule`."""
        most = _count(count)
        return self._run(lambda now: timetable.foresee(self._connection.engine, self._declared, name, most, now))

    async def apreview(self, name: str, count: int = 20) -> Sequence[Upcoming]:
        """The awaitable twin of `preview`."""
        most = _count(count)
        return await self._arun(lambda now: timetable.foresee(self._connection.engine, self._declared, name, most, now))

    def history(self, name: str, limit: int = 50) -> Sequence[Past]:
        """The jobs of a schedule that are still stored, the last enqueued first. Raises `UnknownSchedule`."""
        most = _count(limit)
        return self._run(lambda _: timetable.remember(self._connection.engine, self._declared, name, most))

    async def ahistory(self, name: str, limit: int = 50) -> Sequence[Past]:
        """The awaitable twin of `history`."""
        most = _count(limit)
        return await self._arun(lambda _: timetable.remember(self._connection.engine, self._declared, name, most))

    def pause(self, name: str, reason: str = "") -> None:
        """Fire no slot of a schedule until it is resumed. Jobs that are enqueued already go on. Raises `UnknownSchedule`."""
        check_remark("reason", reason)
        self._run(lambda now: timetable.pause(self._connection.engine, self._declared, name, self._client.actor, reason, now))

    async def apause(self, name: str, reason: str = "") -> None:
        """The awaitable twin of `pause`."""
        check_remark("reason", reason)
        actor = self._client.actor
        await self._arun(lambda now: timetable.pause(self._connection.engine, self._declared, name, actor, reason, now))

    def resume(self, name: str) -> bool:
        """Fire slots again, from now on: those that passed meanwhile are not caught up. False if it was not paused."""
        return self._run(lambda now: timetable.resume(self._connection.engine, self._declared, name, now))

    async def aresume(self, name: str) -> bool:
        """The awaitable twin of `resume`."""
        return await self._arun(lambda now: timetable.resume(self._connection.engine, self._declared, name, now))

    def run(self, name: str) -> JobHandle[Any]:
        """Enqueue a schedule's job now, beside its slots, paused or not. Raises `UnknownSchedule`."""
        return self._handle(*self._run(lambda now: timetable.run_now(self._connection.engine, self._declared, name, now)))

    async def arun(self, name: str) -> JobHandle[Any]:
        """The awaitable twin of `run`."""
        found = await self._arun(lambda now: timetable.run_now(self._connection.engine, self._declared, name, now))
        return self._handle(*found)

    def backfill(self, name: str, start: datetime, end: datetime, *, dry_run: bool = False) -> Sequence[Filled]:
        """Enqueue the jobs of past slots, from `start` up to but not at `end`, all at once and in order.

        A slot whose job is still stored, however it ended, is left alone: filling in a range twice does it once. Raises
        `UnknownSchedule`, `InvalidTime`, and `InvalidOption` for a range of more than 10,000 slots.
        """
        span = micros(start), micros(end)
        engine = self._connection.engine
        return self._run(lambda now: timetable.fill_in(engine, self._declared, name, span, now, dry_run))

    async def abackfill(self, name: str, start: datetime, end: datetime, *, dry_run: bool = False) -> Sequence[Filled]:
        """The awaitable twin of `backfill`."""
        span = micros(start), micros(end)
        engine = self._connection.engine
        return await self._arun(lambda now: timetable.fill_in(engine, self._declared, name, span, now, dry_run))

    def forget(self, name: str) -> None:
        """Remove what the store keeps of a schedule. A worker that declares it begins it anew. Raises `UnknownSchedule`."""
        self._run(lambda _: timetable.forget(self._connection.engine, name))

    async def aforget(self, name: str) -> None:
        """The awaitable twin of `forget`."""
        await self._arun(lambda _: timetable.forget(self._connection.engine, name))

    def _run(self, make: "Callable[[Micros], Plan[timetable.T]]") -> "timetable.T":
        own = own_time(self._connection.store)
        return self._connection.run(_timed(self._connection, make) if own is None else make(own))

    async def _arun(self, make: "Callable[[Micros], Plan[timetable.T]]") -> "timetable.T":
        own = own_time(self._connection.store)
        return await self._connection.arun(_timed(self._connection, make) if own is None else make(own))

    def _handle(self, job: JobId, task: str) -> JobHandle[Any]:
        known = self._registry.get(task)
        return JobHandle(job, self._connection, _decode if known is None else known.decode_result)


def _timed(connection: Connection, make: "Callable[[Micros], Plan[timetable.T]]") -> "Plan[timetable.T]":
    """The plan that is made for the store's own time, asked for first."""

    def begin() -> "Steps[timetable.T]":
        now = yield from ask_time(connection.engine).begin()
        return (yield from make(here() if now is None else now).begin())

    return Plan("schedules", begin)


def _decode(text: str | None) -> Any:
    return None if text is None else msgspec.json.decode(text)


def _count(said: int) -> int:
    if not is_whole(said, 1, 10_000):
        raise InvalidOption(said, "a whole number from 1 to 10,000 is needed here", "Write for example 20.")
    return said
