"""Sessions: exchanges, deadlines, connections that are lost, forks, and what a relaxed commit asks of the server."""

import asyncio
import gc
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, cast

import psycopg
import pytest

from conformance.desk import TASKS, Bench, Desk
from faults.between import come_in, outcome
from treadle.engine.plan import Plan, Steps, together
from treadle.engine.postgres.driver import Link
from treadle.engine.postgres.place import Settings, address
from treadle.engine.postgres.pool import Pool
from treadle.engine.postgres.session import PostgresSession
from treadle.engine.postgres.statements import compiled
from treadle.engine.postgres.steps import Ask, Do, Later, texts
from treadle.engine.postgres.store import PostgresStore
from treadle.engine.session import Durability
from treadle.model.errors import StoreBusy
from treadle.model.filter import Filter
from treadle.model.flow import Hold
from treadle.model.job import Want
from treadle.model.outcome import Completed, Settlement

PATIENCE = 20.0


def asking(text: str, name: str = "read") -> Plan[Any]:
    def begin() -> Steps[Any]:
        return (yield Ask(compiled(text)))

    return Plan(name, begin)


@pytest.fixture
def exchanges(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How often a session has waited for the server since the last look."""
    waits = 0
    wait = Link.wait

    def counted(link: Link, *deadlines: float) -> Any:
        nonlocal waits
        waits += 1
        return wait(link, *deadlines)

    monkeypatch.setattr(Link, "wait", counted)

    def since() -> int:
        nonlocal waits
        seen, waits = waits, 0
        return seen

    return since


def test_what_happens_all_the_time_takes_one_exchange(own_desk: Desk, exchanges: Callable[[], int]) -> None:
    engine, lease = own_desk.engine, own_desk.worker()
    exchanges()
    own_desk.enqueue(own_desk.new())
    assert exchanges() == 1
    own_desk.enqueue(*(own_desk.new(tags=("a",), delay=5.0) for _ in range(3)))
    assert exchanges() == 1
    own_desk.add()
    own_desk.add()
    exchanges()
    [first] = own_desk.run(engine.claim(lease, [Want("default", 1, 1)], TASKS, now=own_desk.now)).jobs
    assert exchanges() == 1
    settlement = Settlement(first.ref, first.id, first.attempt, Completed(), 0.1)
    plan = together(
        engine.settle(lease, [settlement], now=own_desk.now),
        engine.claim(lease, [Want("default", 1, 1)], TASKS, suspects=1, now=own_desk.now),
    )
    _, claims = own_desk.run(plan)
    assert len(claims.jobs) == 1
    assert exchanges() == 1
    own_desk.renew(lease, 1, 60.0)
    assert exchanges() == 1


def test_a_claim_takes_one_exchange_again_as_soon_as_no_gated_job_waits(own_desk: Desk, exchanges: Callable[[], int]) -> None:
    """For a second it went the longer way of gated jobs: a claim behind 10,000 parked ones took 1.5 times as long."""
    lease = own_desk.worker()
    own_desk.add(holds=(Hold("provider"),))
    own_desk.add()
    assert len(own_desk.claim(lease, Want("default", 10, 10), gated=10)) == 2
    own_desk.add()
    assert len(own_desk.claim(lease, Want("default", 10, 10), gated=10)) == 1
    own_desk.add()
    exchanges()
    assert len(own_desk.claim(lease, Want("default", 10, 10), gated=10)) == 1
    assert exchanges() == 1


def test_a_batch_larger_than_a_statement_is_stored_whole(own_desk: Desk) -> None:
    jobs = [own_desk.new(args=f'{{"n": "{i}\\"\\\\ {{}},NULL"}}') for i in range(2500)]
    answers = own_desk.enqueue(*jobs, jobs[7])
    assert [answer.verdict.value for answer in answers] == ["stored"] * 2500 + ["already"]
    found = own_desk.find()
    assert [job.id for job in found] == [job.id for job in jobs]
    assert [job.args for job in found] == [job.args for job in jobs]


def test_a_text_that_no_database_can_hold_is_refused_and_breaks_nothing(own_desk: Desk) -> None:
    with pytest.raises(psycopg.DataError, match="NUL"):
        own_desk.enqueue(own_desk.new(args='"\0"'))
    with pytest.raises(UnicodeEncodeError):
        own_desk.enqueue(own_desk.new(), own_desk.new(args='"\ud800"'))
    own_desk.add()
    assert len(own_desk.find()) == 1


def test_calls_that_overlap_open_connections_up_to_their_number(database: str) -> None:
    store = PostgresStore(address(database, ()), settings=Settings(timeout=30.0, connections=3))
    session = store.session()

    async def scene() -> list[Any]:
        return await asyncio.gather(*(session.arun(asking("SELECT pg_backend_pid() FROM pg_sleep(0.01)")) for _ in range(12)))

    pids = {rows[0][0] for rows in asyncio.run(scene())}
    assert 1 < len(pids) <= 3
    session.close()
    store.close()


def test_who_waits_too_long_for_a_connection_is_told(database: str) -> None:
    store = PostgresStore(address(database, ()), settings=Settings(timeout=1.0, connections=1))
    session = store.session()
    assert isinstance(session, PostgresSession)
    session.run(asking("SELECT 1"))
    inside, over = threading.Event(), threading.Event()

    def begin() -> Steps[None]:
        yield Ask(compiled("SELECT 1"))
        inside.set()
        over.wait(30)

    holder = threading.Thread(target=session.run, args=(Plan("read", begin),))
    holder.start()
    assert inside.wait(30)
    with pytest.raises(StoreBusy, match="connections=") as told:
        session.run(asking("SELECT 1", "promote"))
    assert "127.0.0.1" in str(told.value)
    over.set()
    holder.join(30)
    session.close()
    store.close()


def test_a_statement_that_takes_too_long_is_given_up(database: str) -> None:
    store = PostgresStore(address(database, ()), settings=Settings(timeout=0.2))
    session = store.session()
    for run in (session.run, lambda plan: asyncio.run(session.arun(plan))):
        with pytest.raises(StoreBusy):
            run(asking("SELECT pg_sleep(30)", "promote"))
    session.close()
    store.close()


def test_a_cancelled_call_ends_at_once_and_the_session_goes_on(store: PostgresStore) -> None:
    session = store.session()

    async def scene() -> None:
        slow = asyncio.create_task(session.arun(asking("SELECT pg_sleep(30)", "promote")))
        await session.arun(asking("SELECT 1"))
        slow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow
        assert await session.arun(asking("SELECT 7")) == [(7,)]

    asyncio.run(scene())
    session.close()


def test_a_backend_that_was_ended_is_replaced(own_desk: Desk, database: str) -> None:
    own_desk.add()
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'treadle' AND datname = current_database()"
        )
    own_desk.add()
    assert len(own_desk.find()) == 2


def test_a_claim_whose_connection_breaks_is_not_repeated_by_itself(own_desk: Desk, store: PostgresStore) -> None:
    session = store.session()

    def begin() -> Steps[Any]:
        [(pid,)] = yield Ask(compiled("SELECT pg_backend_pid()"))
        with psycopg.connect(store.location, autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s)", (pid,))
        return (yield Ask(compiled("SELECT 1")))

    # As of any call that was not answered: a worker that met it first said of a server that had died that it is of no use.
    with pytest.raises(StoreBusy, match="lost during the call"):
        session.run(Plan("settle+claim", begin))
    session.close()


def test_a_deadlock_is_tried_again(store: PostgresStore, database: str) -> None:
    session, tries = store.session(), 0

    def begin() -> Steps[int]:
        nonlocal tries
        tries += 1
        yield Ask(compiled("SELECT 1"))
        if tries < 3:
            raise psycopg.errors.DeadlockDetected("deadlock detected")
        return tries

    assert session.run(Plan("promote", begin)) == 3
    session.close()


def test_relaxed_plans_do_not_wait_for_the_disk_and_others_do(store: PostgresStore) -> None:
    session = store.session()
    asked = asking("SHOW synchronous_commit", "promote")
    direct: Plan[Any] = Plan("promote", lambda: iter_later("SHOW synchronous_commit"))
    for plan in (asked, direct):
        for durability, expected in ((Durability.RELAXED, "off"), (Durability.DEFAULT, "on"), (Durability.RELAXED, "off")):
            assert session.run(plan, durability) == [(expected,)]
    with pytest.raises(psycopg.errors.DivisionByZero):
        session.run(asking("SELECT 1 / 0", "promote"), Durability.DEFAULT)
    assert session.run(asked, Durability.DEFAULT) == [("on",)]
    session.close()


def iter_later(text: str) -> Steps[Any]:
    return (yield Later([Ask(compiled(text))], lambda rows, _: rows[0]))


def test_a_step_that_is_none_is_refused(store: PostgresStore) -> None:
    def begin() -> Steps[None]:
        yield Do(compiled("SELECT 1"))
        yield "SELECT 1"

    session = store.session()
    with pytest.raises(TypeError, match="not a step"):
        session.run(Plan("promote", begin))
    assert session.run(asking("SELECT 1")) == [(1,)]
    session.close()


def test_a_forked_child_leaves_the_parents_connection_alone(own_desk: Desk) -> None:
    own_desk.add()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            own_desk.add(id="018bcfe5-6800-7000-8000-00000000beef")
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    own_desk.add()
    assert len(own_desk.find()) == 3


def test_a_mark_is_kept_behind_full_batches_only(own_desk: Desk) -> None:
    session = own_desk.bench.store.session()
    assert isinstance(session, PostgresSession)
    for priority in (5, 0):
        for _ in range(3):
            own_desk.add(priority=priority)
    lease = own_desk.worker()

    def claim(take: int) -> list[str]:
        plan = own_desk.engine.claim(lease, [Want("default", take, take)], TASKS, now=own_desk.now)
        return [job.id for job in session.run(plan).jobs]

    def marks() -> list[int]:
        return sorted(session._memory.recall("default", texts(TASKS)) or (), reverse=True)

    assert len(claim(4)) == 4
    assert marks() == [5, 0]
    high = own_desk.add(priority=9)
    between = own_desk.add(priority=3)
    assert claim(2) == [high, between]
    assert marks() == [9, 5, 3, 0]
    assert len(claim(3)) == 2
    assert marks() == []
    assert own_desk.find(states=["queued"]) == []
    session.close()


def test_what_was_committed_late_is_found_within_a_sweep(
    own_desk: Desk, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job stored by a transaction that stays open gets a seq behind which others are claimed already."""
    session = own_desk.bench.store.session()
    lease, late = own_desk.worker(), own_desk.new()

    def claim() -> list[str]:
        plan = own_desk.engine.claim(lease, [Want("default", 1, 1)], TASKS, now=own_desk.now)
        return [job.id for job in session.run(plan).jobs]

    with psycopg.connect(database) as connection:
        own_desk.bench.store.borrow(connection).run(own_desk.engine.enqueue([late], now=own_desk.now))
        first, second = own_desk.add(), own_desk.add()
        assert claim() == [first]
    assert claim() == [second]
    monkeypatch.setattr("treadle.engine.postgres.recall.SWEEP", 0.0)
    assert claim() == [late.id]
    session.close()


def test_many_threads_enqueue_and_claim_without_losing_or_doubling(store: PostgresStore) -> None:
    session, engine = store.session(), store.engine
    desk = Desk(Bench(store, lambda: pytest.fail("not lent here"), list), session.run)
    jobs = [desk.new() for _ in range(600)]
    leases = [desk.worker(f"w{i}") for i in range(4)]
    claimed: list[str] = []
    lock = threading.Lock()

    def produce(part: int) -> None:
        for job in jobs[part::2]:
            session.run(engine.enqueue([job]))

    def consume(lease: str) -> None:
        mine = store.session()
        while True:
            got = mine.run(engine.claim(lease, [Want("default", 7, 7)], TASKS, now=desk.now)).jobs
            with lock:
                claimed.extend(job.id for job in got)
                if len(claimed) >= len(jobs):
                    break
        mine.close()

    threads = [threading.Thread(target=produce, args=(part,)) for part in range(2)]
    threads += [threading.Thread(target=consume, args=(lease,)) for lease in leases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(claimed) == sorted(job.id for job in jobs)
    assert session.run(engine.count(Filter(), ()))[0].count == 600
    session.close()


def test_connections_that_a_crowd_has_opened_are_hung_up_when_it_has_gone(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = store.session()

    async def crowd(size: int) -> None:
        await asyncio.gather(*(session.arun(asking("SELECT pg_sleep(0.05)")) for _ in range(size)))

    def connections() -> int:
        mine = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        with psycopg.connect(store.location) as asked:
            [[count]] = asked.execute(mine).fetchall()
            return count

    asyncio.run(crowd(5))
    for _ in range(5):
        session.run(asking("SELECT 1"))
    opened = connections()
    assert opened >= 5, "it may come again at once"

    monkeypatch.setattr("treadle.engine.postgres.pool.IDLE", 0.0)
    for _ in range(5):
        session.run(asking("SELECT 1"))
    deadline = time.monotonic() + PATIENCE
    while connections() > opened - 4:
        assert time.monotonic() < deadline, "the server never heard a farewell"
    session.close()


def test_a_call_that_comes_in_while_its_thread_looks_for_a_connection_waits_for_nobody(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal's handler and a finalizer come in anywhere: they stopped all threads of a process for ever."""
    session = store.session()
    session.run(asking("SELECT 1"))
    inner: list[Any] = []
    come_in(monkeypatch, Link, "alive", lambda: inner.append(session.run(asking("SELECT 2"))))
    assert outcome(lambda: session.run(asking("SELECT 3"))) == [(3,)]
    assert inner == [[(2,)]]
    session.close()


def test_who_gives_up_in_the_middle_of_being_handed_a_connection_leaves_it_to_the_next(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that its loop has forgotten is collected in any call, also in that of the thread that hands it a connection."""
    pool = Pool(store.open, 1, "here")
    link = pool.take(time.monotonic() + PATIENCE)
    first, second = pool._find(), pool._find()
    assert isinstance(first, Future)
    assert isinstance(second, Future)
    come_in(monkeypatch, first, "set_result", lambda: pool._give_up(first))
    outcome(lambda: pool.give(link))
    assert second.done()
    assert second.result() is link
    pool.drop(link)


def test_room_that_nobody_wants_any_more_goes_to_the_next(store: PostgresStore) -> None:
    pool = Pool(store.open, 1, "here")
    link = pool.take(time.monotonic() + PATIENCE)
    first, second = (cast("Future[Link | None]", pool._find()) for _ in range(2))
    pool.drop(link)
    assert first.result(0) is None
    pool._give_up(first)
    assert second.result(0) is None
    pool.take(time.monotonic() + PATIENCE).close()


def test_a_loop_that_is_closed_while_a_connection_is_opened_costs_no_place(store: PostgresStore) -> None:
    """Its task is not cancelled but forgotten. After ten of them nobody of that process got a connection any more."""
    opening, go_on = threading.Event(), threading.Event()

    def slowly(deadline: float) -> Link:
        opening.set()
        go_on.wait(PATIENCE)
        return store.open(deadline)

    pool = Pool(slowly, 1, "here")
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)
    task = loop.create_task(pool.atake(time.monotonic() + PATIENCE))
    loop.run_until_complete(asyncio.sleep(0))
    assert opening.wait(PATIENCE)
    loop.close()
    del task, loop
    gc.collect()
    go_on.set()
    pool.take(time.monotonic() + PATIENCE).close()
