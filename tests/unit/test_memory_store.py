"""The memory store: what it refuses, whose turn it is, what it takes back, and which clock times a lease."""

import asyncio
import os
import threading
import warnings
from collections.abc import Iterator

import pytest

from faults.between import outcome
from treadle.engine.memory import session as rooms
from treadle.engine.memory.session import MemoryStore
from treadle.engine.plan import Plan, Steps
from treadle.model.errors import CannotOpen, NotTransactional, StoreBusy, VolatileStore
from treadle.model.filter import Filter
from treadle.model.job import Edge, NewJob, Want, WorkerInfo

WORKER = WorkerInfo("w", "host", 1, ("default",), ("work",), 1)
SECOND = 1_000_000_000


@pytest.fixture
def store() -> Iterator[MemoryStore]:
    store = MemoryStore("unit", allow_volatile=True)
    yield store
    store.close()


def total(store: MemoryStore) -> int:
    return store.session().run(store.engine.count(Filter(), ()))[0].count


def test_a_store_that_survives_nothing_must_be_wanted() -> None:
    with pytest.raises(VolatileStore, match=r"memory://here.*allow_volatile=True \(TREADLE_ALLOW_VOLATILE=1.*sqlite:///"):
        MemoryStore("here")


def test_two_stores_of_one_name_share_nothing(store: MemoryStore) -> None:
    other = MemoryStore("unit", allow_volatile=True)
    other.session().run(other.engine.enqueue([NewJob("a", "work")]))

    assert (total(other), total(store)) == (1, 0)


def test_what_an_operator_may_ask(store: MemoryStore) -> None:
    [finding] = store.doctor()

    assert store.location == "memory://unit#treadle"
    assert store.durability.startswith("D0")
    assert (finding.name, finding.level) == ("durability", "warning")
    assert "sqlite:///" in finding.message
    assert (store.migrate(), store.pending_migrations()) == ([], [])


def test_several_processes_are_refused(store: MemoryStore) -> None:
    store.guard_processes(1)
    with pytest.raises(CannotOpen, match="2 processes"):
        store.guard_processes(2)


def test_another_process_is_refused(store: MemoryStore) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # from 3.12 on, where the runner has threads of its own
        child = os.fork()
    if child == 0:
        try:
            store.session().run(store.engine.enqueue([NewJob("a", "work")]))
        except CannotOpen:
            os._exit(7)
        os._exit(0)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert total(store) == 0


def test_an_open_transaction_keeps_the_others_out(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms, "PATIENCE", 0.0)
    session, plan = store.session(), store.engine.enqueue([NewJob("a", "work")])

    with store.transaction():
        with pytest.raises(StoreBusy, match="memory://unit"):
            session.run(plan)
        with pytest.raises(StoreBusy):
            asyncio.run(session.arun(plan))

    assert session.run(plan)[0].state == "queued"


def test_an_awaiting_caller_leaves_the_loop_free(store: MemoryStore) -> None:
    """The transaction is ended by the same loop that waits for it: a blocked loop would never get there."""

    async def scene() -> int:
        transaction = store.transaction()
        transaction.__enter__()
        waiting = asyncio.ensure_future(store.session().arun(store.engine.enqueue([NewJob("a", "work")])))
        await asyncio.sleep(0)
        assert not waiting.done()
        transaction.__exit__(None, None, None)
        return len(await waiting)

    assert asyncio.run(scene()) == 1


