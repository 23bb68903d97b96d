"""Sessions: many tasks on one connection, forks, large batches, confirmations, and keys that stay where they belong."""

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from conformance.desk import DEATH, SECOND, Desk
from faults.between import come_in, outcome
from servers import valkey
from treadle.engine.redis import store as opening
from treadle.engine.redis.address import Address
from treadle.engine.redis.errand import Errand
from treadle.engine.redis.link import Link
from treadle.engine.redis.session import RedisSession
from treadle.engine.redis.steps import converse
from treadle.engine.redis.store import RedisStore
from treadle.engine.session import Durability
from treadle.model.errors import CannotOpen, StoreBusy
from treadle.model.filter import Cancel, Erase, Filter, Page, Resolve, Retention
from treadle.model.flow import Hold, Idempotency, Ordering, Unique
from treadle.model.job import Edge, NewJob, Stored, Want, Witness
from treadle.model.outcome import Completed, Verdict
from treadle.model.record import Space, Write
from treadle.model.state import State

Serve = Callable[..., valkey.Valkey]
DeskAt = Callable[[RedisStore], Desk]


def test_many_tasks_share_a_connection_and_each_hears_its_own_answer(store: RedisStore, desk: Desk) -> None:
    async def scene() -> None:
        session = store.session()
        jobs = [desk.new() for _ in range(50)]
        answers = await asyncio.gather(*(session.arun(store.engine.enqueue([job])) for job in jobs))
        assert [answer[0].id for answer in answers] == [job.id for job in jobs]
        session.close()

    asyncio.run(scene())


def test_a_cancelled_caller_leaves_the_others_their_answers(store: RedisStore, desk: Desk) -> None:
    async def scene() -> None:
        session = store.session()
        await session.arun(store.engine.count(Filter()))
        jobs = [desk.new() for _ in range(6)]
        tasks = [asyncio.ensure_future(session.arun(store.engine.enqueue([job]))) for job in jobs]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert [answer[0].id for answer in answers[1::2] if not isinstance(answer, BaseException)] == [
            job.id for job in jobs[1::2]
        ]
        assert (await session.arun(store.engine.enqueue([jobs[0]])))[0].verdict in (Stored.ALREADY, Stored.STORED)
        session.close()

    asyncio.run(scene())


def test_one_session_serves_loops_and_threads_side_by_side(store: RedisStore, desk: Desk) -> None:
    session = store.session()

    def in_a_loop(_: int) -> None:
        async def scene() -> None:
            for _ in range(5):
                await session.arun(store.engine.enqueue([desk.new()]))

        asyncio.run(scene())

    def in_a_thread(_: int) -> None:
        for _ in range(5):
            session.run(store.engine.enqueue([desk.new()]))

    with ThreadPoolExecutor(8) as pool:
        both = [pool.submit(kind, i) for i in range(4) for kind in (in_a_loop, in_a_thread)]
        for each in both:
            each.result()
    session.close()
    assert len(desk.find()) == 40


def test_a_fork_opens_its_own_connection(store: RedisStore, desk: Desk) -> None:
    desk.add()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            desk.run(store.engine.enqueue([desk.new(id="from-the-child")]))
            code = 0
        finally:
            os._exit(code)
    for _ in range(20):
        desk.add()
    assert os.waitpid(child, 0)[1] == 0
    assert desk.state("from-the-child") is State.QUEUED
    assert len(desk.find()) == 22


