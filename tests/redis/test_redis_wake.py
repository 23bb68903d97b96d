"""Wakes over a connection that comes and goes."""

import asyncio
from collections.abc import Callable

from conformance.desk import Desk
from servers import valkey
from treadle.engine.redis.address import Address
from treadle.engine.redis.store import RedisStore
from treadle.model.job import Want
from treadle.model.outcome import Completed

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
