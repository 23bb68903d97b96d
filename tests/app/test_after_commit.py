"""The weaker promise: what a store cannot take part in is done when the user's transaction has committed, or never."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from treadle import Context, DuplicateJob, InvalidOption, JobHandle, NotTransactional, Treadle, Unique, UnknownJob
from treadle.testing import drain

NOWHERE = "postgresql+psycopg://nobody@127.0.0.1:1/nothing"
"""Of an awaited engine that is never asked for a connection."""


def double(number: int) -> int:
    return number * 2


def forgets(app: Treadle, scene: Callable[[AsyncSession], Awaitable[None]]) -> None:
    """Check that an awaited session forgets the jobs of a scene: its next commit stores the job that follows, and no other."""

    async def play() -> str:
        async with AsyncSession(create_async_engine(NOWHERE)) as session:
            await scene(session)
            kept: JobHandle[int] = await app.registry.expect("double").aenqueue_in(session, 7)
            await session.commit()
        return kept.id

    kept = asyncio.run(play())
    assert [each.id for each in drain(app).ran] == [kept]


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the log has as errors, and only that."""
    return [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]


@pytest.fixture
def app() -> Iterator[Treadle]:
    app = Treadle("memory://after", allow_volatile=True, transactions="after_commit")
    app.task(name="double")(double)
    yield app
    app.close()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'users.db'}")
    yield engine
    engine.dispose()


def test_a_job_is_stored_after_the_commit(app: Treadle, engine: sa.Engine) -> None:
    task: Any = app.registry.expect("double")
    with Session(engine) as session:
        with session.begin():
            one = task.enqueue_in(session, 1)
            two, three = app.enqueue_many_in(session, [task.call(2), task.call(3)])
            with pytest.raises(UnknownJob):
                one.state()
        assert [each.id for each in drain(app).ran] == [one.id, two.id, three.id]
        with session.begin():
            task.enqueue_in(session, 4)
    assert len(drain(app)) == 1


def test_an_awaited_session_is_handed_in_before_it_has_said_anything(app: Treadle) -> None:
    async def scene(session: AsyncSession) -> None:
        async with session.begin():
            await app.registry.expect("double").aenqueue_in(session, 1)
            await session.rollback()

    forgets(app, scene)


def test_a_session_that_begins_nothing_by_itself_must_have_begun(app: Treadle, engine: sa.Engine) -> None:
    task: Any = app.registry.expect("double")
    with Session(engine, autobegin=False) as session:
        with pytest.raises(NotTransactional, match="begin"):
            task.enqueue_in(session, 1)
        with session.begin():
            task.enqueue_in(session, 2)
    assert len(drain(app)) == 1


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_a_transaction_that_is_ending_takes_no_job(app: Treadle, engine: sa.Engine, end: str) -> None:
    def hook(session: Session) -> None:
        with pytest.raises(NotTransactional, match="ending"):
            app.registry.expect("double").enqueue_in(session, 1)

    with Session(engine) as session:
        session.execute(sa.text("SELECT 1"))
        sa.event.listen(session, f"after_{end}", hook)
        getattr(session, end)()


def test_no_job_is_stored_after_a_rollback(app: Treadle, engine: sa.Engine) -> None:
    task: Any = app.registry.expect("double")
    with Session(engine) as session:
        task.enqueue_in(session, 1)
        session.rollback()
        session.execute(sa.text("SELECT 1"))
        session.commit()
    assert len(drain(app)) == 0


@pytest.mark.parametrize("end", ["close", "reset", "invalidate"])
def test_no_job_is_stored_after_a_session_was_closed(app: Treadle, engine: sa.Engine, end: str) -> None:
    """It used to wait for the next commit of the same session, and be stored then."""
    task: Any = app.registry.expect("double")
    session = Session(engine)
    task.enqueue_in(session, 1)
    with session.begin_nested():
        task.enqueue_in(session, 2)
    getattr(session, end)()
    with session:
        kept = task.enqueue_in(session, 3)
        session.commit()
        task.enqueue_in(session, 4)
    session.execute(sa.text("SELECT 1"))
    session.commit()
    session.close()
    assert [each.id for each in drain(app).ran] == [kept.id]


