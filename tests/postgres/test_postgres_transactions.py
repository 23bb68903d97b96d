"""Every library x commit, rollback, savepoint, error: the job exists if and only if the user's transaction commits."""

import asyncio
from collections.abc import Iterator
from typing import Any

import asyncpg
import psycopg
import pytest
import sqlalchemy as sa

from postgres.ways import WAYS, Way, run
from servers.postgres import LOGIC, Postgres, shared
from treadle import Context, JobHandle, NotTransactional, OnDead, State, Treadle
from treadle.engine.postgres.identity import WHO, Identity
from treadle.engine.postgres.lent_psycopg import LentPsycopg
from treadle.engine.postgres.store import PostgresStore
from treadle.model.errors import SchemaMismatch, StoreBusy
from treadle.model.job import Edge
from treadle.testing import adrain, drain


class Undone(Exception):
    """Rolls a transaction back."""


@pytest.fixture
def url() -> Iterator[str]:
    server = shared()
    with server.lent() as database:
        yield server.url(database)


@pytest.fixture
def app(url: str) -> Iterator[Treadle]:
    app = Treadle(url)

    def double(number: int) -> int:
        return number * 2

    app.task(name="double")(double)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS mine")
        connection.execute("CREATE TABLE mine (a int)")
    yield app
    app.close()


@pytest.fixture(params=WAYS, ids=lambda name: name.replace(" ", "_").replace(",", ""))
def way(request: pytest.FixtureRequest) -> Way:
    found: Way = WAYS[request.param]
    return found


async def enqueue(app: Treadle, way: Way, given: Any, number: int, **words: Any) -> JobHandle[Any]:
    task: Any = app.registry.expect("double").options(**words)
    return await task.aenqueue_in(given, number) if way.awaited else task.enqueue_in(given, number)


def rows(url: str) -> int:
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT count(*) FROM mine").fetchone()
        assert found is not None
        return int(found[0])


def ids(app: Treadle) -> list[str]:
    return [each.id for each in drain(app).ran]


def test_rows_and_jobs_are_there_after_the_commit(app: Treadle, url: str, way: Way) -> None:
    made: list[JobHandle[Any]] = []

    async def scene() -> None:
        async with way.transaction(url) as hand:
            made.append(await enqueue(app, way, hand.given, 1, tags=["a:b", "50%"], priority=7))
            await hand.own("INSERT INTO mine VALUES (1)")
            made.append(await enqueue(app, way, hand.given, 2, delay=0.0, start_within=60))
            parent = Edge(made[0].id, OnDead.CANCEL)
            made.append(await enqueue(app, way, hand.given, 3, after=[parent]))

    run(way, scene())
    assert rows(url) == 1
    assert app.client.get(made[2].id).state is State.BLOCKED
    assert sorted(ids(app)) == sorted(each.id for each in made)
    assert [each.result(timeout=0) for each in made] == [2, 4, 6]


def test_nothing_is_there_after_a_rollback(app: Treadle, url: str, way: Way) -> None:
    async def scene() -> None:
        async with way.transaction(url) as hand:
            await enqueue(app, way, hand.given, 1)
            await hand.own("INSERT INTO mine VALUES (1)")
            raise Undone

    with pytest.raises(Undone):
        run(way, scene())
    assert rows(url) == 0
    assert ids(app) == []


def test_a_savepoint_that_rolls_back_takes_its_job_along(app: Treadle, url: str, way: Way) -> None:
    kept: list[JobHandle[Any]] = []

    async def undone(hand: Any) -> None:
        async with hand.savepoint():
            await enqueue(app, way, hand.given, 2)
            await hand.own("INSERT INTO mine VALUES (2)")
            raise Undone

    async def scene() -> None:
        async with way.transaction(url) as hand:
            kept.append(await enqueue(app, way, hand.given, 1))
            await hand.own("INSERT INTO mine VALUES (1)")
            with pytest.raises(Undone):
                await undone(hand)
            async with hand.savepoint():
                kept.append(await enqueue(app, way, hand.given, 3))

    run(way, scene())
    assert rows(url) == 1
    assert sorted(ids(app)) == sorted(each.id for each in kept)


