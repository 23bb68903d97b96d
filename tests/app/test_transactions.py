"""Jobs and completions inside the user's own transaction: there if and only if it commits."""

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import apsw
import pytest

from treadle import Context, InvalidArguments, LeaseLost, MixedSQLite, NotTransactional, State, Treadle, UnknownJob
from treadle.model.errors import InvalidResult
from treadle.testing import FakeContext, drain, inline

Transaction = Callable[[], AbstractContextManager[Any]]


class Undone(Exception):
    """Rolls a transaction back."""


@pytest.fixture(params=["memory", "sqlite3", "apsw"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Treadle, Transaction]]:
    """An app, and what opens a transaction in its store."""
    if request.param == "memory":
        app = Treadle("memory://transactions", allow_volatile=True)
        store: Any = app.store
        yield app, store.transaction
        app.close()
        return
    path = tmp_path / "own.db"
    app = Treadle(f"sqlite:///{path}?driver={request.param}&synchronous=OFF")
    app.store.migrate()

    @contextmanager
    def transaction() -> Iterator[Any]:
        connection: Any = (
            sqlite3.connect(path, isolation_level=None) if request.param == "sqlite3" else apsw.Connection(str(path))
        )
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        else:
            connection.execute("COMMIT")
        finally:
            connection.close()

    yield app, transaction
    app.close()


def double(number: int) -> int:
    return number * 2


def test_a_job_exists_if_the_transaction_commits(place: tuple[Treadle, Transaction]) -> None:
    app, transaction = place
    task = app.task(double)
    with transaction() as connection:
        one = task.enqueue_in(connection, 1)
        two = task.options(priority=7).enqueue_in(connection, 2)
        three = task.call(3).enqueue_in(connection)
        four, five = app.enqueue_many_in(connection, [task.call(4), task.call(5)])
    assert [each.result(timeout=0) for each in (one, two, three, four, five) if drain(app) or True] == [2, 4, 6, 8, 10]
    assert app.client.get(two.id).priority == 7


def test_no_job_exists_if_it_rolls_back(place: tuple[Treadle, Transaction]) -> None:
    app, transaction = place
    task = app.task(double)
    handles: list[Any] = []

    def attempt() -> None:
        with transaction() as connection:
            handles.append(task.enqueue_in(connection, 1))
            raise Undone

    with pytest.raises(Undone):
        attempt()
    with pytest.raises(UnknownJob, match="its enqueue_in is not committed yet or was rolled back"):
        handles[0].state()
    assert len(drain(app)) == 0


def test_the_awaitable_twins(place: tuple[Treadle, Transaction]) -> None:
    app, transaction = place
    task = app.task(double)

    async def body() -> None:
        with transaction() as connection:
            await task.aenqueue_in(connection, 1)
            await task.options(queue="other").aenqueue_in(connection, 2)
            await task.call(3).aenqueue_in(connection)
            await app.aenqueue_many_in(connection, [task.call(4)])

    asyncio.run(body())
    assert len(drain(app)) == 4


def test_what_is_no_transaction_is_refused(place: tuple[Treadle, Transaction]) -> None:
    app, transaction = place
    task = app.task(double)
    with pytest.raises(NotTransactional):
        task.enqueue_in("a name", 1)
    with transaction() as connection:
        pass
    with pytest.raises((NotTransactional, sqlite3.ProgrammingError, apsw.ConnectionClosedError)):
        task.enqueue_in(connection, 1)


def test_a_forgotten_connection_is_named(place: tuple[Treadle, Transaction]) -> None:
    app, _ = place
    task = app.task(double)
    calls: list[Callable[[], Any]] = [
        lambda: task.enqueue_in(1),
        lambda: task.options(delay=1).enqueue_in(1),
        lambda: asyncio.run(task.aenqueue_in(1)),
        lambda: asyncio.run(task.options(delay=1).aenqueue_in(1)),
    ]
    for call in calls:
        with pytest.raises(InvalidArguments, match=r"Pass the connection, .* double\.a?enqueue_in\(connection, \.\.\.\)"):
            call()


