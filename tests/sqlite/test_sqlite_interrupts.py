"""A signal whose handler raises, as Ctrl-C does: it may strike behind any call, and keeps nobody out afterwards."""

import sys
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw
import pytest

from treadle.engine.sqlite.driver import ApswLink, Settings
from treadle.engine.sqlite.session import SqliteSession
from treadle.engine.sqlite.store import SqliteStore
from treadle.model.filter import Filter
from treadle.model.job import NewJob

BOUND = 5000


class Moment:
    """One of the moments of our code at which Python lets a handler in: a function begins, or a call into C has returned."""

    def __init__(self, number: int) -> None:
        self.left = number

    def __call__(self, frame: Any, event: str, called: Any) -> None:
        if event in ("call", "c_return") and frame.f_globals.get("__name__", "").startswith("treadle."):
            self.strike()

    def strike(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


@contextmanager
def struck(moment: Moment) -> Generator[None]:
    before = sys.getprofile()
    sys.setprofile(moment)
    try:
        yield
    finally:
        sys.setprofile(before)


def everybody_may_write(store: SqliteStore, session: SqliteSession, path: Path, aside: ThreadPoolExecutor) -> None:
    gate = store.gate()
    assert gate.enter(time.monotonic()), "the gate stayed shut"
    gate.leave()
    gate.close()
    other = apsw.Connection(str(path))
    other.execute("BEGIN IMMEDIATE")
    other.execute("ROLLBACK")
    other.close()
    aside.submit(session.run, store.engine.promote()).result()


@pytest.fixture
def store(path: Path) -> SqliteStore:
    store = SqliteStore(path, settings=Settings(synchronous="OFF", timeout=2.0))
    store.migrate()
    return store


@pytest.mark.parametrize("opened", [True, False], ids=["open", "opening"])
def test_an_interrupt_at_any_moment_keeps_nobody_out(store: SqliteStore, path: Path, opened: bool) -> None:
    session = SqliteSession(store)
    session.run(store.engine.enqueue([NewJob("first", "work")]))
    with ThreadPoolExecutor(1) as aside:
        for number in range(1, BOUND):
            moment = Moment(number)
            if not opened:
                session.close()
            try:
                with struck(moment):
                    session.run(store.engine.enqueue([NewJob(f"job-{number}", "work")]))
            except KeyboardInterrupt:
                everybody_may_write(store, session, path, aside)
            if moment.left > 0:
                break
    assert 50 < number < BOUND
    assert 2 <= session.run(store.engine.count(Filter(), ()))[0].count <= number + 1
    session.close()


def test_a_second_interrupt_while_the_first_is_cleaned_up_after_is_made_good_by_the_next_call(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = SqliteSession(store)
    session.run(store.engine.enqueue([NewJob("first", "work")]))
    do = ApswLink.do

    def strike(link: ApswLink, sql: str, values: Any = ()) -> int:
        if sql == "ROLLBACK":
            raise KeyboardInterrupt
        done = do(link, sql, values)
        if sql == "BEGIN IMMEDIATE":
            raise KeyboardInterrupt
        return done

    with monkeypatch.context() as patch:
        patch.setattr(ApswLink, "do", strike)
        with pytest.raises(KeyboardInterrupt):
            session.run(store.engine.enqueue([NewJob("second", "work")]))
    session.run(store.engine.enqueue([NewJob("third", "work")]))
    assert session.run(store.engine.count(Filter(), ()))[0].count == 2
    session.close()
