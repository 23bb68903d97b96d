"""The weaker promise, `transactions="after_commit"`: what a store cannot take part in is done when the user's commit is done.

A crash between the two loses it, and nothing else does. A transaction that ends in any other way, also a savepoint, drops it.
"""

import logging
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

from treadle.model.errors import NotTransactional
from treadle.model.job import NewJob

logger: logging.Logger = logging.getLogger("treadle")

_KEY = "treadle_after_commit"
_NAMED = 10
"""Jobs of one call that the log names; of ten thousand nobody reads more."""


class _Work(NamedTuple):
    """What is to be done after a commit, and its name in the log."""

    what: str
    do: Callable[[], object]


def after_commit(given: Any, what: str, work: Callable[[], object], awork: Callable[[], Awaitable[object]]) -> None:
    """Do `work` once the transaction of `given` has committed; `awork` where that commit is awaited.

    Takes SQLAlchemy's `Session` and `AsyncSession` and Django's connection, which say when they have committed. Raises
    `NotTransactional` for anything else. What `work` raises is logged under the name `what`, and keeps nothing else that the
    transaction asked from being done. The first such error comes out of the commit of SQLAlchemy's sessions.
    """
    orm = sys.modules.get("sqlalchemy.orm")
    if orm is not None:
        asynchronous = sys.modules.get("sqlalchemy.ext.asyncio")
        if asynchronous is not None and isinstance(given, asynchronous.AsyncSession):
            from sqlalchemy.util import await_only

            _after_session(given.sync_session, _Work(what, lambda: await_only(awork())))
            return
        if isinstance(given, orm.Session):
            _after_session(given, _Work(what, work))
            return
    if hasattr(given, "on_commit") and hasattr(given, "in_atomic_block"):
        if not given.in_atomic_block:
            raise NotTransactional("Django's connection is in no transaction. Enqueue inside `with transaction.atomic():`.")
        # Django leaves out the hooks behind one that raises, the user's own too, so this one never does.
        given.on_commit(partial(_attempt, _Work(what, work)))
        return
    raise NotTransactional(
        f"{type(given).__qualname__}: only SQLAlchemy's Session and AsyncSession and Django's connection say when they have "
        "committed. Hand in one of these, or enqueue after your commit."
    )


def named(jobs: Sequence[NewJob]) -> str:
    """The storing of jobs, as the log names it: by task and id, and never by what is in them."""
    names = ", ".join(f"{job.task} {job.id}" for job in jobs[:_NAMED])
    return f"enqueue {names}" + (f" and {len(jobs) - _NAMED} more" if len(jobs) > _NAMED else "")


def _after_session(session: Any, work: _Work) -> None:
    _must_have_begun(session)
    waiting: _Waiting | None = session.info.get(_KEY)
    if waiting is None:
        waiting = session.info[_KEY] = _Waiting(session)
    waiting.add(session.get_nested_transaction() or session.get_transaction(), work)


def _must_have_begun(session: Any) -> None:
    """Begin the transaction where nothing has been said in it yet, as the session itself would, and ask for no connection.

    To ask for one is to wait for it: from an `AsyncSession` whose first word was `aenqueue_in`, that raised MissingGreenlet.
    """
    if not session.is_active:
        raise NotTransactional("The transaction of this session has failed or is ending. Enqueue before, or in a new one.")
    if session.in_transaction():
        return
    if not session.autobegin:
        raise NotTransactional("SQLAlchemy's session is in no transaction, and begins none by itself. Call its begin() first.")
    session.begin()


class _Waiting:
    """The work that was asked in a session, each with the innermost transaction it was asked in.

    A transaction that ends takes its own along unless it has committed. To listen for rollbacks was not enough: a session
    that is closed tells of none, and what had been asked in it was stored by the next commit of the same session.
    """

    def __init__(self, session: Any) -> None:
        from sqlalchemy import event

        self._asked: list[tuple[Any, _Work]] = []
        self._committed: Any = None
        event.listen(session, "after_commit", self._commit)
        event.listen(session, "after_transaction_end", self._end)

    def add(self, transaction: Any, work: _Work) -> None:
        self._asked.append((transaction, work))

    def _commit(self, session: Any) -> None:
        """Note it, and do nothing yet: an error from here would leave the session in a state that only `close` ends."""
        self._committed = session.get_nested_transaction() or session.get_transaction()

    def _end(self, _: Any, transaction: Any) -> None:
        if transaction.parent is not None and not transaction.nested:
            return  # a flush's own, which neither commits nor rolls back
        committed, self._committed = transaction is self._committed, None
        if committed and transaction.nested:
            return  # a savepoint that was released: what it asked waits for the outermost
        due = [work for asked_in, work in self._asked if _within(asked_in, transaction)]
        self._asked[:] = [(asked_in, work) for asked_in, work in self._asked if not _within(asked_in, transaction)]
        if committed:
            _do_all(due)


def _do_all(due: Iterable[_Work]) -> None:
    """Do everything, and raise the first error at the end: one job that was refused used to take those behind it along."""
    left = iter(due)
    try:
        errors = [error for error in map(_attempt, left) if error is not None]
    finally:
        for work in left:  # an interruption came, and the commit that it belongs to is not said again
            logger.error("not tried, since it was interrupted after the commit that it waited for: %s", work.what)
    if errors:
        raise errors[0]


def _attempt(work: _Work) -> Exception | None:
    """Do it, and give back what it raised; the log has it, for nobody tries again."""
    try:
        work.do()
    except BaseException as error:
        # The first line alone: what PostgreSQL says beneath it may quote a job's arguments.
        said = next(iter(str(error).splitlines()), "")
        logger.error("failed after the commit that it waited for: %s: %s: %s", work.what, type(error).__name__, said)  # noqa: TRY400
        if not isinstance(error, Exception):
            raise
        return error
    return None


def _within(inner: Any, outer: Any) -> bool:
    while inner is not None:
        if inner is outer:
            return True
        inner = inner.parent
    return False
