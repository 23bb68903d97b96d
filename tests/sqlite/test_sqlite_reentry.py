"""A call that interrupts another call of the same session on the same thread, as a signal handler does."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from treadle.engine.plan import Plan, Steps
from treadle.engine.sqlite.driver import Settings
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
