"""Sessions: many threads, many loops, locks that do not come, plans that break, forks."""

import asyncio
import os
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import apsw
import pytest

from treadle.engine.plan import Plan, Steps
from treadle.engine.session import Durability, Wake
from treadle.engine.sqlite.driver import Settings
from treadle.engine.sqlite.steps import Ask, Do
from treadle.engine.sqlite.store import SqliteStore
from treadle.model.errors import StoreBusy, StoreError
from treadle.model.filter import Filter, Page
from treadle.model.job import NewJob, Want, WorkerInfo
from treadle.model.outcome import Cause as DeathCause
from treadle.model.outcome import Completed, Died, Released, Retrying, Settlement

WORKER = WorkerInfo("w", "host", 1, ("default",), ("work",), 4)


def new(*ids: str) -> list[NewJob]:
    return [NewJob(each, "work") for each in ids]


def total(store: SqliteStore) -> int:
    session = store.session()
    [answer] = session.run(store.engine.count(Filter(), ()))
    session.close()
    return answer.count


def lock(other: Any) -> Any:
    """Somebody who knows nothing of the gate and keeps the write lock."""
    other.execute("BEGIN IMMEDIATE")
    return other


def test_many_threads_share_a_session(store: SqliteStore) -> None:
    session = store.session()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: session.run(store.engine.enqueue(new(f"job-{i}"))), range(64)))
    session.close()
    assert total(store) == 64


def test_sessions_of_one_process_take_turns(store: SqliteStore) -> None:
    def work(name: int) -> None:
        session = store.session()
        for i in range(20):
            session.run(store.engine.enqueue(new(f"{name}-{i}")))
        session.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert total(store) == 80


def test_many_tasks_of_one_loop(store: SqliteStore) -> None:
    async def main() -> None:
        session = store.session()
        await asyncio.gather(*(session.arun(store.engine.enqueue(new(f"job-{i}"))) for i in range(64)))
        session.close()

    asyncio.run(main())
    assert total(store) == 64


def test_the_loop_goes_on_while_the_file_is_locked(path: Path) -> None:
    store = SqliteStore(path, settings=Settings(synchronous="OFF", timeout=30.0))
    store.migrate()
    ticks = 0

    async def main() -> None:
        nonlocal ticks
        other = lock(apsw.Connection(str(path)))
        session = store.session()
        waiting = asyncio.create_task(session.arun(store.engine.enqueue(new("one"))))
        for _ in range(100):
            await asyncio.sleep(0)
            ticks += 1
        assert not waiting.done()
        other.execute("ROLLBACK")
        other.close()
        await waiting
        session.close()

    asyncio.run(main())
    assert ticks == 100
    assert total(store) == 1


def test_a_lock_that_does_not_come(path: Path) -> None:
    store = SqliteStore(path, settings=Settings(driver="sqlite3", timeout=0.05))
    store.migrate()
    other = lock(sqlite3.connect(path, isolation_level=None))
    session = store.session()
    with pytest.raises(StoreBusy, match="timeout="):
        session.run(store.engine.enqueue(new("one")))
    assert session.run(store.engine.count(Filter(), ()))[0].count == 0, "readers do not wait for writers"
    assert session.run(store.engine.gates()) == []
    other.rollback()
    session.run(store.engine.enqueue(new("one")))
    assert session.run(store.engine.count(Filter(), ()))[0].count == 1
    session.close()
    other.close()


def test_a_turn_that_does_not_come(path: Path) -> None:
    store = SqliteStore(path, settings=Settings(timeout=0.05))
    store.migrate()
    gate = store.gate()
    assert gate.enter(0.0)
    session = store.session()
    with pytest.raises(StoreBusy, match="timeout="):
        session.run(store.engine.enqueue(new("one")))
    gate.leave()
    session.run(store.engine.enqueue(new("one")))
    session.close()
    gate.close()


