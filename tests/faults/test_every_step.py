"""Every verb, broken before and after each of its steps: nothing has happened, nobody is woken, it can be done again."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from conformance.desk import DEATH, Desk
from conformance.engines import ENGINES
from conformance.test_wakes import SCENES, Scene, named
from conformance.ways import PAIRS, WAYS, blocking
from treadle.engine.plan import Plan, Steps, together
from treadle.model.filter import Annotate, Axis, Cancel, Erase, Filter, Page, Replay, Resolve, Retention
from treadle.model.flow import Hold, Idempotency, OnConflict, Ordering, Rule, Unique
from treadle.model.job import Claimed, Edge, OnDead, Want, Witness
from treadle.model.outcome import (
    Cancelled,
    Completed,
    Crashed,
    Expired,
    Note,
    NoteKind,
    Outcome,
    Released,
    Retrying,
    Settlement,
    Snoozed,
    throttle_name,
)
from treadle.model.record import Guard, Space, Write

OUTCOMES: list[Outcome] = [
    Completed("1"),
    Retrying(1.0, "{}"),
    Snoozed(1.0),
    Released(),
    Released(5.0),
    DEATH,
    Cancelled("no"),
    Crashed("signal 9", 1.0),
    Expired(),
]
MOST_STEPS = 200


class Broken(Exception):
    """The fault that the test puts in."""


def broken(plan: Plan[Any], at: int, *, after: bool) -> Plan[Any]:
    """The plan, failing before or after its step number `at`; whole when it has fewer steps."""

    def begin() -> Steps[Any]:
        steps = plan.begin()
        place = 0
        try:
            step = next(steps)
            while True:
                if place == at and not after:
                    raise Broken
                rows = yield step
                if place == at:
                    raise Broken
                place += 1
                step = steps.send(rows)
        except StopIteration as stop:
            return stop.value
        finally:
            steps.close()

    return Plan(plan.name, begin)


@contextmanager
def desk_for(engine: str, folder: Path) -> Iterator[Desk]:
    folder.mkdir()
    with ENGINES[engine](folder) as bench, blocking(bench) as run:
        yield Desk(bench, run)


def enqueue_plain(desk: Desk) -> Plan[Any]:
    known = desk.new()
    desk.enqueue(known)
    jobs = [desk.new(), known, desk.new(delay=5.0, tags=("a", "b")), desk.new(start_within=5.0)]
    return desk.engine.enqueue(jobs, now=desk.now)


def enqueue_with_edges(desk: Desk) -> Plan[Any]:
    dead, live = desk.add(), desk.add(queue="beside")
    desk.run_once(dead, DEATH)
    parent = desk.new(edges=(Edge(dead, OnDead.CANCEL),), tags=("a",))
    jobs = [
        desk.new(edges=(Edge(parent.id, OnDead.RUN), Edge(live))),
        parent,
        desk.new(edges=(Edge(parent.id),)),
        desk.new(guard=Guard(Write(Space.SCHEDULE, "s", "1", 0))),
    ]
    return desk.engine.enqueue(jobs, now=desk.now)


def claim(desk: Desk) -> Plan[Any]:
    for queue in ("red", "red", "blue"):
        desk.add(queue=queue)
    return desk.engine.claim(desk.worker(), [Want("red", 2, 3), Want("blue", 1, 3)], ["work"], suspects=1, now=desk.now)


def family(desk: Desk) -> tuple[str, list[Settlement]]:
    """Running jobs, one for each outcome, with children below."""
    jobs = [desk.add() for _ in OUTCOMES]
    for job in jobs:
        for on_dead in OnDead:
            desk.child(desk.child(job, on_dead=on_dead, queue="below"), on_dead=OnDead.RUN, queue="below")
    lease = desk.worker()
    claims = desk.claim(lease)
    return lease, [Settlement(c.ref, c.id, c.attempt, o, 0.1) for c, o in zip(claims, OUTCOMES, strict=True)]


def settle(desk: Desk) -> Plan[Any]:
    lease, settlements = family(desk)
    return desk.engine.settle(lease, settlements, now=desk.now)


def settle_and_claim(desk: Desk) -> Plan[Any]:
    lease, settlements = family(desk)
    return together(
        desk.engine.settle(lease, settlements, now=desk.now),
        desk.engine.claim(lease, [Want("below", 9, 9)], ["work"], now=desk.now),
    )


GATED: dict[str, Any] = {"holds": (Hold("few"), Hold("paced", "key")), "ordering": Ordering("line"), "fair": "tenant"}


def gated_jobs(desk: Desk) -> tuple[str, list[Claimed]]:
    """Running jobs of one key, with others that wait at it and behind them in a line."""
    desk.limit("few", concurrency=2)
    desk.limit("paced", rate=5, per=60, strict=True)
    for number in range(6):
        desk.add(holds=GATED["holds"], ordering=Ordering(f"line {number % 3}"), fair=f"t{number % 2}")
    lease = desk.worker()
    claimed = desk.claim(lease)
    assert len(claimed) == 2
    return lease, claimed


def enqueue_gated(desk: Desk) -> Plan[Any]:
    unique = Unique("key", on_conflict=OnConflict.REPLACE)
    old = desk.add(unique=unique, **GATED)
    desk.child(old, on_dead=OnDead.RUN)
    desk.add(fair="other")
    jobs = [
        desk.new(unique=unique, idempotency=Idempotency("request", "1", 60.0), **GATED),
        desk.new(unique=unique, **GATED),
        desk.new(idempotency=Idempotency("request", "2", 60.0)),
        desk.new(),
    ]
    return desk.engine.enqueue(jobs, now=desk.now)


def claim_gated(desk: Desk) -> Plan[Any]:
    gated_jobs(desk)
    for tenant in ("a", "b"):
        desk.add(fair=tenant)
        desk.add(holds=(Hold("paced", "key"),))
    return desk.engine.claim(desk.worker(), [Want("default", 9, 9)], ["work"], gated=9, now=desk.now)


def settle_gated(desk: Desk) -> Plan[Any]:
    lease, claims = gated_jobs(desk)
    outcomes = (Completed(), Retrying(1.0, "{}"))
    settlements = [Settlement(c.ref, c.id, c.attempt, o, 0.1) for c, o in zip(claims, outcomes, strict=True)]
    return desk.engine.settle(lease, settlements, now=desk.now)


def throttle(desk: Desk) -> Plan[Any]:
    lease, [first, _] = gated_jobs(desk)
    note = Note(first.ref, first.id, first.attempt, NoteKind.THROTTLE, throttle_name("few"), "5")
    return together(
        desk.engine.note(lease, [note], now=desk.now),
        desk.engine.write([Write(Space.LIMIT, "few", Rule(concurrency=4).to_text())], now=desk.now),
    )


def promote_gated(desk: Desk) -> Plan[Any]:
    gated_jobs(desk)
    desk.limit("few", concurrency=4)
    desk.add(delay=1.0, **GATED)
    desk.later(61)
    return desk.engine.promote(now=desk.now)


def erase_gated(desk: Desk) -> Plan[Any]:
    gated_jobs(desk)
    return desk.engine.alter(Filter(), Erase(), actor="ada", now=desk.now)


def renew(desk: Desk) -> Plan[Any]:
    return desk.engine.renew("L", 0, 30.0, worker=desk.info(), now=desk.now)


def extend(desk: Desk) -> Plan[Any]:
    job = desk.add()
    lease = desk.worker(length=30.0)
    desk.claim_one(lease, job)
    desk.alter_one(job, Cancel())
    desk.later(5)
    return desk.engine.renew(lease, 1, 30.0, now=desk.now)


def note(desk: Desk) -> Plan[Any]:
    desk.add()
    lease = desk.worker()
    [claimed] = desk.claim(lease)
    notes = [Note(claimed.ref, claimed.id, claimed.attempt, kind, "n", "1") for kind in NoteKind]
    return desk.engine.note(lease, notes, now=desk.now)


def promote(desk: Desk) -> Plan[Any]:
    for seconds in (1.0, 2.0):
        desk.add(delay=seconds)
        late = desk.add(start_within=seconds)
        desk.child(late, on_dead=OnDead.RUN, queue="below")
        desk.child(late, on_dead=OnDead.CANCEL, queue="below")
    desk.later(5)
    return desk.engine.promote(now=desk.now)


def rescue(desk: Desk) -> Plan[Any]:
    jobs = [desk.add(max_crashes=crashes) for crashes in (1, 3, 3)]
    desk.child(jobs[0], on_dead=OnDead.RUN, queue="below")
    lease, seen = desk.worker(length=5.0), desk.worker()
    desk.claim(lease)
    desk.alter_one(jobs[2], Cancel("no"))
    desk.add()
    desk.claim(seen)
    desk.later(5)
    return desk.engine.rescue([Witness(seen, "signal 9")], now=desk.now)


def prune(desk: Desk) -> Plan[Any]:
    lease, settlements = family(desk)
    desk.run(desk.engine.settle(lease, settlements, now=desk.now))
    desk.alter(Filter(status="open"), Resolve())
    desk.later(10)
    desk.alter(Filter(queues=["below"]), Cancel())
    desk.later(10)
    return desk.engine.prune(Retention(completed=1.0, cancelled=1.0, expired=1.0, dead=1.0), now=desk.now)


def altering(change: Any) -> Callable[[Desk], Plan[Any]]:
    def alter(desk: Desk) -> Plan[Any]:
        lease, settlements = family(desk)
        desk.run(desk.engine.settle(lease, settlements, now=desk.now))
        desk.add(tags=("a",))
        return desk.engine.alter(Filter(), change, actor="ada", now=desk.now)

    alter.__name__ = type(change).__name__.lower()
    return alter


def write(desk: Desk) -> Plan[Any]:
    desk.run(desk.engine.write([Write(Space.PAUSED, "red", "{}")]))
    writes = [Write(Space.PAUSED, "red", None), Write(Space.SCHEDULE, "s", "1"), Write(Space.SCHEDULE, "s", "2", 1)]
    return desk.engine.write(writes, now=desk.now)


def look(desk: Desk) -> Plan[Any]:
    family(desk)
    return together(
        desk.engine.find(Filter(), Page(details=True)),
        desk.engine.count(Filter(), list(Axis)),
        desk.engine.read(Space.PAUSED),
        desk.engine.leases(now=desk.now),
    )


PLANS: list[Callable[[Desk], Plan[Any]]] = [
    enqueue_plain,
    enqueue_with_edges,
    enqueue_gated,
    claim_gated,
    settle_gated,
    throttle,
    promote_gated,
    erase_gated,
    claim,
    settle,
    settle_and_claim,
    renew,
    extend,
    note,
    promote,
    rescue,
    prune,
    *(altering(change) for change in (Cancel("no"), Replay(delay=1.0), Replay(), Resolve(), Annotate("n"), Erase())),
    write,
    look,
]


@pytest.mark.parametrize("make", PLANS, ids=lambda make: make.__name__)
@pytest.mark.parametrize(("engine", "way"), PAIRS)
def test_a_plan_that_fails_at_any_step_has_done_nothing_and_works_again(
    engine: str, way: str, make: Callable[[Desk], Plan[Any]], tmp_path: Path
) -> None:
    with (
        desk_for(engine, tmp_path / "faulty") as desk,
        desk_for(engine, tmp_path / "whole") as whole,
        WAYS[way](desk.bench) as run,
    ):
        plan = make(desk)
        before = desk.snapshot()
        for at in range(MOST_STEPS):
            try:
                answer = run(broken(plan, at, after=False))
                break
            except Broken:
                assert desk.snapshot() == before
            with pytest.raises(Broken):
                run(broken(plan, at, after=True))
            assert desk.snapshot() == before

        assert at > 0
        assert answer == whole.run(make(whole))
        assert desk.snapshot() == whole.snapshot()


@pytest.mark.parametrize("scene", SCENES, ids=named)
@pytest.mark.parametrize("engine", ENGINES)
def test_a_plan_that_fails_wakes_nobody(engine: str, scene: Scene, tmp_path: Path) -> None:
    with desk_for(engine, tmp_path / "store") as desk:
        topic, plan = scene(desk)
        waiter = desk.bench.store.waiter([topic])
        try:
            waiter.idle(True)
            for at in range(MOST_STEPS):
                try:
                    desk.run(broken(plan, at, after=True))
                    break
                except Broken:
                    assert not waiter.wait(0.0)
            assert waiter.wait(10.0)
        finally:
            waiter.close()
