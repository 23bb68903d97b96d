"""What runs plans: sessions on our own connection or inside the user's transaction, and the wake port beside them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol, TypeVar

from treadle.engine.contract import Engine
from treadle.engine.plan import Plan
from treadle.model.job import JobId

R = TypeVar("R")


@dataclass(slots=True, frozen=True)
class Wake:
    """A step that names topics to wake after the commit. A borrowed session drops it: polling finds the work."""

    topics: frozenset[str]


class LateWake(Wake):
    """A wake whose topics are built only when somebody listens for their kind: a thousand settled jobs cost one call."""

    __slots__ = ("kind", "late")

    kind: str
    late: Callable[[], frozenset[str]]

    def __init__(self, kind: str, late: Callable[[], frozenset[str]]) -> None:
        object.__setattr__(self, "kind", kind)
        object.__setattr__(self, "late", late)

    @property
    def topics(self) -> frozenset[str]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The topics, built anew at each look."""
        return self.late()


def topics(queues: Iterable[str] = (), jobs: Iterable[JobId] = ()) -> frozenset[str]:
    """The wake topics for queues with new work and jobs that ended."""
    return frozenset([*(f"queue:{queue}" for queue in queues), *(f"job:{job}" for job in jobs)])


class Durability(StrEnum):
    """How strict one plan is about power loss: as the store is configured, or one class less."""

    DEFAULT = "default"
    RELAXED = "relaxed"


class Session(Protocol):
    """Runs plans, each in one transaction. Safe to call from several threads; nothing opens before the first run.

    In a process forked since the last run the connection is forgotten, never closed, and opened anew.
    Raises `StoreBusy` when the store does not become free in time and `CannotOpen` when it cannot be reached.
    """

    def run(self, plan: Plan[R], durability: Durability = Durability.DEFAULT) -> R:
        """Run a plan to its answer in the calling thread."""
        ...

    async def arun(self, plan: Plan[R], durability: Durability = Durability.DEFAULT) -> R:
        """Run a plan without blocking the event loop."""
        ...

    def close(self) -> None:
        """Give the connection back. The session may be used again, and opens anew."""
        ...


class Waiter(Protocol):
    """Somebody waiting for topics. Opened by `Store.waiter`; closing it is the owner's duty."""

    def idle(self, waiting: bool) -> None:
        """Declare whether a wake is wanted now: a busy waiter costs producers nothing.

        Who waits for long says so again now and then, for next to nothing: a declaration that was lost is made anew.
        """
        ...

    def wait(self, timeout: float) -> bool:
        """Block until one of the topics is woken (True) or `timeout` seconds are over (False)."""
        ...

    async def await_(self, timeout: float) -> bool:
        """The awaitable twin of `wait`."""
        ...

    def listen(self, wake: Callable[[], None]) -> None:
        """From now on, call `wake` on the running event loop each time one of the topics is woken.

        For who waits all the time: a worker that set up and took down a reader for each wake lost 0.1 ms a job to it.
        """
        ...

    def close(self) -> None:
        """Stop listening."""
        ...


@dataclass(slots=True, frozen=True)
class Check:
    """One finding of `doctor`: `level` is `ok`, `warning` or `error`; a finding that is not ok says the cure."""

    name: str
    level: str
    message: str


class Store(Protocol):
    """One opened URL: the engine's verbs, sessions to run them, and what an operator may ask about it."""

    @property
    def engine(self) -> Engine: ...

    @property
    def location(self) -> str:
        """Where the data is, as an operator would write it: an absolute path, or a URL without its password."""
        ...

    @property
    def durability(self) -> str:
        """The durability class, `D0` to `D3`, and what it survives."""
        ...

    @property
    def local(self) -> bool:
        """True when a plan costs microseconds and no round trip: who has nothing else to do may run it where it stands."""
        ...

    @property
    def abreast(self) -> bool:
        """True when two plans that one session runs side by side end sooner than one after the other."""
        ...

    @property
    def serial(self) -> bool:
        """True when plans are carried out one after the other, whoever sends them: each sees all that was done before it."""
        ...

    def session(self) -> Session:
        """A session on a connection of its own."""
        ...

    def borrow(self, connection: Any) -> Session:
        """A session inside the user's open transaction: begin and commit stay the user's.

        Raises `NotTransactional` when the connection does not belong to this store, and `MixedSQLite`.
        """
        ...

    def waiter(self, topics: Sequence[str]) -> Waiter: ...

    def migrate(self) -> list[str]:
        """Bring the schema up to date; returns the names of the migrations applied."""
        ...

    def pending_migrations(self) -> list[tuple[str, str]]:
        """The migrations not applied yet, as (name, SQL)."""
        ...

    def doctor(self) -> list[Check]:
        """Examine the store. Reads only."""
        ...

    def tend(self) -> str | None:
        """Do the upkeep that this store wants beside the verbs, if any is due; returns what an operator should hear, or None.

        Every worker calls it now and then, in a thread of its own. Safe to run everywhere at once.
        """
        ...

    def guard_processes(self, count: int) -> None:
        """Raise when this store must not be served by `count` processes (`VulnerableSQLite`), or by none (`CannotOpen`)."""
        ...

    def close(self) -> None: ...