def test_a_plan_that_breaks_changes_nothing_and_wakes_nobody(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    rung: list[Any] = []
    monkeypatch.setattr(store, "ring", rung.append)

    def begin() -> Steps[None]:
        yield from store.engine.enqueue(new("one")).begin()
        raise ZeroDivisionError

    session = store.session()
    with pytest.raises(ZeroDivisionError):
        session.run(Plan("broken", begin))
    assert session.run(store.engine.count(Filter(), ()))[0].count == 0
    assert rung == []
    session.run(store.engine.enqueue(new("one")))
    assert len(rung) == 1
    session.close()


def test_a_closed_session_opens_anew(store: SqliteStore) -> None:
    session = store.session()
    session.run(store.engine.enqueue(new("one")))
    session.close()
    session.close()
    assert session.run(store.engine.count(Filter(), ()))[0].count == 1
    session.close()


def test_a_cancelled_wait_leaves_the_session_usable(store: SqliteStore) -> None:
    async def main() -> int:
        session = store.session()
        task = asyncio.create_task(session.arun(store.engine.enqueue(new("one"))))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        [answer] = await session.arun(store.engine.count(Filter(), ()))
        session.close()
        return answer.count

    assert asyncio.run(main()) in (0, 1)


def synchronous(session: Any, durability: Durability) -> int:
    def begin() -> Steps[int]:
        rows = yield Ask("PRAGMA synchronous")
        return int(rows[0][0])

    return int(session.run(Plan("find", begin), durability))


@pytest.mark.parametrize(("setting", "default", "relaxed"), [("FULL", 2, 1), ("NORMAL", 1, 1), ("OFF", 0, 0)])
def test_a_relaxed_plan_gets_one_class_less(path: Path, setting: str, default: int, relaxed: int) -> None:
    session = SqliteStore(path, settings=Settings(synchronous=setting)).session()
    assert synchronous(session, Durability.DEFAULT) == default
    assert synchronous(session, Durability.RELAXED) == relaxed
    session.close()


def test_a_step_that_is_none_of_ours(store: SqliteStore) -> None:
    def begin() -> Steps[None]:
        yield "something"

    session = store.session()
    with pytest.raises(TypeError, match="something"):
        session.run(Plan("odd", begin))
    session.close()


def test_a_full_disk_changes_nothing(store: SqliteStore) -> None:
    session = store.session()
    session.run(store.engine.enqueue(new("one")))

    def narrow() -> Steps[None]:
        pages = yield Ask("PRAGMA page_count")
        yield Ask(f"PRAGMA max_page_count = {pages[0][0]}")

    session.run(Plan("find", narrow))
    with pytest.raises(StoreError, match="disk is full"):
        session.run(store.engine.enqueue([NewJob(f"{i}", "work", args='"' + "x" * 4000 + '"') for i in range(50)]))
    assert session.run(store.engine.count(Filter(), ()))[0].count == 1
    session.close()


def in_child(work: Any) -> int:
    """Run `work` in a forked child; returns its exit status."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_session_survives_a_fork_on_both_sides(store: SqliteStore) -> None:
    session = store.session()
    session.run(store.engine.enqueue(new("before")))
    assert in_child(lambda: session.run(store.engine.enqueue(new("child")))) == 0
    session.run(store.engine.enqueue(new("after")))
    assert sorted(job.id for job in session.run(store.engine.find(Filter(), Page()))) == ["after", "before", "child"]
    session.close()


def test_a_fork_while_another_thread_writes(store: SqliteStore) -> None:
    """The child begins with nothing of the parent's, whatever the parent was doing."""
    session = store.session()
    stop = threading.Event()
    written: list[str] = []

    def write() -> None:
        while not stop.is_set():
            name = f"parent-{len(written)}"
            session.run(store.engine.enqueue(new(name)))
            written.append(name)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        statuses = [in_child(lambda i=i: session.run(store.engine.enqueue(new(f"child-{i}")))) for i in range(5)]
    finally:
        stop.set()
        thread.join()
    assert statuses == [0] * 5
    assert total(store) == len(written) + 5
    session.close()


def test_a_child_holds_locks_of_its_own(store: SqliteStore, path: Path) -> None:
    """A child that inherited open files would hold no lock: the last to close elsewhere would take its log away."""
    session = store.session()
    session.run(store.engine.enqueue(new("parent")))
    ready, go = os.pipe(), os.pipe()

    def child() -> None:
        session.run(store.engine.enqueue(new("child-1")))
        os.write(ready[1], b".")
        os.read(go[0], 1)
        session.run(store.engine.enqueue(new("child-2")))
        session.close()

    process = os.fork()
    if process == 0:
        status = 1
        try:
            child()
            status = 0
        finally:
            os._exit(status)
    assert os.read(ready[0], 1) == b"."
    session.close()
    log = path.with_name("jobs.db-wal")
    assert log.exists(), "the child still has the file open, so the log must stay"
    os.write(go[1], b".")
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
    for each in (*ready, *go):
        os.close(each)
    assert total(store) == 3


def breaking(plan: Plan[Any], step: int) -> Plan[Any]:
    """The same plan, broken after so many changes."""

    def begin() -> Steps[Any]:
        done = 0
        steps = plan.begin()
        answer = None
        while True:
            try:
                asked = steps.send(answer)
            except StopIteration as stop:
                return stop.value
            answer = yield asked
            done += isinstance(asked, Do)
            if done > step:
                raise ConnectionAbortedError

    return Plan(plan.name, begin)


def test_a_break_after_any_change_leaves_everything_as_it_was(store: SqliteStore) -> None:
    session = store.session()
    engine = store.engine
    session.run(engine.renew("lease", 0, 1000.0, worker=WORKER))
    session.run(engine.enqueue(new(*"abcdef")))
    claims = session.run(engine.claim("lease", [Want("default", 6, 6)], ["work"])).jobs
    outcomes = [Completed("1"), Retrying(1.0, "{}"), Released(), Died(DeathCause.FAILED, "x", "f", "{}")]
    ends = [Settlement(each.ref, each.id, each.attempt, end, 0.1) for each, end in zip(claims, outcomes, strict=False)]
    plan = engine.settle("lease", ends)

    def picture() -> Any:
        return session.run(engine.find(Filter(), Page(details=True))), session.run(engine.leases(now=0))

    before = picture()
    broken = 0
    while True:
        try:
            session.run(breaking(plan, broken))
        except ConnectionAbortedError:
            assert picture() == before
            broken += 1
        else:
            break
    assert broken >= 6
    assert picture() != before
    session.close()


def test_a_borrowed_session_keeps_its_wakes_to_itself(store: SqliteStore) -> None:
    steps = [step for step in _steps(store, store.engine.enqueue(new("one"))) if isinstance(step, Wake)]
    assert [step.topics for step in steps] == [frozenset({"queue:default"})]


def _steps(store: SqliteStore, plan: Plan[Any]) -> list[Any]:
    seen: list[Any] = []

    def begin() -> Steps[Any]:
        steps = plan.begin()
        answer = None
        while True:
            try:
                asked = steps.send(answer)
            except StopIteration as stop:
                return stop.value
            seen.append(asked)
            answer = yield asked

    session = store.session()
    session.run(Plan(plan.name, begin))
    session.close()
    return seen