def test_an_error_of_the_users_own_sql_takes_the_job_along(app: Treadle, url: str, way: Way) -> None:
    async def scene() -> None:
        async with way.transaction(url) as hand:
            await enqueue(app, way, hand.given, 1)
            await hand.own("SELECT 1 / 0")

    with pytest.raises(Exception, match="division by zero"):
        run(way, scene())
    assert ids(app) == []


def test_a_refused_enqueue_leaves_the_transaction_whole(app: Treadle, url: str, way: Way) -> None:
    """An expected condition is a value on the wire: an unknown parent is told, and what else was written stays good."""

    async def scene() -> None:
        async with way.transaction(url) as hand:
            await hand.own("INSERT INTO mine VALUES (1)")
            with pytest.raises(Exception, match="waits for a job that is neither stored"):
                await enqueue(app, way, hand.given, 1, after=[Edge("0196d3f0-0000-7000-8000-00000000dead")])
            await enqueue(app, way, hand.given, 2)

    run(way, scene())
    assert rows(url) == 1
    assert len(ids(app)) == 1


@pytest.mark.parametrize("commits", [True, False], ids=["commit", "rollback"])
def test_a_body_completes_with_its_transaction_or_not(app: Treadle, url: str, way: Way, commits: bool) -> None:
    async def work(ctx: Context) -> None:
        async with way.transaction(url) as hand:
            await hand.own("INSERT INTO mine VALUES (1)")
            if way.awaited:
                await ctx.acomplete_in(hand.given, "in the transaction")
            else:
                ctx.complete_in(hand.given, "in the transaction")
            if not commits:
                raise Undone

    def body(ctx: Context) -> str:
        try:
            run(way, work(ctx))
        except Undone:
            assert not commits
        return "from the body"

    handle = app.task(name="body")(body).enqueue()
    asyncio.run(adrain(app))
    assert handle.result(timeout=0) == ("in the transaction" if commits else "from the body")
    assert rows(url) == int(commits)


# -- what cannot be borrowed is told so


def test_an_awaited_connection_is_not_taken_by_the_blocking_call(app: Treadle, url: str) -> None:
    task: Any = app.registry.expect("double")

    async def scene() -> None:
        for name in ("psycopg, async", "asyncpg", "sqlalchemy AsyncSession, asyncpg"):
            async with WAYS[name].transaction(url) as hand:
                with pytest.raises(NotTransactional, match="awaitable twin"):
                    task.enqueue_in(hand.given, 1)

    asyncio.run(scene())
    assert ids(app) == []


def test_a_connection_without_a_transaction_is_refused(app: Treadle, url: str) -> None:
    task: Any = app.registry.expect("double")

    async def scene() -> None:
        connection = await asyncpg.connect(url)
        with pytest.raises(NotTransactional, match="no transaction open"):
            await task.aenqueue_in(connection, 1)
        await connection.close()
        with pytest.raises(NotTransactional, match="closed"):
            await task.aenqueue_in(connection, 1)

    asyncio.run(scene())
    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection, pytest.raises(NotTransactional, match="AUTOCOMMIT"):
        task.enqueue_in(connection, 1)
    engine.dispose()


@pytest.mark.parametrize("name", ["psycopg", "asyncpg", "sqlalchemy Session", "django"])
def test_another_database_is_refused(app: Treadle, name: str) -> None:
    other = shared().url("postgres")
    way = WAYS[name]

    async def scene() -> None:
        async with way.transaction(other) as hand:
            with pytest.raises(NotTransactional, match="the store is in"):
                await enqueue(app, way, hand.given, 1)

    run(way, scene())


def test_another_kind_of_database_is_refused(app: Treadle) -> None:
    task: Any = app.registry.expect("double")
    engine = sa.create_engine("sqlite://")
    with engine.begin() as connection, pytest.raises(NotTransactional, match="sqlite"):
        task.enqueue_in(connection, 1)
    engine.dispose()


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Postgres]:
    """Another server."""
    server = Postgres(LOGIC)
    server.create()
    server.start()
    yield server
    server.remove()


def test_a_database_of_the_same_name_on_another_server_is_refused(
    app: Treadle, url: str, way: Way, elsewhere: Postgres
) -> None:
    name = url.rpartition("/")[2]
    if (name,) not in elsewhere.ask("SELECT datname FROM pg_database"):
        elsewhere.ask(f"CREATE DATABASE {name}")
    theirs = elsewhere.url(name)

    async def scene() -> None:
        async with way.transaction(theirs) as hand:
            with pytest.raises(NotTransactional, match=r"another server than .* Nothing was stored\. Open the store on"):
                await enqueue(app, way, hand.given, 1)
            await hand.own("SELECT 1")
        async with way.transaction(url) as hand:
            await enqueue(app, way, hand.given, 2)

    run(way, scene())
    assert [job.args for job in app.client.find()] == [{"number": 2}]