def test_threads_take_turns(store: MemoryStore) -> None:
    def produce(name: str) -> None:
        for number in range(50):
            session.run(store.engine.enqueue([NewJob(f"{name}-{number}", "work")]))

    session = store.session()
    threads = [threading.Thread(target=produce, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert total(store) == 200


def raising(store: MemoryStore, job: str) -> Plan[None]:
    """A plan that stores a job and then fails."""

    def begin() -> Steps[None]:
        yield from store.engine.enqueue([NewJob(job, "work", edges=(Edge("first"),))]).begin()
        raise ZeroDivisionError

    return Plan("raising", begin)


def test_a_failed_plan_leaves_the_rest_of_the_users_transaction(store: MemoryStore) -> None:
    with store.transaction() as transaction:
        session = store.borrow(transaction)
        session.run(store.engine.enqueue([NewJob("first", "work")]))
        with pytest.raises(ZeroDivisionError):
            session.run(raising(store, "second"))
        session.run(store.engine.enqueue([NewJob("third", "work")]))

    assert set(store.tables.jobs) == {"first", "third"}
    assert store.tables.children == {}


def test_a_rolled_back_transaction_takes_back_what_was_committed_inside_it(store: MemoryStore) -> None:
    def scene() -> None:
        with store.transaction() as transaction:
            store.borrow(transaction).run(store.engine.enqueue([NewJob("a", "work")]))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        scene()

    assert (store.tables.jobs, store.tables.ready["default"]) == ({}, [])


def test_a_transaction_that_has_ended_lends_nothing(store: MemoryStore) -> None:
    with store.transaction() as transaction:
        session = store.borrow(transaction)

    with pytest.raises(NotTransactional):
        session.run(store.engine.enqueue([NewJob("a", "work")]))
    with pytest.raises(NotTransactional):
        store.borrow(transaction)


def test_another_stores_transaction_is_refused(store: MemoryStore) -> None:
    with MemoryStore("other", allow_volatile=True).transaction() as foreign, pytest.raises(NotTransactional):
        store.borrow(foreign)


class Clocks:
    """The two clocks of a machine, moved by hand."""

    def __init__(self) -> None:
        self.wall = 1_700_000_000 * SECOND
        self.steady = 5 * SECOND

    def time_ns(self) -> int:
        return self.wall

    def monotonic_ns(self) -> int:
        return self.steady


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    clocks = Clocks()
    monkeypatch.setattr(rooms, "time", clocks)
    return clocks


def test_a_step_of_the_wall_clock_ends_no_lease(store: MemoryStore, clocks: Clocks) -> None:
    session, engine = store.session(), store.engine
    session.run(engine.renew("L", 0, 30.0, worker=WORKER))
    clocks.wall += 86_400 * SECOND

    assert session.run(engine.rescue()) == []
    assert session.run(engine.leases())[0].expires_in == 30.0
    assert not session.run(engine.claim("L", [Want("default", 1, 1)], ["work"])).lost


def test_a_lease_ends_by_the_steady_clock(store: MemoryStore, clocks: Clocks) -> None:
    session, engine = store.session(), store.engine
    session.run(engine.renew("L", 0, 30.0, worker=WORKER))
    clocks.steady += 30 * SECOND

    assert session.run(engine.claim("L", [Want("default", 1, 1)], ["work"])).lost
    assert session.run(engine.renew("L", 1, 30.0)).lost


def test_due_times_follow_the_wall_clock(store: MemoryStore, clocks: Clocks) -> None:
    session, engine = store.session(), store.engine
    session.run(engine.enqueue([NewJob("a", "work", delay=10.0)]))
    clocks.steady += 100 * SECOND
    assert session.run(engine.promote()).queued == 0
    clocks.wall += 10 * SECOND

    assert session.run(engine.promote()).queued == 1


def test_a_named_time_overrides_both_clocks(store: MemoryStore, clocks: Clocks) -> None:
    session, engine = store.session(), store.engine
    session.run(engine.renew("L", 0, 30.0, worker=WORKER, now=1000))
    clocks.steady += 10 * SECOND

    assert session.run(engine.leases(now=1000))[0].expires_in == 30.0
    assert session.run(engine.leases())[0].expires_in == 20.0
    assert session.run(engine.claim("L", [Want("default", 1, 1)], ["work"], now=30_001_000)).lost


def test_a_busy_waiter_hears_nothing(store: MemoryStore) -> None:
    waiter = store.waiter(["queue:default"])
    waiter.idle(waiting=False)
    store.session().run(store.engine.enqueue([NewJob("a", "work")]))

    assert not waiter.wait(0.0)
    waiter.idle(waiting=True)
    assert not waiter.wait(0.0)
    waiter.close()


def test_a_closed_waiter_hears_nothing(store: MemoryStore) -> None:
    waiter = store.waiter(["queue:default"])
    waiter.close()
    store.session().run(store.engine.enqueue([NewJob("a", "work")]))

    assert not waiter.wait(0.0)


def test_closing_the_store_forgets_the_waiters(store: MemoryStore) -> None:
    waiter = store.waiter(["queue:default"])
    store.close()
    store.session().run(store.engine.enqueue([NewJob("a", "work")]))

    assert not waiter.wait(0.0)
    waiter.close()


def test_a_wake_that_comes_in_in_the_middle_of_another_waits_for_nobody(store: MemoryStore) -> None:
    waiter = store.waiter(["queue:a"])

    def topics() -> Iterator[str]:
        store.hub.wake(["queue:a"])
        yield "queue:b"

    outcome(lambda: store.hub.wake(topics()))
    assert waiter.wait(0)
    waiter.close()
