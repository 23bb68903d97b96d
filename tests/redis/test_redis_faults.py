"""What a server may do to us: forget the scripts, run full, stop answering, die, come back, or come back as an older self."""

import asyncio
import os
import signal
import threading
from collections.abc import Callable

import pytest

from conformance.desk import START, Desk
from faults.waiting import until
from servers.proxy import Proxy
from servers.valkey import Valkey
from treadle.cli.main import run as treadle
from treadle.engine.plan import together
from treadle.engine.redis.address import Address
from treadle.engine.redis.store import RedisStore
from treadle.model.errors import StoreBusy, StoreError
from treadle.model.filter import Filter
from treadle.model.job import Stored, Want
from treadle.model.outcome import Completed, Retrying, Settlement, Verdict
from treadle.model.state import State

Serve = Callable[..., Valkey]
DeskAt = Callable[[RedisStore], Desk]


def test_forgotten_scripts_are_loaded_again(serve: Serve, desk_at: DeskAt) -> None:
    server = serve()
    desk = desk_at(RedisStore(server.address()))
    lease = desk.worker()
    for _ in range(3):
        job = desk.add()
        server.ask("SCRIPT", "FLUSH")
        claimed = desk.claim_one(lease, job)
        server.ask("SCRIPT", "FLUSH")
        assert desk.finish(lease, claimed).state is State.COMPLETED


def test_scripts_forgotten_under_load_lose_nothing(serve: Serve, desk_at: DeskAt) -> None:
    server = serve()
    store = RedisStore(server.address())
    over = threading.Event()

    def flush() -> None:
        while not over.wait(0.001):
            server.ask("SCRIPT", "FLUSH")

    async def produce() -> int:
        session = store.session()
        desk = Desk(desk_at(store).bench, lambda plan: plan)
        batches = [[desk.new() for _ in range(10)] for _ in range(60)]
        answers = await asyncio.gather(*(session.arun(store.engine.enqueue(batch)) for batch in batches))
        session.close()
        return sum(each.verdict is Stored.STORED for answer in answers for each in answer)

    flusher = threading.Thread(target=flush)
    flusher.start()
    try:
        stored = asyncio.run(produce())
    finally:
        over.set()
        flusher.join()
    assert stored == 600
    assert len(desk_at(store).find()) == 600


def test_a_full_server_refuses_an_enqueue_and_lets_workers_settle(serve: Serve, desk_at: DeskAt) -> None:
    server = serve(maxmemory="8mb")
    desk = desk_at(RedisStore(server.address()))
    lease = desk.worker()
    desk.add()
    [claimed] = desk.claim(lease)

    def fill() -> None:
        for _ in range(100):
            desk.enqueue(*(desk.new(args='{"a": "' + "x" * 10_000 + '"}') for _ in range(100)))

    with pytest.raises(StoreBusy, match="memory is full"):
        fill()
    before = desk.run(desk.engine.count(Filter(), ()))

    assert desk.settle(lease, (claimed, Completed("1"))) == [Verdict.DONE]
    assert desk.claim(lease, Want("default", 1, 1))
    assert desk.run(desk.engine.count(Filter(), ()))[0].count == before[0].count
    tends = RedisStore(server.address()).tend()
    assert tends is not None
    assert "Raise maxmemory" in tends
    assert "redis://" not in tends, "who says it says where"


def test_a_full_server_takes_jobs_again_after_the_cure_that_its_refusal_names(
    serve: Serve, desk_at: DeskAt, capsys: pytest.CaptureFixture[str]
) -> None:
    server = serve(maxmemory="8mb")
    store = RedisStore(server.address())
    desk = desk_at(store)
    lease = desk.worker()
    bulky = '{"a": "' + "x" * 10_000 + '"}'

    def fill() -> None:
        for _ in range(100):
            desk.enqueue(*(desk.new(args=bulky) for _ in range(50)))

    def used() -> int:
        return RedisStore(server.address()).standing().used

    with pytest.raises(StoreBusy, match="treadle prune --keep 0"):
        fill()
    full = used()
    while claimed := desk.claim(lease):
        assert set(desk.settle(lease, *((each, Completed(bulky)) for each in claimed))) == {Verdict.DONE}
    assert used() > full  # their arguments are still there, and results beside them
    with pytest.raises(StoreBusy, match="memory is full"):
        desk.add()
    told = [check.message for check in store.doctor() if check.name == "memory"] + [store.tend() or ""]
    assert all("treadle prune --keep 0" in each for each in told)

    assert treadle(["prune", "--keep", "0", "--yes", "--url", server.url]) == 0
    assert "pruned" in capsys.readouterr().out
    assert desk.add()
    assert used() < full / 2


