"""Behind a pooler that lends connections by the transaction: told apart, said aloud, and everything but listening works."""

from collections.abc import Iterator

import psycopg
import pytest

from conformance.desk import Bench, Desk
from conformance.ways import awaited, blocking
from servers.pooler import Pooler
from servers.postgres import USER, shared
from treadle.engine.postgres.place import Settings, address
from treadle.engine.postgres.store import PostgresStore
from treadle.engine.session import Durability
from treadle.model.outcome import Completed, Retrying
from treadle.model.state import State


@pytest.fixture(params=[1, 3])
def pooled(request: pytest.FixtureRequest) -> Iterator[PostgresStore]:
    server = shared()
    with server.lent() as database:
        pooler = Pooler(server.port, USER, database, request.param)
        url = f"postgresql://{USER}@127.0.0.1:{pooler.port}/{database}"
        store = PostgresStore(address(url, ()), settings=Settings(timeout=20.0))
        yield store
        store.close()
        pooler.close()


def test_it_is_told_apart_and_said(pooled: PostgresStore, caplog: pytest.LogCaptureFixture) -> None:
    assert pooled.pooled()
    assert "lends connections by the transaction" in caplog.text
    [check] = [check for check in pooled.doctor() if check.name == "pooler"]
    assert check.level == "warning"


def test_a_server_without_a_pooler_is_none(store: PostgresStore) -> None:
    assert not store.pooled()


@pytest.mark.parametrize("way", [blocking, awaited])
def test_jobs_run_behind_it(pooled: PostgresStore, way: type) -> None:
    bench = Bench(pooled, lambda: pytest.fail("not lent here"), list)
    with way(bench) as run:
        desk = Desk(bench, run)
        first, second = desk.add(), desk.add(tags=("a",), delay=1.0)
        child = desk.child(first)
        lease = desk.worker()
        claimed = desk.claim_one(lease, first)
        desk.finish(lease, claimed, Retrying(1.0, "{}"))
        desk.later(1)
        assert desk.promote().queued == 2
        for each in desk.claim(lease):
            desk.finish(lease, each, Completed("1"))
        assert desk.states(first, second, child) == [State.COMPLETED, State.COMPLETED, State.QUEUED]


def test_a_relaxed_plan_leaves_nothing_behind_on_the_shared_connection(pooled: PostgresStore) -> None:
    session = pooled.session()
    desk = Desk(Bench(pooled, lambda: pytest.fail("not lent here"), list), session.run)
    session.run(pooled.engine.enqueue([desk.new()]), Durability.RELAXED)
    with psycopg.connect(pooled.location) as connection:
        for name, usual in (("synchronous_commit", "on"), ("statement_timeout", "0"), ("plan_cache_mode", "auto")):
            assert connection.execute(f"SHOW {name}".encode()).fetchone() == (usual,)
    session.close()


def test_whoever_waits_behind_it_polls(pooled: PostgresStore) -> None:
    waiter = pooled.waiter(["queue:default"])
    waiter.idle(True)
    assert not waiter.wait(0.0)
    waiter.close()
