"""Runs plans on PostgreSQL over connections of our own, blocking or from an event loop."""

import asyncio
import logging
import os
import time
import weakref
from typing import Any, NamedTuple, Protocol, TypeVar

import psycopg

from treadle.engine.jitter import jittered
from treadle.engine.plan import Plan, only_reads
from treadle.engine.postgres.carry import Carrier
from treadle.engine.postgres.driver import Link, Overdue
from treadle.engine.postgres.pool import Pool
from treadle.engine.postgres.recall import Memory
from treadle.engine.postgres.statements import Statements
from treadle.engine.postgres.telling import AGAIN, Place, broken_off, is_stale, lost, overdue, translated
from treadle.engine.session import Durability

log: logging.Logger = logging.getLogger("treadle.postgres")

R = TypeVar("R")
PATIENT = 6
"""Questions may take so many times longer than changes, from a server that is seen to live: an operator counts ten million
rows now and then."""

_FIRST, _MOST = 0.01, 1.0
_forgotten: list[object] = []
_sessions: "weakref.WeakSet[PostgresSession]" = weakref.WeakSet()


class Ground(Place, Protocol):
    """What a session needs of its store."""

    timeout: float
    connections: int

    @property
    def statements(self) -> Statements:
        """The statements of the namespace."""
        ...

    @property
    def look(self) -> tuple[bytes, ...]:
        """The commands that begin a transaction which only reads."""
        ...

    def open(self, deadline: float) -> Link:
        """Open one more connection, with the schema as this code knows it."""
        ...


class _Patience(NamedTuple):
    """How long a server may say nothing, and how long a call may take in all: seconds, and when they are over."""

    timeout: float
    seconds: float
    last: float

    def first(self) -> float:
        """By when a server that is asked now must have said something."""
        return min(self.last, time.monotonic() + self.timeout)


class PostgresSession:
    """Plans on connections of our own: one, or a few while calls overlap. Opens at the first run, and anew after a fork."""

    def __init__(self, store: Ground) -> None:
        self._store = store
        self._begin_anew()
        _sessions.add(self)

    def _begin_anew(self) -> None:
        self._pid = os.getpid()
        self._pool = Pool(self._store.open, self._store.connections, self._store.location)
        self._memory = Memory()

    def run(self, plan: Plan[R], durability: Durability = Durability.DEFAULT) -> R:
        """Run a plan to its answer in the calling thread."""
        patience, pause = self._start(plan), _FIRST
        while True:
            first = patience.first()
            link = self._pool.take(first)
            carrier = self._carrier(link, durability)
            carrying = carrier.carry(plan)
            try:
                try:
                    next(carrying)
                    while True:
                        carrying.send(link.wait(patience.last, first))
                        first = patience.last
                except StopIteration as stop:
                    self._pool.give(link)
                    answer: R = stop.value
                    return answer
                finally:
                    carrying.close()
            except BaseException as error:
                self._clear(link, error)
                plan = carrier.rest or plan
                if not self._again(error, plan, patience.last):
                    raise self._told(error, patience, begun=carrier.rest is not None) from error
            time.sleep(jittered(pause))
            pause = min(_MOST, pause * 2)

    async def arun(self, plan: Plan[R], durability: Durability = Durability.DEFAULT) -> R:
        """Run a plan without blocking the event loop."""
        patience, pause = self._start(plan), _FIRST
        while True:
            first = patience.first()
            link = await self._pool.atake(first)
            carrier = self._carrier(link, durability)
            carrying = carrier.carry(plan)
            try:
                try:
                    next(carrying)
                    while True:
                        carrying.send(await link.await_(patience.last, first))
                        first = patience.last
                except StopIteration as stop:
                    self._pool.give(link)
                    answer: R = stop.value
                    return answer
                finally:
                    carrying.close()
            except BaseException as error:
                await self._aclear(link, error)
                plan = carrier.rest or plan
                if not self._again(error, plan, patience.last):
                    raise self._told(error, patience, begun=carrier.rest is not None) from error
            await asyncio.sleep(jittered(pause))
            pause = min(_MOST, pause * 2)

    def close(self) -> None:
        """Give the connections back. The session may be used again, and opens anew."""
        if self._pid != os.getpid():
            self.forget()
        else:
            self._pool.close()

    def forget(self) -> None:
        """In a forked child: drop what belongs to the parent without touching it."""
        _forgotten.append(self._pool)
        self._begin_anew()

    def _start(self, plan: Plan[Any]) -> "_Patience":
        if self._pid != os.getpid():
            self.forget()
        seconds = self._store.timeout * (PATIENT if only_reads(plan.name) else 1)
        return _Patience(self._store.timeout, seconds, time.monotonic() + seconds)

    def _carrier(self, link: Link, durability: Durability) -> Carrier:
        relaxed = durability is Durability.RELAXED
        return Carrier(link, self._store.statements, self._memory, relaxed=relaxed, look=self._store.look)

    def _clear(self, link: Link, error: BaseException) -> None:
        """Take the connection out of the transaction that failed, or hang up."""
        if self._usable(link, error):
            try:
                link.roll_back()
                link.wait(time.monotonic() + 1.0)
            except Exception:  # noqa: BLE001 - whatever it says now, it is of no more use
                self._pool.drop(link)
            else:
                self._pool.give(link)
        else:
            self._pool.drop(link)

    async def _aclear(self, link: Link, error: BaseException) -> None:
        if self._usable(link, error):
            try:
                link.roll_back()
                await link.await_(time.monotonic() + 1.0)
            except BaseException as worse:
                self._pool.drop(link)
                if not isinstance(worse, Exception):
                    raise
            else:
                self._pool.give(link)
        else:
            self._pool.drop(link)

    @staticmethod
    def _usable(link: Link, error: BaseException) -> bool:
        return link.open and isinstance(error, Exception) and not isinstance(error, Overdue) and not is_stale(error)

    def _again(self, error: BaseException, plan: Plan[Any], deadline: float) -> bool:
        """Whether the plan is begun again by itself."""
        if time.monotonic() >= deadline:
            return False
        if isinstance(error, AGAIN) or is_stale(error) or _known_meanwhile(error):
            return True
        # Done twice, every verb does no harm but one: a claim whose answer was lost has left jobs under the lease.
        return _broken(error) and "claim" not in plan.name.split("+")

    def _told(self, error: BaseException, patience: "_Patience", *, begun: bool) -> BaseException:
        location = self._store.location
        if begun and isinstance(error, psycopg.Error):
            return broken_off(location)
        if isinstance(error, Overdue):
            return overdue(location, patience.seconds if time.monotonic() >= patience.last else patience.timeout)
        if _broken(error):
            return lost(location)
        if isinstance(error, psycopg.Error):
            return translated(error, self._store, patience.seconds) or error
        return error


def _known_meanwhile(error: BaseException) -> bool:
    """Whether somebody else has stored a job of this id since it was looked for: the next look finds it."""
    return isinstance(error, psycopg.errors.UniqueViolation) and error.diag.constraint_name == "jobs_id"


def _broken(error: BaseException) -> bool:
    """Whether the connection is gone: any server that stops, crashes or is replaced says one of these."""
    if not isinstance(error, psycopg.OperationalError):
        return False
    return error.sqlstate is None or error.sqlstate in {"57P01", "57P02", "57P03", "57P05", "08006", "08003", "08001", "08P01"}


def _after_fork() -> None:
    for session in list(_sessions):
        session.forget()


os.register_at_fork(after_in_child=_after_fork)