def test_a_server_that_hangs_does_not_hang_the_caller(serve: Serve, desk_at: DeskAt) -> None:
    server = serve()
    store = RedisStore(server.address(timeout=1.0))
    desk = desk_at(store)
    desk.add()
    session = store.session()
    plan = desk.engine.count(Filter())

    async def ask() -> object:
        return await session.arun(plan)

    assert asyncio.run(ask())
    assert server.process is not None
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        with pytest.raises(StoreBusy, match="no answer in time"):
            desk.run(plan)
        with pytest.raises(StoreError):
            asyncio.run(ask())
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
    assert desk.run(plan)
    assert asyncio.run(ask())
    session.close()


def test_a_server_killed_under_load_keeps_what_it_acknowledged(serve: Serve, desk_at: DeskAt) -> None:
    server = serve(appendfsync="always")
    store = RedisStore(server.address())
    acknowledged: list[str] = []
    enough, over = threading.Event(), threading.Event()

    def produce() -> None:
        desk = desk_at(store)
        while not over.is_set():
            [answer] = desk.enqueue(desk.new())
            assert answer.verdict in (Stored.STORED, Stored.ALREADY)  # it was there already when the answer was lost
            acknowledged.append(answer.id)
            if len(acknowledged) % 50 == 0:
                enough.set()

    producer = threading.Thread(target=produce)
    producer.start()
    try:
        for _ in range(3):
            enough.clear()
            assert enough.wait(30)
            server.kill()
            server.start()
    finally:
        over.set()
        producer.join()
    assert {job.id for job in desk_at(store).find()} == set(acknowledged)


def test_a_claim_whose_answer_was_lost_is_answered_again_with_the_same_jobs(serve: Serve, desk_at: DeskAt) -> None:
    server = serve()
    proxy = Proxy(("127.0.0.1", server.port))
    try:
        desk = desk_at(RedisStore(Address(host="127.0.0.1", port=proxy.port, timeout=30.0)))
        lease = desk.worker()
        first, second = desk.add(), desk.add()
        [claimed] = desk.claim(lease, Want("default", 1, 1))
        assert claimed.id == first
        ending = Settlement(claimed.ref, claimed.id, claimed.attempt, Retrying(60.0, "{}"), 0.1)
        proxy.lose_reply(lambda data: b"claim" in data)

        verdicts, claims = desk.run(
            together(
                desk.engine.settle(lease, [ending], now=desk.now),
                desk.engine.claim(lease, [Want("default", 5, 5)], ["work"], now=desk.now),
            )
        )

        assert proxy.lost_replies == 1
        assert verdicts == [Verdict.DONE]
        assert [(each.id, each.attempt) for each in claims.jobs] == [(second, 1)]
        assert desk.job(first).failures == 1
    finally:
        proxy.close()


def test_no_fence_holds_twice_after_a_replica_that_lagged_was_promoted(serve: Serve, desk_at: DeskAt) -> None:
    """What only the lost primary knew is handed out again: the same numbers, attempts and leases' places for other jobs."""
    primary = serve()
    link = Proxy(("127.0.0.1", primary.port))
    replica = serve(replicaof=f"127.0.0.1 {link.port}")
    old = desk_at(RedisStore(primary.address()))
    kept = old.worker("kept")
    until(lambda: replica.ask("HEXISTS", "{treadle}:leases", kept) == b":1\r\n", "the replica knows the lease")
    link.freeze()
    lost_job = old.add()
    lost_lease = old.worker("lost")
    [by_kept] = old.claim(kept)
    old_twin = old.add()
    [by_lost] = old.claim(lost_lease)
    primary.kill()
    link.close()
    replica.ask("REPLICAOF", "NO", "ONE")

    new = desk_at(RedisStore(replica.address()))
    new.now = START + 1  # no moment comes twice
    other = [new.add(id=f"other-{n}") for n in range(2)]
    fresh = new.worker("fresh")
    mine = new.claim(kept, Want("default", 1, 1))
    theirs = new.claim(fresh, Want("default", 1, 1))

    numbers = [each.ref[0] for each in (mine[0], theirs[0], by_kept, by_lost) if isinstance(each.ref, tuple)]
    assert numbers[:2] == numbers[2:]
    assert len(numbers) == 4
    assert new.settle(kept, (by_kept, Completed("stale"))) == [Verdict.LOST]
    assert new.settle(lost_lease, (by_lost, Completed("stale"))) == [Verdict.LOST]
    assert new.settle(fresh, (by_lost, Completed("stale"))) == [Verdict.LOST]
    assert new.find(ids=[lost_job, old_twin]) == []
    assert new.states(*other) == [State.RUNNING] * 2
    assert new.settle(kept, (mine[0], Completed("own"))) == [Verdict.DONE]
