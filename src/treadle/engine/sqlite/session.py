"""Runs plans on SQLite: on our own connections, from any thread or event loop, or inside the user's transaction."""

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Protocol, TypeVar

from treadle.engine.plan import Plan, drive, only_reads
from treadle.engine.session import Durability, Wake
from treadle.engine.sqlite.clock import read_clock
from treadle.engine.sqlite.driver import Errors, Link, translated
from treadle.engine.sqlite.footing import Footing, clear_after, footing, identity
from treadle.engine.sqlite.gate import Gate
from treadle.engine.sqlite.steps import Ask, Clock, Do
from treadle.engine.taking import take
from treadle.model.errors import StoreBusy

log: logging.Logger = logging.getLogger("treadle.sqlite")

R = TypeVar("R")

_FORK_PATIENCE = 1.0
_LOOK = 0.05
"""Seconds between two looks at whether the file is still there: 2.6 us each, so only a busy session ever spares one."""
_forgotten: list[object] = []
_sessions: "weakref.WeakSet[SqliteSession]" = weakref.WeakSet()


class Ground(Protocol):
    """What a session needs of its store."""

    timeout: float

    @property
    def location(self) -> str:
        """The file's absolute path, for messages."""
        ...

    def open(self, durability: Durability) -> Link:
        """Open one more connection, with the schema up to date."""
        ...

    def shut(self, link: Link) -> None:
        """Close a connection that `open` gave."""
        ...

    def gate(self) -> Gate:
        """A gate for one session."""
        ...

    def ring(self, wakes: list[Wake]) -> None:
        """Deliver wakes after a commit."""
        ...


def sender(link: Link, wakes: list[Wake]) -> Callable[[Any], Any]:
    """What carries a plan's steps to a connection; wakes are kept for later."""
    ask, do = link.ask, link.do

    def send(step: Any) -> Any:
        kind: object = step.__class__
        if kind is Ask:
            return ask(step[0], step[1])
        if kind is Do:
            return do(step[0], step[1])
        if kind is Clock:
            return read_clock(step[0])
        if isinstance(step, Wake):
            wakes.append(step)
            return None
        raise TypeError(f"{step!r} is not a step of the SQLite engine")

    return send


