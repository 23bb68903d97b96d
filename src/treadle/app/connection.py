"""The app's way to its store: opened at first use, once per process, and never by importing anything."""

import os
import sys
from collections.abc import Callable
from threading import RLock
from typing import Any, TypeVar

from treadle.engine.contract import Engine
from treadle.engine.plan import Plan
from treadle.engine.session import Durability, Session, Store
from treadle.model.errors import NotPermitted, NotTransactional, WouldBlock, without_password

R = TypeVar("R")


class Connection:
    """One store, opened by the first plan that is run. Safe in threads, and after a fork."""

    def __init__(self, url: Callable[[], str], *, namespace: str, allow_volatile: bool, after_commit: bool = False) -> None:
        self._find_url = url
        self._pointed: str | None = None
        self._opened: tuple[Store, Session] | None = None
        # A fork may happen while another thread holds a lock, so each process has its own. It lets its own thread in again:
        # a signal's handler or a finalizer that enqueues while the store is opened waited for itself for ever.
        self._locks: dict[int, RLock] = {}
        self.namespace: str = namespace
        self.allow_volatile = allow_volatile
        self.after_commit = after_commit

    @property
    def url(self) -> str:
        """Where the store is: what was pointed at, else what the app says."""
        return self._pointed or self._find_url()

    def point_at(self, url: str | None, namespace: str | None = None) -> None:
        """Use another store, or another namespace of it, from now on; None leaves it as it is.

        Raises `NotPermitted` once this one is open: close it first.
        """
        url, namespace = url or self.url, namespace or self.namespace
        if self._opened is not None and (url, namespace) != (self.url, self.namespace):
            raise NotPermitted(
                without_password(url),
                f"the store {without_password(self.url)} is already open",
                "Choose the store before the first call, or close the app.",
            )
        self._pointed, self.namespace = url, namespace

    @property
    def store(self) -> Store:
        """The store, opened now if it was not."""
        return self._open()[0]

    @property
    def session(self) -> Session:
        """The session on the app's own connection, opened now if it was not."""
        return self._open()[1]

    @property
    def engine(self) -> Engine:
        """The store's verbs."""
        return self._open()[0].engine

    def run(self, plan: Plan[R], durability: Durability = Durability.DEFAULT) -> R:
        """Run a plan in the calling thread."""
        return self._open()[1].run(plan, durability)

    async def arun(self, plan: Plan[R], durability: Durability = Durability.DEFAULT) -> R:
        """Run a plan without blocking the event loop."""
        return await self._open()[1].arun(plan, durability)

    def lent(self, given: Any) -> Session | None:
        """A session inside the user's transaction; None where the store cannot take part and after its commit will do.

        Raises `NotTransactional` where it will not do.
        """
        try:
            return self.store.borrow(given)
        except NotTransactional:
            if not self.after_commit:
                raise
            return None

    def close(self) -> None:
        """Close the store. The next use opens it again."""
        with self._lock():
            opened, self._opened = self._opened, None
        if opened is not None:
            opened[1].close()
            opened[0].close()

    def exchange(self, opened: tuple[Store, Session] | None) -> tuple[Store, Session] | None:
        """Put another opened store in place and give back what was there: how a test lends an app a store of its own."""
        with self._lock():
            before, self._opened = self._opened, opened
        return before

    def holds(self, session: Session) -> bool:
        """Whether this is the session in use: not one that was closed or put away since."""
        opened = self._opened
        return opened is not None and opened[1] is session

    def _lock(self) -> RLock:
        return self._locks.setdefault(os.getpid(), RLock())

    def _open(self) -> tuple[Store, Session]:
        opened = self._opened
        if opened is None:
            with self._lock():
                if self._opened is None:
                    from treadle.engine.open import open_store

                    store = open_store(self.url, namespace=self.namespace, allow_volatile=self.allow_volatile)
                    opened = (store, store.session())
                    if self._opened is None:  # else a handler that came in meanwhile has opened it
                        self._opened = opened
                opened = self._opened
        return opened


def refuse_in_loop(call: str, twin: str) -> None:
    """Raise `WouldBlock` if this thread runs an event loop."""
    asyncio = sys.modules.get("asyncio")  # who has not imported it runs no loop
    if asyncio is None or asyncio._get_running_loop() is None:  # noqa: SLF001 - public in all but name: the docs list it
        return
    raise WouldBlock(f"{call} would block the event loop that runs it. Write `await {twin}` instead.")
