"""The server has done it, and its answer is lost: nothing is done twice, and nothing stays where nobody knows of it."""

import asyncio
from typing import Any

from faults.calls import all_claimed, claimed, declared, lease_of, stored
from servers.ground import Ground
from treadle import StoreError, Treadle
from treadle.engine.plan import together
from treadle.model.filter import Axis, Filter, Page
from treadle.model.job import Want
from treadle.model.outcome import Completed, Retrying, Settlement, Verdict
from treadle.model.state import State


def test_an_enqueue_is_repeated_and_stored_once(ground: Ground, app: Treadle) -> None:
    keep, before = declared(app), ground.proxy.lost_replies
    keep.enqueue("before")
    ground.proxy.lose_reply(lambda data: b"one by one" in data)
    first = keep.enqueue("one by one")
    ground.proxy.lose_reply(lambda data: b"in a batch" in data)
    many = app.enqueue_many([keep.call("in a batch") for _ in range(50)])

    async def awaited() -> Any:
        ground.proxy.lose_reply(lambda data: b"awaited" in data)
        return await keep.aenqueue("awaited")

    second = asyncio.run(awaited())
    assert ground.proxy.lost_replies == before + 3
    assert [job.state() for job in (first, second, many[0])] == [State.QUEUED] * 3
    assert stored(app) == 53


def test_what_a_lost_claim_took_comes_into_the_hands_of_its_worker(ground: Ground, app: Treadle) -> None:
    keep = declared(app)
    lease = lease_of(app)
    wanted = {job.id for job in app.enqueue_many([keep.call("work") for _ in range(20)])}
    assert [each.attempt for each in claimed(app, lease, 0)] == []
    ground.proxy.lose_reply(lambda data: lease.encode() in data)
    before = ground.proxy.lost_replies
    claimed(app, lease, 15)
    held = all_claimed(app, lease, 20)
    assert ground.proxy.lost_replies == before + 1
    assert sorted(each.id for each in held) == sorted(wanted)
    assert {each.attempt for each in held} == {1}
    connection = app.connection
    told = [Settlement(each.ref, each.id, each.attempt, Completed("1"), 0.1) for each in held]
    assert connection.run(connection.engine.settle(lease, told)) == [Verdict.DONE] * 20


def test_what_a_claim_took_that_arrived_late_comes_into_the_hands_of_its_worker(ground: Ground, app: Treadle) -> None:
    keep = declared(app)
    lease = lease_of(app)
    wanted = {job.id for job in app.enqueue_many([keep.call("work") for _ in range(20)])}
    ground.proxy.freeze()
    assert claimed(app, lease, 15) == []
    ground.proxy.pass_()
    held = all_claimed(app, lease, 20)
    assert {each.id for each in held} == wanted
    assert {each.attempt for each in held} == {1}


def test_what_was_settled_without_an_answer_stays_as_it_was_settled(ground: Ground, app: Treadle) -> None:
    keep = declared(app)
    lease, engine, run = lease_of(app), app.connection.engine, app.connection.run
    app.enqueue_many([keep.call("work") for _ in range(10)])
    first, second, *others = claimed(app, lease, 10)
    ground.proxy.lose_reply(lambda data: b"the result" in data)
    verdicts = run(engine.settle(lease, [Settlement(each.ref, each.id, 1, Completed('"the result"'), 0.1) for each in others]))
    assert set(verdicts) <= {Verdict.DONE, Verdict.ALREADY}
    # An outcome that leaves the job alive is not told apart from a lost lease: the store has it, the worker lets go of it.
    ground.proxy.lose_reply(lambda data: b"the error" in data)
    [verdict] = run(engine.settle(lease, [Settlement(first.ref, first.id, 1, Retrying(60.0, '{"m": "the error"}'), 0.1)]))
    assert verdict in (Verdict.DONE, Verdict.LOST)
    counted = {each.key[0]: each.count for each in run(engine.count(Filter(), (Axis.STATE,)))}
    assert counted == {State.COMPLETED: 8, State.RETRYING: 1, State.RUNNING: 1}
    assert run(engine.find(Filter(ids=[first.id]), Page()))[0].failures == 1
    assert run(engine.settle(lease, [Settlement(second.ref, second.id, 1, Completed("1"), 0.1)])) == [Verdict.DONE]


def test_an_exchange_whose_answer_is_lost_is_settled_once_and_claims_once(ground: Ground, app: Treadle) -> None:
    keep = declared(app)
    lease, engine, run = lease_of(app), app.connection.engine, app.connection.run
    jobs = [job.id for job in app.enqueue_many([keep.call("work") for _ in range(20)])]
    first = claimed(app, lease, 10)
    told = [Settlement(each.ref, each.id, 1, Completed('"told"'), 0.1) for each in first]
    ground.proxy.lose_reply(lambda data: b"told" in data)
    plan = together(engine.settle(lease, told), engine.claim(lease, [Want("default", 10, 10)], ["keep"]))
    try:
        verdicts, claims = run(plan)
        held = claims.jobs
    except StoreError:
        verdicts, held = run(engine.settle(lease, told)), []
    assert set(verdicts) <= {Verdict.DONE, Verdict.ALREADY}
    found = all_claimed(app, lease, 10)
    assert {each.id for each in held} <= {each.id for each in found} == set(jobs[10:])
    assert {each.attempt for each in found} == {1}
    [mine] = run(engine.leases())
    assert mine.running == 10