@pytest.mark.parametrize("version", [None, 99])
def test_a_schema_that_this_code_does_not_know_is_refused_and_the_transaction_is_whole(way: Way, version: int | None) -> None:
    server = shared()
    database = server.database()
    url = server.url(database)
    if version is not None:
        migrated = Treadle(url)
        migrated.store.migrate()
        migrated.close()
        server.ask(f"UPDATE treadle.meta SET value = {version} WHERE name = 'version'", database)
    app = Treadle(url)
    task: Any = app.task(name="double")(lambda number: number)

    async def scene() -> None:
        async with way.transaction(url) as hand:
            with pytest.raises(SchemaMismatch, match="treadle migrate" if version is None else "99"):
                await (task.aenqueue_in(hand.given, 1) if way.awaited else nothing(task.enqueue_in, hand.given, 1))
            await hand.own("SELECT 1")

    run(way, scene())
    app.close()
    server.drop(database)


async def nothing(call: Any, *words: Any) -> Any:
    """A blocking call behind the face of an awaited one."""
    return call(*words)


def test_a_connection_is_asked_once_who_it_leads_to(app: Treadle, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    ask = LentPsycopg.ask

    def told(lent: LentPsycopg, statement: Any, values: list[Any]) -> Any:
        asked.append(statement.text)
        return ask(lent, statement, values)

    monkeypatch.setattr(LentPsycopg, "ask", told)
    task: Any = app.registry.expect("double")
    with psycopg.connect(url) as connection:
        for number in range(3):
            task.enqueue_in(connection, number)
            connection.commit()

    assert [WHO.text in each for each in asked].count(True) == 1
    assert asked[0] == WHO.text


def test_the_store_is_asked_on_one_connection(app: Treadle, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    app.client.find()  # whether a pooler stands in between is known from now on
    opened: list[float] = []
    connect = PostgresStore._connect

    def counted(store: PostgresStore, deadline: float) -> Any:
        opened.append(deadline)
        return connect(store, deadline)

    monkeypatch.setattr(PostgresStore, "_connect", counted)
    task: Any = app.registry.expect("double")
    with psycopg.connect(url) as connection:
        task.enqueue_in(connection, 1)

    assert len(opened) == 1


def test_a_server_that_was_started_anew_is_still_the_same(url: str) -> None:
    told = ["before", "after"]
    identity = Identity("here", lambda: [(told[0],)])
    identity.vouch([("before",)])
    with pytest.raises(NotTransactional):
        identity.vouch([("after",)])
    told.pop(0)
    identity.vouch([("after",)])


def test_a_session_in_another_time_zone_is_the_same_database(app: Treadle, url: str, way: Way) -> None:
    async def scene() -> None:
        async with way.transaction(url) as hand:
            await hand.own("SET LOCAL TIME ZONE 'Pacific/Chatham'")
            await hand.own("SET LOCAL datestyle TO 'SQL, DMY'")
            await enqueue(app, way, hand.given, 1)

    run(way, scene())
    assert len(app.client.find()) == 1


def test_where_the_store_cannot_be_asked_the_connection_is_taken_at_its_word() -> None:
    """Behind a pooler with one connection, that one is the user's for as long as the question would wait."""
    asked = 0

    def ask() -> list[tuple[str]]:
        nonlocal asked
        asked += 1
        raise StoreBusy("all connections are taken")

    identity = Identity("here", ask)
    assert not identity.vouch([("theirs",)])
    assert not identity.vouch([("theirs",)])
    assert asked == 1


def test_a_connection_in_pipeline_mode_is_refused(app: Treadle, url: str) -> None:
    task: Any = app.registry.expect("double")
    with psycopg.connect(url) as connection:
        with connection.pipeline(), pytest.raises(NotTransactional, match="pipeline mode"):
            task.enqueue_in(connection, 1)
        task.enqueue_in(connection, 2)
    assert [job.args for job in app.client.find()] == [{"number": 2}]