def test_no_job_is_stored_after_an_awaited_session_was_closed(app: Treadle) -> None:
    task: Any = app.registry.expect("double")

    async def scene() -> str:
        session = AsyncSession(create_async_engine(NOWHERE))
        async with session:
            await task.aenqueue_in(session, 1)
        kept = await task.aenqueue_in(session, 2)
        await session.commit()
        await task.aenqueue_in(session, 3)
        await session.close()
        await session.commit()
        return kept.id

    kept = asyncio.run(scene())
    assert [each.id for each in drain(app).ran] == [kept]


def test_no_job_is_stored_after_a_commit_that_failed(app: Treadle, engine: sa.Engine) -> None:
    task: Any = app.registry.expect("double")
    with Session(engine) as session:
        task.enqueue_in(session, 1)
        connection = session.connection()
        with (
            mock.patch.object(connection.dialect, "do_commit", side_effect=OSError("the database is gone")),
            pytest.raises(OSError, match="gone"),
        ):
            session.commit()
        session.rollback()
        session.execute(sa.text("SELECT 1"))
        session.commit()
    assert len(drain(app)) == 0


def test_a_savepoint_that_is_closed_drops_its_jobs(app: Treadle, engine: sa.Engine) -> None:
    task: Any = app.registry.expect("double")
    with Session(engine) as session, session.begin():
        savepoint = session.begin_nested()
        task.enqueue_in(session, 1)
        with session.begin_nested():
            task.enqueue_in(session, 2)
        savepoint.close()
        with session.begin_nested():
            kept = task.enqueue_in(session, 3)
        with session.begin_nested():
            also = task.enqueue_in(session, 4)
    assert [each.id for each in drain(app).ran] == [kept.id, also.id]


def test_a_savepoint_drops_its_own_jobs_alone(app: Treadle, engine: sa.Engine) -> None:
    task: Any = app.registry.expect("double")
    with Session(engine) as session, session.begin():
        kept = task.enqueue_in(session, 1)
        outer = session.begin_nested()
        task.enqueue_in(session, 2)
        inner = session.begin_nested()
        task.enqueue_in(session, 3)
        inner.commit()
        outer.rollback()
        also = task.enqueue_in(session, 4)
    assert [each.id for each in drain(app).ran] == [kept.id, also.id]


def test_what_the_store_says_comes_out_of_the_commit(app: Treadle, engine: sa.Engine) -> None:
    task: Any = app.registry.expect("double")
    with Session(engine) as session:
        task.enqueue_in(session, 1)
        with (
            mock.patch.object(app.session, "run", side_effect=OSError("the store is gone")),
            pytest.raises(OSError, match="gone"),
        ):
            session.commit()


def test_a_session_goes_on_after_an_error_of_the_store(app: Treadle, engine: sa.Engine) -> None:
    """It stayed in the state "committed", where even its rollback raised."""
    task: Any = app.registry.expect("double")
    gone = mock.patch.object(app.session, "run", side_effect=OSError("the store is gone"))
    with Session(engine) as session:
        session.execute(sa.text("CREATE TABLE orders (id INTEGER)"))
        session.execute(sa.text("INSERT INTO orders VALUES (2)"))
        task.enqueue_in(session, 1)
        with gone, pytest.raises(OSError, match="gone"):
            session.commit()
        with gone, pytest.raises(OSError, match="gone"), session.begin():
            task.enqueue_in(session, 2)
        session.rollback()
        assert session.execute(sa.text("SELECT id FROM orders")).all() == [(2,)]
        kept = task.enqueue_in(session, 3)
        session.commit()
    assert [each.id for each in drain(app).ran] == [kept.id]


