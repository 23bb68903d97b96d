"""Wakes: who hears of what, only after the commit, and never from a borrowed session."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from conformance.desk import DEATH, Bench, Desk
from treadle.engine.plan import Plan, together
from treadle.engine.session import Waiter
from treadle.model.filter import Cancel, Erase, Filter, Replay, Resolve
from treadle.model.flow import Hold, OnConflict, Ordering, Unique
from treadle.model.job import Edge, JobId, OnDead, Want, Witness
from treadle.model.outcome import Completed, Outcome, Released, Settlement
from treadle.model.record import Space, Write

PATIENCE = 10.0
"""Seconds to wait for a wake that must come."""

Scene = Callable[[Desk], tuple[str, Plan[object]]]
"""Sets the stage; returns a topic, and the plan that must wake it."""


def queued(desk: Desk) -> tuple[str, Plan[object]]:
    return "queue:red", desk.engine.enqueue([desk.new(queue="red")], now=desk.now)


def born_cancelled(desk: Desk) -> tuple[str, Plan[object]]:
    bad = desk.add()
    desk.alter_one(bad, Cancel())
    child = desk.new(edges=(Edge(bad),))
    return f"job:{child.id}", desk.engine.enqueue([child], now=desk.now)


def completed(desk: Desk) -> tuple[str, Plan[object]]:
    job = desk.add()
    return f"job:{job}", ending(desk, job, Completed())


def died(desk: Desk) -> tuple[str, Plan[object]]:
    job = desk.add()
    return f"job:{job}", ending(desk, job, DEATH)


def released(desk: Desk) -> tuple[str, Plan[object]]:
    return "queue:default", ending(desk, desk.add(), Released())


def freed(desk: Desk) -> tuple[str, Plan[object]]:
    parent = desk.add()
    desk.child(parent, queue="red")
    return "queue:red", ending(desk, parent, Completed())


def taken_along(desk: Desk) -> tuple[str, Plan[object]]:
    parent = desk.add()
    child = desk.child(parent, on_dead=OnDead.CANCEL)
    return f"job:{child}", ending(desk, parent, DEATH)


def promoted(desk: Desk) -> tuple[str, Plan[object]]:
    desk.add(queue="red", delay=1.0)
    desk.later(1)
    return "queue:red", desk.engine.promote(now=desk.now)


def expired(desk: Desk) -> tuple[str, Plan[object]]:
    job = desk.add(start_within=1.0)
    desk.later(2)
    return f"job:{job}", desk.engine.promote(now=desk.now)


def lost(desk: Desk) -> tuple[str, Plan[object]]:
    job = desk.add(max_crashes=1)
    desk.claim_one(desk.worker(length=1.0), job)
    desk.later(1)
    return f"job:{job}", desk.engine.rescue(now=desk.now)


def cancelled(desk: Desk) -> tuple[str, Plan[object]]:
    job = desk.add()
    return f"job:{job}", desk.engine.alter(Filter(ids=[job]), Cancel(), actor="ada", now=desk.now)


def asked_to_stop(desk: Desk) -> tuple[str, Plan[object]]:
    job = desk.add()
    lease = desk.worker()
    desk.claim_one(lease, job)
    return f"lease:{lease}", desk.engine.alter(Filter(ids=[job]), Cancel(), actor="ada", now=desk.now)


def replayed(desk: Desk) -> tuple[str, Plan[object]]:
    job = desk.add(queue="red")
    desk.alter_one(job, Cancel())
    return "queue:red", desk.engine.alter(Filter(ids=[job]), Replay(), actor="ada", now=desk.now)


def resolved(desk: Desk) -> tuple[str, Plan[object]]:
    parent = desk.add()
    child = desk.child(parent)
    desk.run_once(parent, DEATH)
    return f"job:{child}", desk.engine.alter(Filter(ids=[parent]), Resolve(), actor="ada", now=desk.now)


def erased(desk: Desk) -> tuple[str, Plan[object]]:
    job = desk.add()
    return f"job:{job}", desk.engine.alter(Filter(ids=[job]), Erase(), actor="ada", now=desk.now)


def resumed(desk: Desk) -> tuple[str, Plan[object]]:
    desk.run(desk.engine.write([Write(Space.PAUSED, "red", "{}")]))
    return "queue:red", desk.engine.write([Write(Space.PAUSED, "red", None)], now=desk.now)


def second_of_two(desk: Desk) -> tuple[str, Plan[object]]:
    first = desk.engine.enqueue([desk.new(queue="blue")], now=desk.now)
    return "queue:red", together(first, desk.engine.enqueue([desk.new(queue="red")], now=desk.now))


def ending(desk: Desk, job: JobId, outcome: Outcome) -> Plan[object]:
    lease = desk.worker()
    claimed = desk.claim_one(lease, job)
    settlement = Settlement(claimed.ref, job, claimed.attempt, outcome, 0.1)
    return desk.engine.settle(lease, [settlement], now=desk.now)


def in_the_way(desk: Desk, **options: Any) -> JobId:
    """A running job that another of the queue `red` waits for."""
    desk.limit("few", concurrency=1)
    first = desk.add(queue="blue", **options)
    desk.claim(desk.worker(), Want("blue", 1, 1))
    desk.add(queue="red", **options)
    assert desk.claim(desk.worker(), Want("red", 1, 1)) == []
    return first


def slot_freed(desk: Desk) -> tuple[str, Plan[object]]:
    claimed = desk.claims[in_the_way(desk, holds=(Hold("few"),))]
    lease = desk.job(claimed.id).lease or ""
    settlement = Settlement(claimed.ref, claimed.id, claimed.attempt, Completed(), 0.1)
    return "queue:red", desk.engine.settle(lease, [settlement], now=desk.now)


def turn_come(desk: Desk) -> tuple[str, Plan[object]]:
    claimed = desk.claims[in_the_way(desk, ordering=Ordering("line"), max_crashes=1)]
    return "queue:red", desk.engine.rescue([Witness(desk.job(claimed.id).lease or "", "")], delay=0.0, now=desk.now)


def spared(desk: Desk) -> tuple[str, Plan[object]]:
    desk.add(queue="red")
    lease = desk.worker()
    desk.claim(lease, Want("red", 1, 1))
    return "queue:red", desk.engine.rescue([Witness(lease, "exit 70", spared=True)], now=desk.now)


def limit_raised(desk: Desk) -> tuple[str, Plan[object]]:
    in_the_way(desk, holds=(Hold("few"),))
    desk.limit("few", concurrency=2)
    return "queue:red", desk.engine.promote(now=desk.now)


def replaced(desk: Desk) -> tuple[str, Plan[object]]:
    unique = Unique("key", on_conflict=OnConflict.REPLACE)
    old = desk.add(unique=unique)
    return f"job:{old}", desk.engine.enqueue([desk.new(unique=unique)], now=desk.now)


SCENES: list[Scene] = [
    queued,
    born_cancelled,
    completed,
    died,
    released,
    freed,
    taken_along,
    promoted,
    expired,
    lost,
    cancelled,
    asked_to_stop,
    replayed,
    resolved,
    erased,
    resumed,
    slot_freed,
    turn_come,
    spared,
    limit_raised,
    replaced,
    second_of_two,
]


def named(scene: Scene) -> str:
    return scene.__name__


@pytest.mark.parametrize("scene", SCENES, ids=named)
def test_a_waiter_hears_of_it(plain_desk: Desk, scene: Scene) -> None:
    topic, plan = scene(plain_desk)
    waiter = plain_desk.bench.store.waiter([topic, "queue:nobody"])
    try:
        waiter.idle(True)
        assert not waiter.wait(0.0)

        plain_desk.run(plan)

        assert waiter.wait(PATIENCE)
    finally:
        waiter.close()


def test_a_waiter_that_sleeps_is_woken_from_another_thread(bench: Bench, plain_desk: Desk) -> None:
    """The wait begins before the wake, in a loop whose session does its work in another thread."""

    async def scene(waiter: Waiter) -> bool:
        sleeping = asyncio.ensure_future(waiter.await_(PATIENCE))
        await asyncio.sleep(0)
        await asyncio.to_thread(plain_desk.add, queue="red")
        return await sleeping

    waiter = bench.store.waiter(["queue:red"])
    try:
        waiter.idle(True)
        assert asyncio.run(scene(waiter))
    finally:
        waiter.close()


def test_a_wake_between_the_declaration_and_the_wait_is_kept(bench: Bench, plain_desk: Desk) -> None:
    waiter = bench.store.waiter(["queue:red"])
    try:
        waiter.idle(True)
        plain_desk.add(queue="red")

        assert asyncio.run(waiter.await_(PATIENCE))
        assert not waiter.wait(0.0)
    finally:
        waiter.close()


def test_another_topic_wakes_nobody(bench: Bench, plain_desk: Desk) -> None:
    waiter = bench.store.waiter(["queue:red"])
    try:
        waiter.idle(True)
        plain_desk.add(queue="blue")
        assert not waiter.wait(0.0)
        assert not asyncio.run(waiter.await_(0.0))
    finally:
        waiter.close()


def test_all_who_wait_for_a_topic_are_woken(bench: Bench, plain_desk: Desk) -> None:
    waiters = [bench.store.waiter(["queue:red"]) for _ in range(3)]
    try:
        for waiter in waiters:
            waiter.idle(True)
        plain_desk.add(queue="red")
        assert [waiter.wait(PATIENCE) for waiter in waiters] == [True] * 3
    finally:
        for waiter in waiters:
            waiter.close()


def test_a_waiter_may_declare_itself_idle_again(bench: Bench, plain_desk: Desk) -> None:
    waiter = bench.store.waiter(["queue:red"])
    try:
        for _ in range(3):
            waiter.idle(True)
            plain_desk.add(queue="red")
            assert waiter.wait(PATIENCE)
            waiter.idle(False)
    finally:
        waiter.close()


def test_saying_again_that_one_is_idle_loses_no_wake(bench: Bench, plain_desk: Desk) -> None:
    waiter = bench.store.waiter(["queue:red"])
    try:
        waiter.idle(True)
        waiter.idle(True)
        plain_desk.add(queue="red")
        waiter.idle(True)
        assert waiter.wait(PATIENCE)
    finally:
        waiter.close()


def test_a_listener_is_called_on_its_loop_for_each_wake(bench: Bench, plain_desk: Desk) -> None:
    waiter = bench.store.waiter(["queue:default"])
    waiter.idle(True)

    async def scene() -> None:
        for _ in range(3):
            called = asyncio.Event()
            waiter.listen(called.set)
            plain_desk.add(queue="default")
            await asyncio.wait_for(called.wait(), 10)
        waiter.close()

    asyncio.run(scene())
