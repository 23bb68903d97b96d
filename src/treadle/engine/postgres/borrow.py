"""Plans inside the user's transaction. Each kind of connection has a small file of its own that says how it is asked."""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

from treadle.engine.aside import aside
from treadle.engine.plan import Plan, adrive, drive, only_reads
from treadle.engine.postgres import lent_asyncpg, lent_loan, lent_psycopg
from treadle.engine.postgres.identity import WHO, Identity, Marks
from treadle.engine.postgres.statements import compiled
from treadle.engine.postgres.steps import Abroad, Ask, Asks, Crowded, Do, Gated, Later, Recall, Rows, Statement
from treadle.engine.postgres.steps import Marks as Watermarks
from treadle.engine.session import Durability, Session, Wake
from treadle.model.errors import NotTransactional

R = TypeVar("R")
_LEVEL = compiled("SELECT current_setting('transaction_isolation')")


class Lent(Protocol):
    """A user's connection, ready to be asked. One that only blocks has no `aask`, one that only awaits has no `ask`: None.

    Values are whole numbers, floats, truths, texts and None; `$1::text` in the statement says what stands there.
    """

    @property
    def ask(self) -> Callable[[Statement, list[Any]], Rows] | None:
        """Run a statement and fetch all its rows."""
        ...

    @property
    def aask(self) -> Callable[[Statement, list[Any]], Awaitable[Rows]] | None:
        """The awaitable twin of `ask`."""
        ...

    def marks(self) -> Marks:
        """What is known of the connection that lies beneath. Asks nobody."""
        ...

    async def amarks(self) -> Marks:
        """The awaitable twin of `marks`."""
        ...


LENDERS: tuple[Callable[[Any, str], Lent | None], ...] = (lent_psycopg.lend, lent_loan.lend, lent_asyncpg.lend)
"""Each is shown a connection and the database's name, and lends the connection if it is of its kind.

Raises `NotTransactional` if it is, but cannot be borrowed as it stands.
"""


def borrowed(connection: Any, location: str, database: str, identity: Identity) -> Session:
    """A session inside the transaction of `connection`. Raises `NotTransactional`."""
    for lend in LENDERS:
        lent = lend(connection, database)
        if lent is not None:
            return BorrowedSession(lent, identity)
    raise NotTransactional(
        f"{type(connection).__qualname__}: {location} takes part in the transaction of psycopg's and asyncpg's connections, "
        "SQLAlchemy's Session and Connection (also asynchronous) and Django's connection. Hand in one of these itself, not a "
        "cursor or a wrapper."
    )


class _Quiet:
    """What a plan says beside its answer, in a transaction that may yet be rolled back: nothing is done about it."""

    def wake(self, wake: Wake) -> None:
        """Polling finds the work."""

    def remember(self, queue: str, tasks: str, found: Watermarks | Gated) -> None:
        """Only a session of our own has a memory."""

    def crowd(self) -> None:
        """As `remember`."""


_quiet = _Quiet()


class BorrowedSession:
    """Plans inside the user's open transaction: begin, commit and wake-ups stay the user's; polling finds the work.

    PostgreSQL's own errors are raised as they are: the transaction they broke is the user's.
    """

    def __init__(self, lent: Lent, identity: Identity | None = None) -> None:
        self._lent = lent
        self._identity = identity

    def run(self, plan: Plan[R], durability: Durability = Durability.DEFAULT) -> R:  # noqa: ARG002 - the user's setting rules
        """Run a plan as part of the user's transaction, in the calling thread."""
        ask = self._lent.ask
        if ask is None:
            raise NotTransactional("This connection can only be awaited. Use the awaitable twin of the call.")

        def one(step: Ask | Do) -> Rows:
            return ask(step.statement, [step.values[name] for name in step.statement.names])

        level, identity = _Level(plan), self._identity
        if identity is not None and identity not in self._lent.marks() and identity.vouch(ask(WHO, [])):
            self._lent.marks().add(identity)

        def send(step: Any) -> Any:
            if level.matters(step):
                level.check(ask(_LEVEL, []))
            if isinstance(step, Later):
                answer: Any = step
                while isinstance(answer, Later):
                    answer = answer.finish([one(each) for each in answer.asks], _quiet)
                return answer
            if isinstance(step, Ask | Do):
                return one(step)
            if isinstance(step, Asks):
                return [one(each) for each in step.asks]
            return self.unasked(step)

        return drive(plan, send)

    async def arun(self, plan: Plan[R], durability: Durability = Durability.DEFAULT) -> R:
        """As `run`, awaiting a connection that can be awaited."""
        aask = self._lent.aask
        if aask is None:
            return self.run(plan, durability)

        async def one(step: Ask | Do) -> Rows:
            return await aask(step.statement, [step.values[name] for name in step.statement.names])

        level, identity = _Level(plan), self._identity
        if identity is not None and identity not in await self._lent.amarks():
            theirs = await aask(WHO, [])
            if await aside(lambda: identity.vouch(theirs)):
                (await self._lent.amarks()).add(identity)

        async def send(step: Any) -> Any:
            if level.matters(step):
                level.check(await aask(_LEVEL, []))
            if isinstance(step, Later):
                answer: Any = step
                while isinstance(answer, Later):
                    answer = answer.finish([await one(each) for each in answer.asks], _quiet)
                return answer
            if isinstance(step, Ask | Do):
                return await one(step)
            if isinstance(step, Asks):
                return [await one(each) for each in step.asks]
            return self.unasked(step)

        return await adrive(plan, send)

    def unasked(self, step: Any) -> Any:
        """What needs no connection: no marks are kept here, and nobody is woken."""
        if isinstance(step, Recall):
            return {}
        if isinstance(step, Abroad | Crowded):
            return True
        if isinstance(step, Wake):
            return None
        raise TypeError(f"{step!r} is not a step of the PostgreSQL engine")

    def close(self) -> None:
        """Nothing to give back: the connection is the user's."""


class _Level:
    """How far the user's transaction sees. Who locks and then looks must see what he has waited for.

    At the stricter levels he sees what was there when the transaction began: an end called nobody whom others had parked
    meanwhile, and a child of a parent that ended meanwhile waited for ever.
    """

    def __init__(self, plan: Plan[Any]) -> None:
        self._plan = plan
        self._begun = False

    def matters(self, step: Any) -> bool:
        """Whether this is a plan's first step and it goes on from what others do: not a question, nor a plain enqueue."""
        if self._begun or isinstance(step, Recall | Crowded | Abroad | Wake):
            return False
        self._begun = True
        plain = isinstance(step, Later) and self._plan.name.startswith("enqueue")
        return not (plain or only_reads(self._plan.name))

    @staticmethod
    def check(rows: Rows) -> None:
        """Raise `NotTransactional` at any level stricter than `READ COMMITTED`."""
        [[level]] = rows
        if level not in ("read committed", "read uncommitted"):  # which PostgreSQL knows by its name only
            raise NotTransactional(
                f"{level}: a transaction at this level sees nothing that others have committed since it began, so it can end "
                "no job, and store none with parents, limits, an order or a key of its own. Nothing was changed. Use READ "
                "COMMITTED for this transaction, or make the call after its commit."
            )
