"""A borrowed session: the user's transaction decides, and what is expected never poisons it."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance.desk import Bench, Desk
from conformance.engines import ENGINES, TRANSACTIONAL
from conformance.test_wakes import SCENES, Scene, named
from treadle.engine.plan import together
from treadle.model.errors import NotTransactional
from treadle.model.filter import Cancel, Filter, Page, Retention
from treadle.model.job import Edge, Stored, Want
from treadle.model.outcome import Completed, Settlement, Verdict
from treadle.model.record import Guard, Space, Write
from treadle.model.state import State


@pytest.fixture(params=TRANSACTIONAL)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    with ENGINES[request.param](tmp_path) as bench:
        yield bench


class Undone(Exception):
    """The user changes their mind."""


def test_a_commit_keeps_what_the_plans_did(bench: Bench, plain_desk: Desk) -> None:
    first, second = plain_desk.new(), plain_desk.new()
    with bench.transaction() as connection:
        session = bench.store.borrow(connection)
        session.run(plain_desk.engine.enqueue([first], now=plain_desk.now))
        session.run(plain_desk.engine.enqueue([second], now=plain_desk.now))

    assert plain_desk.states(first.id, second.id) == [State.QUEUED] * 2


def test_a_rollback_leaves_nothing(bench: Bench, plain_desk: Desk) -> None:
    engine, now = plain_desk.engine, plain_desk.now
    held = plain_desk.add()
    parent = plain_desk.add(queue="beside")
    plain_desk.child(parent)
    lease = plain_desk.worker()
    claimed = plain_desk.claim_one(lease, held)
    settlement = Settlement(claimed.ref, claimed.id, claimed.attempt, Completed("1"), 0.1)
    guarded = plain_desk.new(guard=Guard(Write(Space.SCHEDULE, "s", "1", 0)))
    before = plain_desk.snapshot()

    def everything_then_nothing() -> None:
        with bench.transaction() as connection:
            session = bench.store.borrow(connection)
            assert session.run(engine.settle(lease, [settlement], now=now)) == [Verdict.DONE]
            assert session.run(engine.enqueue([guarded, plain_desk.new(edges=(Edge(parent),))], now=now))
            assert session.run(engine.claim(lease, [Want("beside", 1, 1)], ["work"], now=now)).jobs
            assert session.run(engine.renew("other", 0, 5.0, worker=plain_desk.info(), now=now)).lost is False
            assert session.run(engine.alter(Filter(states=[State.BLOCKED]), Cancel(), actor="ada", now=now))
            assert session.run(engine.write([Write(Space.PAUSED, "default", "{}")], now=now))
            session.run(engine.rescue(now=now + 10**12))
            session.run(engine.promote(now=now + 10**12))
            session.run(engine.prune(Retention(completed=0.0), now=now + 10**12))
            raise Undone

    with pytest.raises(Undone):
        everything_then_nothing()

    assert plain_desk.snapshot() == before


def test_plans_see_each_other_before_the_commit(bench: Bench, plain_desk: Desk) -> None:
    job = plain_desk.new()
    with bench.transaction() as connection:
        session = bench.store.borrow(connection)
        session.run(plain_desk.engine.enqueue([job], now=plain_desk.now))
        [total] = session.run(plain_desk.engine.count(Filter(), ()))

    assert total.count == 1


def test_what_is_expected_does_not_poison_the_transaction(bench: Bench, plain_desk: Desk) -> None:
    engine, now = plain_desk.engine, plain_desk.now
    known = plain_desk.new()
    plain_desk.enqueue(known)
    kept = plain_desk.new()
    with bench.transaction() as connection:
        session = bench.store.borrow(connection)
        assert session.run(engine.enqueue([known], now=now))[0].verdict is Stored.ALREADY
        guard = Guard(Write(Space.SCHEDULE, "s", "1", 9))
        assert session.run(engine.enqueue([plain_desk.new(guard=guard)], now=now))[0].verdict is Stored.GUARDED
        orphan = plain_desk.new(edges=(Edge("nobody"),))
        assert session.run(engine.enqueue([orphan], now=now))[0].verdict is Stored.UNKNOWN_PARENT
        assert session.run(engine.claim("nobody", [Want("default", 1, 1)], ["work"], now=now)).lost
        lost = Settlement(known.id, known.id, 1, Completed(), 0.1)
        assert session.run(engine.settle("nobody", [lost], now=now)) == [Verdict.LOST]
        assert not session.run(engine.write([Write(Space.SCHEDULE, "s", "1", 9)], now=now))[0].done
        session.run(engine.enqueue([kept], now=now))

    assert [job.id for job in plain_desk.find()] == [known.id, kept.id]


def test_a_completion_inside_the_transaction_is_found_by_the_worker(bench: Bench, plain_desk: Desk) -> None:
    job = plain_desk.add()
    child = plain_desk.child(job)
    lease = plain_desk.worker()
    claimed = plain_desk.claim_one(lease, job)
    settlement = Settlement(claimed.ref, claimed.id, claimed.attempt, Completed('"mine"'), 0.1)
    with bench.transaction() as connection:
        session = bench.store.borrow(connection)
        assert session.run(plain_desk.engine.settle(lease, [settlement], now=plain_desk.now)) == [Verdict.DONE]

    assert plain_desk.settle(lease, (claimed, Completed('"worker\'s"'))) == [Verdict.ALREADY]
    assert plain_desk.job(job).result == '"mine"'
    assert plain_desk.state(child) is State.QUEUED


def test_several_plans_in_one(bench: Bench, plain_desk: Desk) -> None:
    job = plain_desk.new()
    engine, now = plain_desk.engine, plain_desk.now
    with bench.transaction() as connection:
        plan = together(engine.enqueue([job], now=now), engine.find(Filter(ids=[job.id]), Page()))
        [[answer], [found]] = bench.store.borrow(connection).run(plan)

    assert (answer.id, found.id) == (job.id, job.id)


def test_the_awaitable_twin(bench: Bench, plain_desk: Desk) -> None:
    job = plain_desk.new()

    async def scene() -> None:
        with bench.transaction() as connection:
            await bench.store.borrow(connection).arun(plain_desk.engine.enqueue([job], now=plain_desk.now))

    asyncio.run(scene())
    assert plain_desk.state(job.id) is State.QUEUED


def test_what_is_no_connection_of_this_store_is_refused(bench: Bench) -> None:
    with pytest.raises(NotTransactional):
        bench.store.borrow(object())
    with pytest.raises(NotTransactional):
        bench.store.borrow(None)


@pytest.mark.parametrize("scene", SCENES, ids=named)
def test_a_borrowed_session_wakes_nobody(plain_desk: Desk, scene: Scene) -> None:
    topic, plan = scene(plain_desk)
    waiter = plain_desk.bench.store.waiter([topic, "queue:sentinel"])
    try:
        waiter.idle(True)
        with plain_desk.bench.transaction() as connection:
            plain_desk.bench.store.borrow(connection).run(plan)

        assert not waiter.wait(0.0)
    finally:
        waiter.close()