class SqliteSession:
    """Plans on a connection of our own, one at a time. Opens at the first run, and anew after `close` or a fork."""

    def __init__(self, store: Ground) -> None:
        self._store = store
        self._begin_anew()
        _sessions.add(self)

    def _begin_anew(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.RLock()  # its owner may come in again, and is told so at once instead of waiting for itself
        self._inside = False
        self._starting = threading.RLock()
        self._posting = False
        self._links: dict[Durability, Link] = {}
        self._footing: Footing | None = None
        self._looked = 0.0
        self._gate: Gate | None = None
        self._mail: SimpleQueue[Callable[[], None] | None] | None = None
        self._thread: threading.Thread | None = None

    def run(self, plan: Plan[R], durability: Durability = Durability.DEFAULT) -> R:
        """Run a plan to its answer in the calling thread."""
        if self._pid != os.getpid():
            self.forget()
        wakes: list[Wake] = []
        deadline = time.monotonic() + self._store.timeout
        lock, held = self._lock, list[bool]()
        try:
            if not take(lock.acquire, self._store.timeout, held):
                raise self._busy("another thread kept this session")
            if self._inside:
                raise self._interrupted()
            answer = self._carry_alone(plan, durability, wakes, deadline)
        except Errors as error:
            told = translated(error, self._store.location, self._store.timeout)
            if told is None:
                raise
            raise told from error
        finally:
            if True in held:
                lock.release()
        if wakes:
            self._store.ring(wakes)
        return answer

    async def arun(self, plan: Plan[R], durability: Durability = Durability.DEFAULT) -> R:
        """Run a plan without blocking the event loop: one hop to the session's own thread and back."""
        if self._pid != os.getpid():
            self.forget()
        import asyncio  # here, because it costs a command that asks one question more than its answer

        loop = asyncio.get_running_loop()
        future: asyncio.Future[R] = loop.create_future()

        def finish(settle: Callable[[Any], None], value: Any) -> None:
            if not future.done():
                settle(value)

        def work() -> None:
            settle: Callable[[Any], None] = future.set_result
            try:
                value: Any = self.run(plan, durability)
            except BaseException as error:  # noqa: BLE001 - whatever happened belongs to the caller
                settle, value = future.set_exception, error
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(finish, settle, value)

        self._post(work)
        return await future

    def close(self) -> None:
        """Give the connections back. The session may be used again, and opens anew."""
        if self._pid != os.getpid():
            self.forget()
            return
        with self._starting:
            if self._posting:
                raise self._interrupted()
            mail, thread = self._mail, self._thread
            self._mail = self._thread = None
        if mail is not None and thread is not None:
            mail.put(None)
            if thread is not threading.current_thread():
                thread.join()
        with self._lock:
            if self._inside:
                raise self._interrupted()
            self.shut()

    def forget(self) -> None:
        """In a forked child: drop what belongs to the parent without touching it."""
        _forgotten.append((self._links, self._gate, self._mail))
        self._begin_anew()

    def shut(self) -> None:
        """Close every connection; the lock must be held."""
        links, self._links = self._links, {}
        for link in links.values():
            self._store.shut(link)
        if self._gate is not None:
            self._gate.close()
            self._gate = None

    def hold(self, patience: float, held: list[bool]) -> None:
        """Stop using the connections for a moment and close them; `release` ends it where `held` says that it began."""
        if take(self._lock.acquire, patience, held) and not self._inside:
            self.shut()

    def release(self) -> None:
        """End what `hold` began."""
        self._lock.release()

    def _post(self, work: Callable[[], None]) -> None:
        with self._starting:
            self._posting = True
            try:
                if self._mail is None:
                    self._mail = SimpleQueue()
                    self._thread = threading.Thread(target=_serve, args=(self._mail,), name="treadle-sqlite", daemon=True)
                    self._thread.start()
                self._mail.put(work)
            finally:
                self._posting = False

    def _carry_alone(self, plan: Plan[R], durability: Durability, wakes: list[Wake], deadline: float) -> R:
        self._inside = True
        try:
            return self._carry(plan, durability, wakes, deadline)
        except BaseException:
            wakes.clear()
            self._let_go()
            raise
        finally:
            self._inside = False

    def _carry(self, plan: Plan[R], durability: Durability, wakes: list[Wake], deadline: float) -> R:
        link = self._links.get(durability)
        now = deadline - self._store.timeout
        if link is None or now - self._looked >= _LOOK:
            self._look(now)
            link = self._links.get(durability)
        if link is None:
            link = self._links[durability] = self._store.open(durability)
            self._footing = footing(self._store.location)
        if link.in_transaction():  # a second interrupt struck while the first was cleaned up after
            link.do("ROLLBACK")
        if only_reads(plan.name):
            return _transact(link, "BEGIN", plan, wakes)
        if self._gate is None:
            self._gate = self._store.gate()
        if not self._gate.enter(deadline):
            raise self._busy("other writers kept the database")
        answer = _transact(link, "BEGIN IMMEDIATE", plan, wakes)
        self._gate.leave()
        return answer

    def _let_go(self) -> None:
        """After a failure: no transaction stays open, and the gate does not stay shut, wherever it struck.

        An interrupt strikes behind a BEGIN as well as anywhere: what it had begun stayed open, and until that process closed
        its app nobody could write any more, in no process.
        """
        try:
            for link in self._links.values():
                if link.in_transaction():
                    link.do("ROLLBACK")
        finally:
            if self._gate is not None:
                self._gate.leave()

    def _look(self, now: float) -> None:
        """If the path no longer names the file that is open, let go of that one; the next call opens what is there now."""
        self._looked = now
        old, path = self._footing, self._store.location
        if not self._links or old is None or identity(path) == old.file:
            return
        log.error("%s was deleted or replaced while it was in use; going on with what is there now", path)
        self.shut()
        clear_after(old, path)

    def _interrupted(self) -> StoreBusy:
        return StoreBusy(
            f"{self._store.location}: this very thread is in the middle of another call of this session, which a signal "
            "handler (or a finalizer) has interrupted. This call changed nothing. Do not enqueue from a signal handler: set "
            "a flag there, and enqueue when the interrupted call has returned."
        )

    def _busy(self, what: str) -> StoreBusy:
        return StoreBusy(
            f"{self._store.location}: {what} for {self._store.timeout:g} s. Nothing was changed; call again, or raise "
            "?timeout= in the URL."
        )


class BorrowedSession:
    """Plans inside the user's open transaction: begin, commit and wake-ups stay the user's; polling finds the work."""

    def __init__(self, link: Link, location: str, timeout: float) -> None:
        self._link = link
        self._location = location
        self._timeout = timeout

    def run(self, plan: Plan[R], durability: Durability = Durability.DEFAULT) -> R:  # noqa: ARG002 - the user's setting rules
        """Run a plan as part of the user's transaction, in the calling thread."""
        try:
            return drive(plan, sender(self._link, []))
        except Errors as error:
            told = translated(error, self._location, self._timeout)
            if told is None:
                raise
            raise told from error

    async def arun(self, plan: Plan[R], durability: Durability = Durability.DEFAULT) -> R:
        """As `run`: a SQLite connection belongs to the caller's thread, so the plan runs here and now."""
        return self.run(plan, durability)

    def close(self) -> None:
        """Nothing to give back: the connection is the user's."""


def _transact(link: Link, begin: str, plan: Plan[R], wakes: list[Wake]) -> R:
    link.do(begin)
    answer = drive(plan, sender(link, wakes))
    link.do("COMMIT")
    return answer


def _serve(mail: "SimpleQueue[Callable[[], None] | None]") -> None:
    while (work := mail.get()) is not None:
        work()
        del work


_held: dict[int, list[list[tuple[SqliteSession, list[bool]]]]] = {}
"""What forks keep for a moment, by the thread that forks: a signal's handler may fork in the middle of a fork."""


def _before_fork() -> None:
    """Close every idle connection: SQLite's locks are per process, and a child that inherits an open file breaks them."""
    mine: list[tuple[SqliteSession, list[bool]]] = [(session, []) for session in list(_sessions)]
    _held.setdefault(threading.get_ident(), []).append(mine)
    for session, held in mine:
        session.hold(_FORK_PATIENCE, held)


def _after_fork_in_parent() -> None:
    forks = _held[threading.get_ident()]
    for session, held in forks.pop():
        if True in held:
            session.release()
    if not forks:
        del _held[threading.get_ident()]


def _after_fork_in_child() -> None:
    _held.clear()
    for session in list(_sessions):
        session.forget()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