def test_an_awaited_session_goes_on_after_an_error_of_the_store(app: Treadle) -> None:
    task: Any = app.registry.expect("double")
    gone = mock.patch.object(app.session, "arun", side_effect=OSError("the store is gone"))

    async def scene(session: AsyncSession) -> None:
        await task.aenqueue_in(session, 1)
        with gone, pytest.raises(OSError, match="gone"):
            await session.commit()
        with gone, pytest.raises(OSError, match="gone"):
            async with session.begin():
                await task.aenqueue_in(session, 2)
        await session.rollback()

    forgets(app, scene)


def test_a_job_that_is_refused_takes_no_other_along(app: Treadle, engine: sa.Engine, caplog: pytest.LogCaptureFixture) -> None:
    """The error of the first used to be the end of it: what the same transaction had asked behind it was never stored."""
    one = app.task(name="one", unique=Unique(on_conflict="raise"))(double)
    one.enqueue(1234567)
    with Session(engine) as session:
        refused, kept = one.enqueue_in(session, 1234567), one.enqueue_in(session, 2)
        again, also = one.enqueue_in(session, 1234567), one.enqueue_in(session, 3)
        with pytest.raises(DuplicateJob) as raised:
            session.commit()
    assert {each.id for each in drain(app).ran} >= {kept.id, also.id}
    assert [text.split(": ")[:3] for text in errors(caplog)] == [
        ["failed after the commit that it waited for", f"enqueue one {refused.id}", "DuplicateJob"],
        ["failed after the commit that it waited for", f"enqueue one {again.id}", "DuplicateJob"],
    ]
    assert str(raised.value) in errors(caplog)[0]
    assert "1234567" not in caplog.text


def test_an_awaited_job_that_is_refused_takes_no_other_along(app: Treadle, caplog: pytest.LogCaptureFixture) -> None:
    one = app.task(name="one", unique=Unique(on_conflict="raise"))(double)
    one.enqueue(1)

    async def scene() -> str:
        async with AsyncSession(create_async_engine(NOWHERE)) as session:
            refused, kept = await one.aenqueue_in(session, 1), await one.aenqueue_in(session, 2)
            with pytest.raises(DuplicateJob):
                await session.commit()
        assert [refused.id in text for text in errors(caplog)] == [True]
        return kept.id

    assert asyncio.run(scene()) in {each.id for each in drain(app).ran}


def test_what_the_store_says_tells_no_arguments_in_the_log(
    app: Treadle, engine: sa.Engine, caplog: pytest.LogCaptureFixture
) -> None:
    task: Any = app.registry.expect("double")
    said = OSError("refused\nDETAIL: Failing row contains (secret)")
    with Session(engine) as session:
        handles = app.enqueue_many_in(session, [task.call(number) for number in range(12)])
        with mock.patch.object(app.session, "run", side_effect=said), pytest.raises(OSError, match="secret"):
            session.commit()
    names = ", ".join(f"double {each.id}" for each in handles[:10])
    assert errors(caplog) == [
        f"failed after the commit that it waited for: enqueue {names} and 2 more: OSError: refused",
    ]


