"""Wakes over a connection that comes and goes."""

import asyncio
from collections.abc import Callable

import pytest

from conformance.desk import Desk
from servers import valkey
from treadle import Filter, State, Treadle
from treadle.engine.redis import wake
from treadle.engine.redis.address import Address
from treadle.engine.redis.store import RedisStore
from treadle.model.job import Want, Witness
from treadle.model.outcome import Completed, Released
from treadle.worker.worker import Worker
from worker.serving import serve as serve_beside
from worker.serving import until

Serve = Callable[..., valkey.Valkey]
DeskAt = Callable[[RedisStore], Desk]
PATIENCE = 30.0


def test_a_waiter_that_lost_its_connection_counts_as_woken_and_hears_again(serve: Serve, desk_at: DeskAt) -> None:
    server = serve()
    store = RedisStore(server.address())
    desk = desk_at(store)
    waiter = store.waiter(["queue:default"])
    waiter.idle(True)
    server.kill()
    server.start()

    assert waiter.wait(PATIENCE)
    desk.add()
    assert waiter.wait(PATIENCE)
    waiter.close()


def test_a_listener_hears_again_after_the_server_came_back(serve: Serve, desk_at: DeskAt) -> None:
    server = serve()
    store = RedisStore(server.address())
    desk = desk_at(store)

    async def scene() -> None:
        called = asyncio.Event()
        waiter = store.waiter(["queue:default"])
        waiter.idle(True)
        waiter.listen(called.set)
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        await asyncio.wait_for(called.wait(), PATIENCE)
        called.clear()
        await asyncio.to_thread(desk.add)
        await asyncio.wait_for(called.wait(), PATIENCE)
        waiter.close()

    asyncio.run(scene())


def test_a_waiter_without_a_server_waits_in_vain_and_in_peace() -> None:
    store = RedisStore(Address(host="127.0.0.1", port=valkey.free_port(), timeout=1.0))
    waiter = store.waiter(["queue:default"])
    waiter.idle(True)
    assert not waiter.wait(0.0)
    assert not asyncio.run(waiter.await_(0.0))
    waiter.idle(False)
    waiter.close()


def test_a_topic_that_nobody_hears_is_forgotten(store: RedisStore, desk: Desk) -> None:
    server, tag = valkey.shared(), store.tag.decode()
    job = desk.add()
    waiters = [store.waiter(["queue:default"]), store.waiter([f"job:{job}"])]
    for waiter in waiters:
        waiter.idle(True)
        waiter.idle(False)
    assert server.ask("HLEN", f"{tag}:ears") == b":1\r\n"
    assert server.ask("HLEN", f"{tag}:ears:job") == b":1\r\n"

    desk.add()
    lease = desk.worker()
    [claimed] = desk.claim(lease, Want("default", 1, 1))
    desk.settle(lease, (claimed, Completed()))

    assert server.ask("HLEN", f"{tag}:ears") == b":0\r\n"
    assert server.ask("HLEN", f"{tag}:ears:job") == b":0\r\n"
    for waiter in waiters:
        waiter.close()


def test_nobody_listens_for_a_lease_that_is_over(store: RedisStore, desk: Desk) -> None:
    server, tag = valkey.shared(), store.tag.decode()
    lease = desk.worker()
    waiter = store.waiter([f"lease:{lease}"])
    waiter.idle(True)
    assert server.ask("HLEN", f"{tag}:ears") == b":1\r\n"

    desk.rescue(Witness(lease, "signal 9"))

    assert server.ask("HLEN", f"{tag}:ears") == b":0\r\n"
    waiter.close()


def test_a_waiter_declares_itself_to_a_full_server_and_hears(serve: Serve, desk_at: DeskAt) -> None:
    server = serve()
    store = RedisStore(server.address())
    desk = desk_at(store)
    lease = desk.worker()
    desk.add()
    [claimed] = desk.claim(lease, Want("default", 1, 1))
    server.ask("CONFIG", "SET", "maxmemory", "1")
    assert server.ask("SET", "any", "thing").startswith(b"-OOM")
    waiter = store.waiter(["queue:default", f"job:{claimed.id}"])

    waiter.idle(True)

    tag = store.tag.decode()
    assert server.ask("HEXISTS", f"{tag}:ears", "queue:default") == b":1\r\n"
    assert server.ask("HEXISTS", f"{tag}:ears:job", f"job:{claimed.id}") == b":1\r\n"
    desk.settle(lease, (claimed, Released()))
    assert waiter.wait(PATIENCE)
    waiter.close()


