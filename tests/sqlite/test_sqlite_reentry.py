"""A call that interrupts another call of the same session on the same thread, as a signal handler does."""

import asyncio
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from faults.between import come_in, outcome
from treadle.engine.plan import Plan, Steps
from treadle.engine.sqlite import place
from treadle.engine.sqlite.driver import Settings
from treadle.engine.sqlite.session import SqliteSession
from treadle.engine.sqlite.store import SqliteStore
from treadle.model.errors import StoreBusy
from treadle.model.filter import Filter
from treadle.model.job import NewJob


def interrupted(plan: Plan[Any]) -> Plan[Any]:
    """The same plan, in the middle of which this process gets a signal."""

    def begin() -> Steps[Any]:
        answer = yield from plan.begin()
        signal.raise_signal(signal.SIGUSR1)
        return answer

    return Plan(plan.name, begin)


def test_an_enqueue_in_a_signal_handler_is_refused_at_once(path: Path) -> None:
    # A wait for itself would last ten minutes.
    store = SqliteStore(path, settings=Settings(synchronous="OFF", timeout=600.0))
    session = store.session()
    refused: list[StoreBusy] = []

    def handler(*_: object) -> None:
        try:
            session.run(store.engine.enqueue([NewJob("handler", "work")]))
        except StoreBusy as error:
            refused.append(error)
        with pytest.raises(StoreBusy, match="interrupted"):
            session.close()

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        session.run(interrupted(store.engine.enqueue([NewJob("one", "work")])))
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert "set a flag there" in str(refused[0])
    assert "another thread" not in str(refused[0])
    session.run(store.engine.enqueue([NewJob("two", "work")]))
    assert session.run(store.engine.count(Filter(), ()))[0].count == 2
    session.close()


def test_a_fork_in_a_signal_handler_leaves_the_interrupted_call_alone(path: Path) -> None:
    store = SqliteStore(path, settings=Settings(synchronous="OFF"))
    session = store.session()

    def handler(*_: object) -> None:
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        session.run(interrupted(store.engine.enqueue([NewJob("one", "work")])))
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert session.run(store.engine.count(Filter(), ()))[0].count == 1
    session.close()


def test_another_session_may_be_opened_by_what_comes_in_while_one_is_opened(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SqliteStore(path, settings=Settings(synchronous="OFF"))
    one, two = store.session(), store.session()
    come_in(monkeypatch, store, "_connect", lambda: two.run(store.engine.enqueue([NewJob("inner", "work")])))
    outcome(lambda: one.run(store.engine.enqueue([NewJob("outer", "work")])))
    assert one.run(store.engine.count(Filter(), ()))[0].count == 2
    one.close()
    two.close()


def test_a_connection_may_be_forgotten_while_its_thread_opens_another(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.touch()
    first = place.enter_library(path, "apsw")
    come_in(monkeypatch, place.os.path, "realpath", lambda: place.leave_library(first))
    key = outcome(lambda: place.enter_library(path, "apsw"))
    place.leave_library(key)
    place.leave_library(place.enter_library(path, "sqlite3"))


def test_a_close_that_comes_in_while_a_call_is_handed_over_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SqliteStore(path, settings=Settings(synchronous="OFF"))
    session = SqliteSession(store)
    refused: list[StoreBusy] = []

    def close() -> None:
        with pytest.raises(StoreBusy, match="interrupted") as told:
            session.close()
        refused.append(told.value)

    come_in(monkeypatch, threading, "Thread", close)
    asyncio.run(session.arun(store.engine.enqueue([NewJob("one", "work")])))
    assert refused
    session.close()