def test_a_transaction_of_another_library_is_refused(tmp_path: Path) -> None:
    app = Treadle(f"sqlite:///{tmp_path / 'own.db'}")
    task = app.task(double)
    task.enqueue(1)
    connection = sqlite3.connect(tmp_path / "own.db", isolation_level=None)
    connection.execute("BEGIN")
    with pytest.raises(MixedSQLite):
        task.enqueue_in(connection, 1)
    connection.close()
    app.close()


def test_a_body_completes_with_its_rows(place: tuple[Treadle, Transaction], caplog: pytest.LogCaptureFixture) -> None:
    app, transaction = place
    follow = app.task(double)

    def charge(ctx: Context, amount: int) -> str:
        with transaction() as connection:
            follow.options(job_id=_ID).enqueue_in(connection, amount)
            ctx.complete_in(connection, "charged")
            ctx.complete_in(connection, "charged twice")  # saying it again does no harm
        raise RuntimeError("after the commit")

    handle = app.task(name="charge")(charge).enqueue(7)
    with caplog.at_level(logging.ERROR):
        ran = drain(app)
    assert handle.result(timeout=0) == "charged"
    assert [each.task.rpartition(".")[2] for each in ran.ran] == ["charge", "double"]
    assert app.client.get(_ID).state is State.COMPLETED


_ID = "0196d3f0-0000-7000-8000-000000000001"


def test_a_body_that_rolls_back_has_not_completed(place: tuple[Treadle, Transaction]) -> None:
    app, transaction = place

    def charge(ctx: Context) -> str:
        with suppress(Undone), transaction() as connection:
            ctx.complete_in(connection, "charged")
            raise Undone
        return "not charged"

    handle = app.task(name="charge")(charge).enqueue()
    drain(app)
    assert handle.result(timeout=0) == "not charged"


def test_a_body_that_lost_its_job_must_roll_back(place: tuple[Treadle, Transaction]) -> None:
    app, transaction = place
    follow = app.task(double)
    raised: list[LeaseLost] = []

    async def charge(ctx: Context) -> str:
        for lease in app.connection.run(app.store.engine.leases()):
            app.connection.run(app.store.engine.rescue([_witness(lease.id)]))
        try:
            with transaction() as connection:
                await follow.aenqueue_in(connection, 1)
                await ctx.acomplete_in(connection, "charged")
        except LeaseLost as error:
            raised.append(error)
            raise
        return "unreachable"

    handle = app.task(name="charge")(charge).enqueue()
    ran = drain(app)
    assert len(ran) == 1
    assert "rescued or ended" in str(raised[0])
    assert handle.state() is State.RETRYING


def _witness(lease: str) -> Any:
    from treadle.model.job import Witness

    return Witness(lease, "signal 9")


def test_a_result_that_does_not_fit_is_refused_before_anything_is_written(place: tuple[Treadle, Transaction]) -> None:
    app, transaction = place

    def charge(ctx: Context) -> int:
        with pytest.raises(InvalidResult), transaction() as connection:
            ctx.complete_in(connection, object())
        return 1

    handle = app.task(name="charge")(charge).enqueue()
    drain(app)
    assert handle.result(timeout=0) == 1


def test_a_fake_context_keeps_what_is_completed() -> None:
    app = Treadle("memory://fake", allow_volatile=True)

    def charge(ctx: Context, amount: int) -> str:
        ctx.complete_in("the connection", "charged")
        return "charged"

    async def acharge(ctx: Context, amount: int) -> str:
        await ctx.acomplete_in("the connection", "charged")
        return "charged"

    for fn in (charge, acharge):
        context = FakeContext()
        assert inline(app.task(name=fn.__name__)(fn).call(7), context) == "charged"
        assert context.completed_in == [("the connection", "charged")]
    app.close()
