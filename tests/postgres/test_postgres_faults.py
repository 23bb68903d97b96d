"""What only PostgreSQL can suffer: a full disk under its tables, and a snapshot that somebody holds."""

import os
import pwd
import secrets
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from faults.calls import all_claimed, claimed, declared, lease_of, stored
from servers.ground import Ground, on_postgres
from servers.postgres import Postgres
from treadle import StoreError, Treadle
from treadle.model.filter import Axis, Filter, Retention
from treadle.model.outcome import Completed, Settlement, Verdict
from treadle.model.state import State

BULKY = secrets.token_hex(5000)
"""Not to be compressed by much."""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with on_postgres(tmp_path_factory.mktemp("postgres")) as ground:
        yield ground


@pytest.fixture
def small_disk(own: Ground) -> Iterator[Path]:
    """A file system of 24 MB, on which the tables of a new database lie; the server's log lies elsewhere."""
    assert isinstance(own.server, Postgres)
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    folder = own.server.folder / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)], capture_output=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"this machine does not let root mount: {mounted.stderr.decode()}")
    nobody = pwd.getpwnam("nobody")
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    try:
        own.server.ask(f"CREATE TABLESPACE small LOCATION '{folder}'")
        own.server.ask("CREATE DATABASE cramped TABLESPACE small")
        own.database = "cramped"
        own.migrate()
        yield folder
        own.server.ask("DROP DATABASE cramped WITH (FORCE)")
        own.server.ask("DROP TABLESPACE small")
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def until_refused(store: Callable[[], object]) -> tuple[int, str]:
    """Store until that is refused; how often it was not, and what the refusal says."""
    for count in range(1000):
        try:
            store()
        except StoreError as error:
            return count, str(error)
    raise AssertionError("there was room for everything")


def test_a_full_disk_refuses_whole_and_heals(own: Ground, small_disk: Path) -> None:
    app = Treadle(own.url(timeout=10))
    keep = declared(app)
    try:
        lease = lease_of(app)
        count = len(app.enqueue_many([keep.call(BULKY) for _ in range(20)]))
        held = claimed(app, lease, 5)
        for size in (50, 1):
            more, told = until_refused(lambda: app.enqueue_many([keep.call(BULKY) for _ in range(size)]))  # noqa: B023
            assert "the server's disk is full. Nothing was changed" in told
            count += more * size
            assert stored(app) == count
        subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
        app.enqueue_many([keep.call(BULKY) for _ in range(50)])
        assert stored(app) == count + 50
        engine, run = app.connection.engine, app.connection.run
        ends = [Settlement(each.ref, each.id, each.attempt, Completed("1"), 0.1) for each in held]
        assert run(engine.settle(lease, ends)) == [Verdict.DONE] * 5
        problems = [check for check in app.store.doctor() if check.level == "error"]
        assert not problems, problems
    finally:
        app.close()


def test_a_snapshot_that_is_held_hides_nothing_from_workers(own: Ground) -> None:
    own.begin_anew()
    app = Treadle(own.url(timeout=10))
    keep = declared(app)
    try:
        engine, run, lease = app.connection.engine, app.connection.run, lease_of(app)
        app.enqueue_many([keep.call("before") for _ in range(500)])
        with psycopg.connect(own.direct) as holder:
            holder.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            before = holder.execute("SELECT count(*) FROM treadle.live").fetchone()
            done = 0
            for _ in range(10):
                app.enqueue_many([keep.call("meanwhile") for _ in range(100)])
                held = all_claimed(app, lease, 150)
                told = [Settlement(each.ref, each.id, each.attempt, Completed("1"), 0.1) for each in held]
                assert set(run(engine.settle(lease, told))) == {Verdict.DONE}
                done += len(held)
            assert holder.execute("SELECT count(*) FROM treadle.live").fetchone() == before == (500,)
            assert done == 1500
            while run(engine.prune(Retention(completed=0.0, completed_count=0))):
                pass
        counted = run(engine.count(Filter(), (Axis.STATE,)))
        assert sum(each.count for each in counted if each.key != (State.COMPLETED,)) == 0
    finally:
        app.close()