def test_a_batch_larger_than_lua_can_hold_at_once(store: RedisStore, desk: Desk) -> None:
    """Lua's stack takes 8,000 values: every list is cut before it is handed on."""
    count = 12_000
    lease = desk.worker()
    parent = desk.add(queue="first")
    answers = desk.enqueue(*(desk.new(edges=(Edge(parent),) if i % 3 == 0 else ()) for i in range(count)))
    assert {answer.verdict for answer in answers} == {Stored.STORED}
    [first] = desk.claim(lease, Want("first", 1, 1))
    assert desk.settle(lease, (first, Completed())) == [Verdict.DONE]

    claims = desk.claim(lease, Want("default", count, count))
    assert len(claims) == count
    assert desk.settle(lease, *((each, Completed("1")) for each in claims[: count // 2])) == [Verdict.DONE] * (count // 2)
    assert desk.settle(lease, *((each, DEATH) for each in claims[count // 2 :])) == [Verdict.DONE] * (count // 2)
    assert [each.count for each in desk.run(store.engine.count(Filter()))] == [count // 2 + 1, count // 2]
    assert len(desk.find(page=Page(limit=count + 1))) == count + 1
    assert sum(each.done for each in desk.alter(Filter(status="open"), Resolve(), limit=count)) == count // 2
    desk.later(10)
    assert desk.run(store.engine.prune(Retention(completed=1.0, dead=1.0), limit=count * 2, now=desk.now)) == count + 1


def test_a_cancelled_backlog_does_not_stay_in_the_lines(store: RedisStore, desk: Desk) -> None:
    lease = desk.worker()
    jobs = [each.id for each in desk.enqueue(*(desk.new() for _ in range(5_000)))]
    assert len(desk.alter(Filter(ids=jobs[1:-1]), Cancel(), limit=5_000)) == 4_998
    server = valkey.shared()
    line = f"{store.tag.decode()}:l:default\n0\nn\nwork"
    assert int(server.ask("LLEN", line)[1:-2]) < 2_000
    assert [each.id for each in desk.claim(lease)] == [jobs[0], jobs[-1]]
    assert server.ask("EXISTS", line) == b":0\r\n"


def test_nothing_is_left_of_jobs_that_were_removed_and_no_key_lies_outside_the_slot(serve: Serve, desk_at: DeskAt) -> None:
    server = serve()
    desk = desk_at(RedisStore(server.address(), namespace="jobs"))
    lease = desk.worker(length=60.0)
    parent = desk.add(tags=("a",), key="k")
    desk.child(parent, delay=5.0)
    desk.add(start_within=1.0)
    desk.add(delay=3.0)
    desk.add(priority=7, queue="other", max_crashes=1)
    for claimed in desk.claim(lease, Want("default", 1, 1), Want("other", 1, 1)):
        desk.settle(lease, (claimed, DEATH))
    desk.later(30)
    desk.promote()
    desk.claim(lease)
    desk.later(60)
    desk.rescue()
    desk.alter(Filter(), Erase(), limit=100)
    desk.promote()
    desk.claim(desk.worker(length=1.0))
    desk.later(SECOND)
    desk.rescue()
    assert desk.find() == []

    names = {line for line in server.ask("KEYS", "*").decode().split("\r\n") if line.startswith("{") or ":" in line}
    assert {name for name in names if not name.startswith("{jobs}:")} == set()
    assert names <= {"{jobs}:meta", "{jobs}:audit", "{jobs}:f:6", "{jobs}:stale"}


def test_nothing_is_left_of_gated_jobs_and_of_tenants(serve: Serve, desk_at: DeskAt) -> None:
    server = serve()
    desk = desk_at(RedisStore(server.address(), namespace="jobs"))
    desk.limit("api", rate=2, per=10)
    desk.limit("exact", rate=5, per=10, strict=True)
    desk.limit("db", concurrency=1)
    lease = desk.worker(length=10_000.0)
    holds = (Hold("api"), Hold("exact", "k"), Hold("db", "k"))
    for i in range(8):
        unique, asked = Unique(f"u{i}"), Idempotency(f"i{i}", "d", 1.0)
        desk.add(holds=holds, ordering=Ordering("o"), fair=f"t{i % 2}", unique=unique, idempotency=asked)
    assert len(desk.started(lease, 100.0)) == 8
    desk.later(100)
    desk.alter(Filter(), Erase(), limit=100)
    desk.rescue(Witness(lease, ""))
    desk.prune_all()
    desk.write(*(Write(Space.LIMIT, name, None) for name in ("api", "exact", "db")))

    names = {line for line in server.ask("KEYS", "*").decode().split("\r\n") if line.startswith("{")}
    expiring = {name for name in names if int(server.ask("PTTL", name)[1:-2]) > 0}
    assert {name.partition("\n")[0] for name in expiring} <= {"{jobs}:log:exact"}
    left = {name.partition("\n")[0] for name in names - expiring}
    assert left <= {"{jobs}:meta", "{jobs}:audit", "{jobs}:f:6", "{jobs}:stale", "{jobs}:tenants:default"}


def test_a_write_that_no_replica_confirms_is_an_error_unless_it_may_be_lost(serve: Serve) -> None:
    server = serve(appendfsync="always")
    store = RedisStore(server.address(timeout=1.0), replicas=1)
    session = store.session()
    assert session.run(store.engine.enqueue([NewJob("relaxed", "work")]), Durability.RELAXED)[0].verdict is Stored.STORED
    said = r"carried out, but too few replicas have confirmed it: 0 in 0\.8 s, where \?replicas=1 .* asks for 1\."
    with pytest.raises(StoreBusy, match=said):
        session.run(store.engine.enqueue([NewJob("strict", "work")]))
    [durability] = [check for check in store.doctor() if check.name == "durability"]
    assert durability.level == "error"
    assert "But 0 run, where ?replicas=1 in the URL asks for 1" in durability.message
    assert session.run(store.engine.count(Filter()))[0].count == 2
    session.close()


@pytest.mark.parametrize(
    ("reply", "missing"),
    [
        ([0, 2], "but the server's own disk, full or slow, has not confirmed it in 0.8 s. What was asked is done"),
        ([1, 1], "but too few replicas have confirmed it: 1 in 0.8 s, where ?replicas=2 in the URL asks for 2"),
        (1, "but too few replicas have confirmed it: 1 in 0.8 s, where ?replicas=2 in the URL asks for 2"),
        ([0, 0], "confirmed it in 0.8 s, and too few replicas have confirmed it: 0 in 0.8 s"),
    ],
)
def test_what_is_not_confirmed_is_said(reply: Any, missing: str) -> None:
    store = RedisStore(Address(timeout=1.0), replicas=2)
    errand = Errand(store, next(converse(store.engine.enqueue([NewJob("a", "work")]))), Durability.DEFAULT, 0)
    with pytest.raises(StoreBusy) as told:
        errand.answered([[b""], reply])
    assert missing in str(told.value)
    assert ("replicas" in str(told.value)) is (reply != [0, 2])


def test_claims_under_way_at_once_are_each_answered_again_with_their_own_jobs(
    store: RedisStore, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker has two, and one connection may break under both: the answer of the first was forgotten with the second."""
    lease = desk.worker()
    desk.add(), desk.add()
    carried: list[Errand] = []
    carry = RedisSession._acarry

    async def spied(session: RedisSession, errand: Errand) -> Any:
        carried.append(errand)
        return await carry(session, errand)

    async def scene() -> list[str]:
        session = store.session()
        plans = (store.engine.claim(lease, [Want("default", 1, 1)], ["work"], now=desk.now) for _ in range(2))
        claims = await asyncio.gather(*map(session.arun, plans))
        session.close()
        return [each.id for claim in claims for each in claim.jobs]

    monkeypatch.setattr(RedisSession, "_acarry", spied)
    jobs = asyncio.run(scene())
    link = Link(store.dial(carried[0].deadline))
    for errand in carried:
        answer = errand.answered(link.request(*errand.payload(), errand.deadline))
        assert answer is not None
        assert answer.replies is not None
        assert [job for job in jobs if job.encode() in answer.replies[0]] == [jobs[carried.index(errand)]]
    link.close()


def test_a_replica_confirms(serve: Serve) -> None:
    primary = serve(appendfsync="always")
    serve(appendfsync="always", replicaof=f"127.0.0.1 {primary.port}")
    store = RedisStore(primary.address(), replicas=1)
    session = store.session()
    assert session.run(store.engine.enqueue([NewJob("a", "work")]))[0].verdict is Stored.STORED
    assert store.durability.startswith("D3")
    assert [check.level for check in store.doctor() if check.name == "durability"] == ["ok"]
    session.close()


def test_a_call_that_comes_in_in_the_middle_of_another_takes_a_connection_of_its_own(
    store: RedisStore, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal's handler and a finalizer come in anywhere: they waited for the session that their own thread had."""
    session = store.session()
    come_in(monkeypatch, Link, "request", lambda: session.run(store.engine.enqueue([desk.new(id="inner")])))
    [answer] = outcome(lambda: session.run(store.engine.enqueue([desk.new(id="outer")])))
    assert answer.verdict is Stored.STORED
    assert sorted(job.id for job in desk.find()) == ["inner", "outer"]
    session.close()


def test_a_call_that_comes_in_while_its_thread_examines_the_server_waits_for_nobody(
    store: RedisStore, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = store.session(), store.session()
    come_in(monkeypatch, opening, "examine_server", lambda: two.run(store.engine.enqueue([desk.new(id="inner")])))
    outcome(lambda: one.run(store.engine.enqueue([desk.new(id="outer")])))
    assert sorted(job.id for job in desk.find()) == ["inner", "outer"]
    one.close()
    two.close()


def test_loops_that_end_while_another_looks_for_ended_ones_break_nothing(
    store: RedisStore, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads that each ran one call on a loop of its own got a KeyError, or were told of a dictionary that had changed."""
    session = store.session()
    assert isinstance(session, RedisSession)

    async def ask() -> None:
        await session.arun(store.engine.count(Filter()))

    ended = [asyncio.new_event_loop() for _ in range(2)]
    for loop in ended:
        loop.run_until_complete(ask())
    for loop in ended:
        loop.close()
    come_in(monkeypatch, ended[0], "is_closed", lambda: outcome(lambda: asyncio.run(ask())))
    asyncio.run(ask())
    assert not session._streams.keys() & set(ended)
    session.close()


def test_loops_that_never_reached_the_server_are_not_kept() -> None:
    store = RedisStore(Address(host="127.0.0.1", port=valkey.free_port()))
    session = store.session()
    assert isinstance(session, RedisSession)

    async def ask() -> None:
        with pytest.raises(CannotOpen):
            await session.arun(store.engine.count(Filter()))

    for _ in range(5):
        asyncio.run(ask())
    assert len(session._dialling) == 1
    session.close()
    assert not session._dialling


@pytest.mark.parametrize("elsewhere", [False, True], ids=["here", "in another thread"])
def test_a_close_lets_calls_under_way_end(store: RedisStore, desk: Desk, elsewhere: bool) -> None:
    """Tasks that waited for their answers were told that the server is busy, and that only when their time was over."""
    session = store.session()
    assert isinstance(session, RedisSession)

    async def scene() -> None:
        await session.arun(store.engine.enqueue([desk.new()]))  # the server knows the script: who has to send it dials anew
        [stream] = session._streams.values()
        jobs = [desk.new() for _ in range(6)]
        tasks = [asyncio.ensure_future(session.arun(store.engine.enqueue([job]))) for job in jobs]
        await asyncio.sleep(0)
        assert len(stream._waiting) == 6
        if elsewhere:
            closing = threading.Thread(target=session.close)
            closing.start()
            closing.join()
        else:
            session.close()
        answers = await asyncio.gather(*tasks)
        assert [answer[0].verdict for answer in answers] == [Stored.STORED] * 6
        assert stream._hung_up
        assert not session._streams

    asyncio.run(scene())
