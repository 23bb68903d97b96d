"""Every kind of transaction that a user may have open on PostgreSQL, behind one face, so that one matrix tries them all.

Blocking libraries are driven without an event loop (Django refuses to work inside one): their coroutines never wait.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import asyncpg
import psycopg
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool


@dataclass
class Hand:
    """An open transaction: what is handed to treadle, the user's own SQL, and a savepoint."""

    given: Any
    own: Callable[[str], Awaitable[Any]]
    savepoint: Callable[[], AbstractAsyncContextManager[None]]


@dataclass
class Way:
    """One library: how it opens a transaction that commits at the end of the block, or rolls back when the block raises."""

    transaction: Callable[[str], AbstractAsyncContextManager[Hand]]
    awaited: bool


def run(way: Way, scene: Coroutine[Any, Any, None]) -> None:
    """Play a scene on an event loop, or without one for a library that blocks."""
    if way.awaited:
        asyncio.run(scene)
        return
    try:
        scene.send(None)
    except StopIteration:
        return
    raise AssertionError("a blocking scene waited")


def blocking(call: Callable[[str], Any]) -> Callable[[str], Awaitable[Any]]:
    async def own(sql: str) -> Any:
        return call(sql)

    return own


def entered(enter: Callable[[], Any]) -> Callable[[], AbstractAsyncContextManager[None]]:
    """A blocking context manager behind the face of an awaited one."""

    @asynccontextmanager
    async def block() -> AsyncIterator[None]:
        with enter():
            yield

    return block


def awaiting(enter: Callable[[], Any]) -> Callable[[], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def block() -> AsyncIterator[None]:
        async with enter():
            yield

    return block


@asynccontextmanager
async def by_psycopg(url: str) -> AsyncIterator[Hand]:
    with psycopg.connect(url) as connection:
        yield Hand(connection, blocking(lambda sql: connection.execute(sql.encode())), entered(connection.transaction))


@asynccontextmanager
async def by_psycopg_in_a_block(url: str) -> AsyncIterator[Hand]:
    with psycopg.connect(url, autocommit=True) as connection, connection.transaction():
        yield Hand(connection, blocking(lambda sql: connection.execute(sql.encode())), entered(connection.transaction))


@asynccontextmanager
async def by_async_psycopg(url: str) -> AsyncIterator[Hand]:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        yield Hand(connection, lambda sql: connection.execute(sql.encode()), awaiting(connection.transaction))


@asynccontextmanager
async def by_asyncpg(url: str) -> AsyncIterator[Hand]:
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            yield Hand(connection, connection.execute, awaiting(connection.transaction))
    finally:
        await connection.close()


@asynccontextmanager
async def by_asyncpg_pool(url: str) -> AsyncIterator[Hand]:
    async with asyncpg.create_pool(url, min_size=1, max_size=1) as pool, pool.acquire() as connection, connection.transaction():
        yield Hand(connection, connection.execute, awaiting(connection.transaction))


def sqlalchemy_url(url: str, driver: str) -> str:
    return url.replace("postgresql://", f"postgresql+{driver}://")


@asynccontextmanager
async def by_connection(url: str) -> AsyncIterator[Hand]:
    engine = sa.create_engine(sqlalchemy_url(url, "psycopg"), poolclass=NullPool)
    with engine.begin() as connection:
        own = blocking(lambda sql: connection.execute(sa.text(sql)))
        yield Hand(connection, own, entered(connection.begin_nested))


@asynccontextmanager
async def by_session(url: str) -> AsyncIterator[Hand]:
    engine = sa.create_engine(sqlalchemy_url(url, "psycopg"), poolclass=NullPool)
    with Session(engine) as session, session.begin():
        yield Hand(session, blocking(lambda sql: session.execute(sa.text(sql))), entered(session.begin_nested))


def by_async_connection(driver: str) -> Callable[[str], AbstractAsyncContextManager[Hand]]:
    @asynccontextmanager
    async def open_(url: str) -> AsyncIterator[Hand]:
        engine = create_async_engine(sqlalchemy_url(url, driver), poolclass=NullPool)
        async with engine.begin() as connection:
            yield Hand(connection, lambda sql: connection.execute(sa.text(sql)), awaiting(connection.begin_nested))

    return open_


def by_async_session(driver: str) -> Callable[[str], AbstractAsyncContextManager[Hand]]:
    @asynccontextmanager
    async def open_(url: str) -> AsyncIterator[Hand]:
        engine = create_async_engine(sqlalchemy_url(url, driver), poolclass=NullPool)
        async with AsyncSession(engine) as session, session.begin():
            yield Hand(session, lambda sql: session.execute(sa.text(sql)), awaiting(session.begin_nested))

    return open_


@asynccontextmanager
async def by_django(url: str) -> AsyncIterator[Hand]:
    import django
    from django.conf import settings
    from django.db import transaction
    from django.db.utils import ConnectionHandler

    if not settings.configured:
        settings.configure(USE_TZ=True, LOGGING_CONFIG=None)
        django.setup()
    parts = sa.make_url(url)
    database = {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.database,
        "USER": parts.username,
        "HOST": parts.host,
        "PORT": parts.port,
    }
    connection: Any = ConnectionHandler({"default": database})["default"]
    try:
        with mock.patch("django.db.transaction.get_connection", return_value=connection), transaction.atomic():
            yield Hand(connection, blocking(lambda sql: connection.cursor().execute(sql)), entered(transaction.atomic))
    finally:
        connection.close()


WAYS = {
    "psycopg": Way(by_psycopg, awaited=False),
    "psycopg in a block": Way(by_psycopg_in_a_block, awaited=False),
    "psycopg, async": Way(by_async_psycopg, awaited=True),
    "asyncpg": Way(by_asyncpg, awaited=True),
    "asyncpg, pool": Way(by_asyncpg_pool, awaited=True),
    "sqlalchemy Connection": Way(by_connection, awaited=False),
    "sqlalchemy Session": Way(by_session, awaited=False),
    "sqlalchemy AsyncConnection, psycopg": Way(by_async_connection("psycopg"), awaited=True),
    "sqlalchemy AsyncConnection, asyncpg": Way(by_async_connection("asyncpg"), awaited=True),
    "sqlalchemy AsyncSession, psycopg": Way(by_async_session("psycopg"), awaited=True),
    "sqlalchemy AsyncSession, asyncpg": Way(by_async_session("asyncpg"), awaited=True),
    "django": Way(by_django, awaited=False),
}
