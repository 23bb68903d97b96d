"""Wakes across processes: the table of sleepers, what a lost connection does, and names that fit a channel."""

import os
import resource
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from conformance.desk import Desk
from treadle.engine.postgres import wake
from treadle.engine.postgres.channels import Channels
from treadle.engine.postgres.place import Settings, address
from treadle.engine.postgres.store import PostgresStore

PATIENCE = 20.0


@pytest.fixture
def asked(database: str) -> Callable[[str], list[Any]]:
    def ask(text: str) -> list[Any]:
        with psycopg.connect(database, autocommit=True) as connection:
            cursor = connection.execute(text.encode())
            return cursor.fetchall() if cursor.description else []

    return ask


def test_names_fit() -> None:
    channels = Channels("n" * 41)
    topics = [f"{kind}:{'x' * 500}{n}" for kind in ("queue", "job", "lease") for n in range(3)]
    assert len({channels.name(topic) for topic in topics}) == len(topics)
    assert all(len(channels.name(topic)) <= 63 and channels.name(topic).startswith(channels.prefix(topic[:-502].rstrip(":x")))
               for topic in topics)  # fmt: skip


def test_a_sleeper_is_written_down_while_it_sleeps(store: PostgresStore, asked: Callable[[str], list[Any]]) -> None:
    waiter = store.waiter(["queue:red", "queue:blue"])
    assert asked("SELECT count(*) FROM treadle.idle") == [(0,)]
    waiter.idle(True)
    assert asked("SELECT count(*) FROM treadle.idle") == [(2,)]
    gone = threading.Event()

    def look() -> None:
        while asked("SELECT count(*) FROM treadle.idle") != [(0,)]:
            pass
        gone.set()

    waiter.idle(False)
    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    assert gone.wait(PATIENCE)
    waiter.close()


def test_another_process_is_woken(database: str, own_desk: Desk) -> None:
    """Another store stands for another process: it shares nothing with the first but the server."""
    other = PostgresStore(address(database, ()), settings=Settings(timeout=30.0))
    waiter = other.waiter(["queue:default"])
    waiter.idle(True)
    own_desk.add()
    assert waiter.wait(PATIENCE)
    waiter.close()
    other.close()


def test_a_process_with_many_open_files_is_woken(store: PostgresStore, own_desk: Desk) -> None:
    """`select` knows no file above 1023: the listener's thread ended there without a word."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[1] != resource.RLIM_INFINITY and before[1] < 4096:
        pytest.skip("so many files may not be opened here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, before[1]))
    files = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        waiter = store.waiter(["queue:default"])
        waiter.idle(True)
        own_desk.add()
        assert waiter.wait(PATIENCE)
        waiter.close()
    finally:
        for each in files:
            os.close(each)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_waiter_whose_connection_is_lost_listens_again(
    store: PostgresStore, own_desk: Desk, asked: Callable[[str], list[Any]]
) -> None:
    waiter = store.waiter(["queue:default"])
    waiter.idle(True)
    asked("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'treadle'")
    woken = False
    for _ in range(200):
        own_desk.add()
        woken = waiter.wait(PATIENCE / 200)
        if woken:
            break
    assert woken
    waiter.close()


@contextmanager
def _lying_down(store: PostgresStore, asked: Callable[[str], list[Any]]) -> Iterator[threading.Event]:
    """A sleeper whose declaration stands; the event says that it lies."""
    waiter = store.waiter(["queue:default"])
    asleep = threading.Event()

    def lie_down() -> None:
        waiter.idle(True)
        asleep.set()

    threading.Thread(target=lie_down, daemon=True).start()
    while asked("SELECT count(*) FROM treadle.idle") != [(1,)]:
        pass
    yield asleep
    waiter.close()


_WRITE = b"INSERT INTO treadle.records (space, key, value, version) VALUES ('written', '', '', 1)"


def test_a_sleeper_outlasts_who_was_writing(
    store: PostgresStore, database: str, asked: Callable[[str], list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lone enqueue looks for sleepers while it writes: one that it has not seen must see what it wrote."""
    monkeypatch.setattr(wake, "_WRITERS", PATIENCE)
    monkeypatch.setattr(wake, "_CONFIRM", PATIENCE)
    with psycopg.connect(database) as writer:
        writer.execute(_WRITE)
        with _lying_down(store, asked) as asleep:
            for _ in range(10):  # time enough to lie down too early
                asked("SELECT 1")
            assert not asleep.is_set()
            writer.commit()
            assert asleep.wait(PATIENCE)


def test_a_sleeper_does_not_wait_for_who_writes_long(
    store: PostgresStore, database: str, asked: Callable[[str], list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wake, "_CONFIRM", PATIENCE)
    with psycopg.connect(database) as writer:
        writer.execute(_WRITE)
        with _lying_down(store, asked) as asleep:
            assert asleep.wait(PATIENCE)


def test_waiters_of_one_store_share_a_connection(store: PostgresStore, asked: Callable[[str], list[Any]]) -> None:
    waiters = [store.waiter([f"queue:{n}"]) for n in range(5)]
    for waiter in waiters:
        waiter.idle(True)
    assert asked("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'treadle'") == [(1,)]
    for waiter in waiters:
        waiter.close()


def test_nobody_is_notified_while_nobody_sleeps(store: PostgresStore, own_desk: Desk, database: str) -> None:
    name = Channels("treadle").name("queue:default")
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f'LISTEN "{name}"'.encode())
        own_desk.add()
        assert list(connection.notifies(timeout=0, stop_after=1)) == []
        waiter = store.waiter(["queue:default"])
        waiter.idle(True)
        own_desk.add()
        assert [notify.channel for notify in connection.notifies(timeout=PATIENCE, stop_after=1)] == [name]
        waiter.close()