def test_what_an_interruption_leaves_undone_is_named(app: Treadle, engine: sa.Engine, caplog: pytest.LogCaptureFixture) -> None:
    task: Any = app.registry.expect("double")
    with Session(engine) as session:
        one, two = task.enqueue_in(session, 1), task.enqueue_in(session, 2)
        with mock.patch.object(app.session, "run", side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
            session.commit()
        session.commit()
    assert errors(caplog) == [
        f"failed after the commit that it waited for: enqueue double {one.id}: KeyboardInterrupt: ",
        f"not tried, since it was interrupted after the commit that it waited for: enqueue double {two.id}",
    ]


def test_a_completion_that_fails_is_named(app: Treadle, engine: sa.Engine, caplog: pytest.LogCaptureFixture) -> None:
    def charge(ctx: Context) -> str:
        with Session(engine) as session, mock.patch.object(app.session, "run", side_effect=OSError("gone")):
            ctx.complete_in(session, "charged")
            with pytest.raises(OSError, match="gone"):
                session.commit()
        return "done all the same"

    handle = app.task(name="charge")(charge).enqueue()
    drain(app)
    assert handle.result(timeout=0) == "done all the same"
    assert errors(caplog) == [f"failed after the commit that it waited for: complete charge {handle.id}: OSError: gone"]


@pytest.fixture
def django_connection(tmp_path: Path) -> Iterator[Any]:
    """Django's connection to a database of the user's own, which `transaction.atomic()` takes."""
    import django
    from django.conf import settings
    from django.db.utils import ConnectionHandler

    if not settings.configured:
        settings.configure(USE_TZ=True, LOGGING_CONFIG=None)
        django.setup()
    database = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "users.db")}
    connection = ConnectionHandler({"default": database})["default"]
    with mock.patch("django.db.transaction.get_connection", return_value=connection):
        yield connection
    connection.close()


def test_djangos_hook(app: Treadle, django_connection: Any) -> None:
    from django.db import transaction

    task: Any = app.registry.expect("double")
    with pytest.raises(NotTransactional, match="atomic"):
        task.enqueue_in(django_connection, 1)
    with transaction.atomic():
        kept = task.enqueue_in(django_connection, 1)
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        task.options(tags=["gone"]).enqueue_in(django_connection, 1 // 0)
    assert [each.id for each in drain(app).ran] == [kept.id]


def test_djangos_other_hooks_are_called_after_a_job_that_is_refused(
    app: Treadle, django_connection: Any, caplog: pytest.LogCaptureFixture
) -> None:
    from django.db import transaction

    one = app.task(name="one", unique=Unique(on_conflict="raise"))(double)
    one.enqueue(1)
    called: list[str] = []
    with transaction.atomic():
        refused, kept = one.enqueue_in(django_connection, 1), one.enqueue_in(django_connection, 2)
        django_connection.on_commit(lambda: called.append("the user's own"))
    assert called == ["the user's own"]
    assert [refused.id in text for text in errors(caplog)] == [True]
    assert kept.id in {each.id for each in drain(app).ran}


def test_a_body_completes_after_its_commit(app: Treadle, engine: sa.Engine) -> None:
    def charge(ctx: Context) -> str:
        with Session(engine) as session, session.begin():
            ctx.complete_in(session, "charged")
        return "not this"

    async def acharge(ctx: Context) -> str:
        with Session(engine) as session, session.begin():
            await ctx.acomplete_in(session, "charged")
        return "not this"

    handles = [app.task(name=fn.__name__)(fn).enqueue() for fn in (charge, acharge)]
    drain(app)
    assert [each.result(timeout=0) for each in handles] == ["charged", "charged"]


def test_what_never_says_that_it_committed_is_refused(app: Treadle, engine: sa.Engine) -> None:
    task: Any = app.registry.expect("double")
    with engine.begin() as connection, pytest.raises(NotTransactional, match="SQLAlchemy's Session"):
        task.enqueue_in(connection, 1)

    async def awaited() -> None:
        with engine.begin() as connection, pytest.raises(NotTransactional, match="SQLAlchemy's Session"):
            await task.aenqueue_in(connection, 1)

    asyncio.run(awaited())


def test_the_promise_must_be_chosen(engine: sa.Engine) -> None:
    app = Treadle("memory://own", allow_volatile=True)
    task = app.task(name="double")(double)
    with Session(engine) as session, pytest.raises(NotTransactional):
        task.enqueue_in(session, 1)
    app.close()
    with pytest.raises(InvalidOption, match="after_commit"):
        Treadle(transactions="sometimes")  # type: ignore[arg-type]