@pytest.mark.parametrize("listens_first", [True, False])
def test_a_listener_whose_declaration_was_refused_tries_again(
    store: RedisStore, desk: Desk, listens_first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wake, "_AGAIN", 0.05)
    server, ears = valkey.shared(), store.tag.decode() + ":ears"
    desk.add()
    waiter = store.waiter(["queue:default"])

    async def scene() -> None:
        called = asyncio.Event()
        server.ask("SET", ears, "what no field can be written to")
        if listens_first:
            waiter.listen(called.set)
        waiter.idle(True)
        if not listens_first:
            waiter.listen(called.set)
        await asyncio.to_thread(server.ask, "DEL", ears)
        await asyncio.wait_for(called.wait(), PATIENCE)  # something may have been missed
        called.clear()
        await asyncio.to_thread(desk.add)
        await asyncio.wait_for(called.wait(), PATIENCE)
        waiter.close()

    asyncio.run(scene())


@pytest.mark.parametrize("loss", ["forgotten", "refused"])
def test_an_idle_listener_that_says_so_again_is_written_down_again(
    store: RedisStore, desk: Desk, loss: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wake, "_AGAIN", 0.05)
    monkeypatch.setattr(wake, "_RENEWAL", 0.0)
    server, ears = valkey.shared(), store.tag.decode() + ":ears"
    desk.add()

    async def scene() -> None:
        called = asyncio.Event()
        waiter = store.waiter(["queue:default"])
        waiter.listen(called.set)
        waiter.idle(True)
        server.ask("DEL", ears)
        if loss == "refused":
            server.ask("SET", ears, "what no field can be written to")
        waiter.idle(True)
        if loss == "refused":
            await until(lambda: waiter._dialled is None)
            server.ask("DEL", ears)
        await until(lambda: server.ask("HEXISTS", ears, "queue:default") == b":1\r\n")
        called.clear()
        await asyncio.to_thread(desk.add)
        await asyncio.wait_for(called.wait(), PATIENCE)
        waiter.idle(True)
        waiter.idle(False)
        waiter.idle(True)
        assert waiter._declared
        waiter.close()

    asyncio.run(scene())


def test_a_listener_whose_slot_has_moved_is_heard_again_where_it_comes_back(
    serve: Serve, desk_at: DeskAt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wake, "_AGAIN", 0.05)
    bus = str(valkey.free_port())  # by itself it would be ten thousand above, where there may be no port
    server = serve(cluster_enabled="yes", cluster_require_full_coverage="no", cluster_port=bus)
    server.ask("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
    store = RedisStore(server.address())
    slot = server.ask("CLUSTER", "KEYSLOT", store.tag.decode()).decode().strip(":\r\n")

    async def scene() -> None:
        await until(lambda: b"cluster_state:ok" in server.ask("CLUSTER", "INFO"))
        desk = desk_at(store)
        await asyncio.to_thread(desk.add)
        called = asyncio.Event()
        waiter = store.waiter(["queue:default"])
        waiter.listen(called.set)
        waiter.idle(True)
        server.ask("CLUSTER", "DELSLOTS", slot)
        await until(lambda: waiter._dialled is None)
        server.ask("CLUSTER", "ADDSLOTS", slot)
        await asyncio.wait_for(called.wait(), PATIENCE)
        called.clear()
        await asyncio.to_thread(desk.add)
        await asyncio.wait_for(called.wait(), PATIENCE)
        waiter.close()

    asyncio.run(scene())


def test_a_full_server_drains_by_wakes_where_each_job_frees_the_slot_of_the_next(serve: Serve) -> None:
    server = serve()
    app = Treadle(server.url)
    slot = app.limit("slot", concurrency=2)

    @app.task(name="work", limits=[slot], ordered_by="account")
    async def work(account: str) -> None:
        pass

    app.enqueue_many([work.call(account) for account in "abcde" for _ in range(4)])
    server.ask("CONFIG", "SET", "maxmemory", "1")

    async def drained() -> bool:
        counts = await app.client.acount(Filter(states=[State.COMPLETED]))
        return sum(each.count for each in counts) == 20

    async def scene(_: Worker) -> None:
        await until(drained)

    assert serve_beside(app, scene, poll=3600.0) == 0
    app.close()
