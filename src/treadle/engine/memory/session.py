"""The memory store: sessions over one set of tables, behind one lock."""

import os
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from treadle.engine.aside import aside
from treadle.engine.contract import Engine
from treadle.engine.memory.engine import MemoryEngine
from treadle.engine.memory.tables import Tables
from treadle.engine.memory.turn import Do, Moment, Turn
from treadle.engine.memory.wake import Hub, MemoryWaiter
from treadle.engine.plan import Plan, adrive, drive
from treadle.engine.session import Check, Durability, Session, Wake
from treadle.model.errors import CannotOpen, NotTransactional, StoreBusy, VolatileStore
from treadle.model.job import Micros

R = TypeVar("R")
PATIENCE = 5.0
"""Seconds that a session waits for another's transaction to end."""


class MemoryStore:
    """Jobs in this process's memory: the reference engine, for tests and for trying things out.

    `name` is what operators see; two stores of one name share nothing. Raises `VolatileStore` unless `allow_volatile`.
    """

    def __init__(self, name: str = "", *, namespace: str = "treadle", allow_volatile: bool = False) -> None:
        if not allow_volatile:
            raise VolatileStore(
                f"memory://{name}: what is kept in memory survives nothing. "
                "Say allow_volatile=True (TREADLE_ALLOW_VOLATILE=1 in the environment) if that is wanted, or use "
                "sqlite:///treadle.db."
            )
        self.tables: Tables = Tables()
        self.hub: Hub = Hub()
        self._location = f"memory://{name}#{namespace}"
        self._engine = MemoryEngine()
        self._lock = threading.Lock()
        self._pid = os.getpid()

    @property
    def engine(self) -> Engine:
        """The verbs."""
        return self._engine

    @property
    def location(self) -> str:
        """The name under which the store was opened."""
        return self._location

    @property
    def durability(self) -> str:
        """D0, always."""
        return "D0: survives nothing; when the process ends, all is gone"

    @property
    def local(self) -> bool:
        """Always: there is nowhere to go."""
        return True

    @property
    def abreast(self) -> bool:
        """Never: one plan after the other, under one lock."""
        return False

    @property
    def serial(self) -> bool:
        """Always: one plan after the other."""
        return True

    def session(self) -> Session:
        """A session that takes the store's lock for each plan."""
        return OwnSession(self)

    def borrow(self, connection: Any) -> Session:
        """A session inside a transaction that `transaction` opened.

        Raises `NotTransactional` for anything else.
        """
        if not isinstance(connection, Transaction) or connection.store is not self or not connection.open:
            raise NotTransactional(
                f"{connection!r} is no open transaction of {self.location}. Open one with `with store.transaction()`"
            )
        return BorrowedSession(connection)

    @contextmanager
    def transaction(self) -> Generator["Transaction"]:
        """A user's own transaction: kept when the block ends, taken back whole when it raises.

        Every other session waits meanwhile.
        """
        with self.locked(PATIENCE), self.tables.transaction():
            transaction = Transaction(self)
            try:
                yield transaction
            finally:
                transaction.open = False

    def waiter(self, topics: Sequence[str]) -> MemoryWaiter:
        """Wait for wakes of these topics."""
        return MemoryWaiter(self.hub, topics)

    def migrate(self) -> list[str]:
        """Nothing: memory has no schema."""
        return []

    def pending_migrations(self) -> list[tuple[str, str]]:
        """None: memory has no schema."""
        return []

    def doctor(self) -> list[Check]:
        """One finding: that nothing here lasts."""
        cure = "use sqlite:///treadle.db to keep jobs"
        return [Check("durability", "warning", f"{self.location} is {self.durability}; {cure}")]

    def tend(self) -> str | None:
        """Nothing to do."""

    def guard_processes(self, count: int) -> None:
        """Raises `CannotOpen` for more than one process: they would each see a memory of their own."""
        if count > 1:
            raise CannotOpen(
                f"{self.location} cannot be served by {count} processes: each would have its own memory. "
                "Use sqlite:///treadle.db, or one process"
            )

    def close(self) -> None:
        """Forget every waiter. The jobs last as long as the store does."""
        self.hub.close()

    def moment(self, now: Micros | None) -> Moment:
        """The store's own clock, or the time a caller names."""
        tick = time.monotonic_ns() // 1000
        if now is None:
            return Moment(time.time_ns() // 1000, tick, named=False)
        return Moment(now, tick, named=True)

    @contextmanager
    def locked(self, patience: float) -> Generator[None]:
        """Hold the store's lock, or raise `StoreBusy` after `patience` seconds."""
        if os.getpid() != self._pid:
            raise CannotOpen(
                f"{self.location} belongs to process {self._pid}, and this is {os.getpid()}: memory is not shared by a fork. "
                "Open a store of its own in each process, or use sqlite:///treadle.db"
            )
        if not self._lock.acquire(timeout=patience):
            raise StoreBusy(f"{self.location}: another transaction stayed open for {patience:g} s. Try again, or end it sooner")
        try:
            yield
        finally:
            self._lock.release()


class Transaction:
    """A user's open transaction on a memory store; what `borrow` wants to see."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.open = True


class Sender:
    """Carries out the steps of one plan and gathers the wakes it earned."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.topics: set[str] = set()

    def send(self, step: Do | Wake) -> Any:
        """Do one step at the tables."""
        if isinstance(step, Wake):
            self.topics |= step.topics
            return None
        turn = Turn(self._store.tables, self._store.moment(step.now))
        return step.verb(turn), frozenset(turn.topics)

    async def asend(self, step: Do | Wake) -> Any:
        """The awaitable twin of `send`: no step ever waits."""
        return self.send(step)


class OwnSession:
    """Each plan in a transaction of its own; wakes go out after the commit."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    def run(self, plan: Plan[R], durability: Durability = Durability.DEFAULT) -> R:  # noqa: ARG002
        """Run a plan to its answer in the calling thread."""
        sender = Sender(self._store)
        with self._store.locked(PATIENCE), self._store.tables.transaction():
            answer = drive(plan, sender.send)
        self._store.hub.wake(sender.topics)
        return answer

    async def arun(self, plan: Plan[R], durability: Durability = Durability.DEFAULT) -> R:
        """Run a plan on the event loop when the store is free, else wait for it in a thread."""
        sender = Sender(self._store)
        try:
            with self._store.locked(0), self._store.tables.transaction():
                answer = await adrive(plan, sender.asend)
        except StoreBusy:
            return await aside(lambda: self.run(plan, durability))
        self._store.hub.wake(sender.topics)
        return answer

    def close(self) -> None:
        """Nothing to give back."""


class BorrowedSession:
    """Plans inside the user's transaction; the user commits, and nobody is woken."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def run(self, plan: Plan[R], durability: Durability = Durability.DEFAULT) -> R:  # noqa: ARG002
        """Run a plan to its answer. A plan that raises leaves nothing; what came before it stays the user's."""
        sender = self._sender()
        with self._transaction.store.tables.transaction():
            return drive(plan, sender.send)

    async def arun(self, plan: Plan[R], durability: Durability = Durability.DEFAULT) -> R:  # noqa: ARG002
        """The awaitable twin of `run`."""
        sender = self._sender()
        with self._transaction.store.tables.transaction():
            return await adrive(plan, sender.asend)

    def close(self) -> None:
        """Nothing to give back: the transaction is the user's."""

    def _sender(self) -> Sender:
        if not self._transaction.open:
            raise NotTransactional("The transaction lent to this session has ended. Borrow from an open one")
        return Sender(self._transaction.store)
