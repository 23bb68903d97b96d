"""What only PostgreSQL can suffer: a full disk, a snapshot that somebody holds, all its ways to say no, and saying nothing."""

import asyncio
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
from treadle import CannotOpen, StoreError, Treadle
from treadle.cli.main import run as treadle
from treadle.engine.plan import Plan
from treadle.engine.postgres.statements import compiled
from treadle.engine.postgres.steps import Ask
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
        usual, own.database = own.database, "cramped"
        own.migrate()
        yield folder
        own.database = usual
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


@pytest.fixture
def guarded(own: Ground) -> Iterator[Callable[[str], str]]:
    """The URL for a user of a server that asks `ada` for a password, and `tess` for an encrypted connection; `few` is many."""
    assert isinstance(own.server, Postgres)
    file = own.server.data / "pg_hba.conf"
    before = file.read_text()
    rules = "host all ada 127.0.0.1/32 scram-sha-256\nhostssl all tess all trust\nhost all tess,stranger all reject\n"
    file.write_text(rules + before)
    for role in ("ada LOGIN PASSWORD 'right'", "tess LOGIN", "stranger LOGIN", "few LOGIN CONNECTION LIMIT 0"):
        own.server.ask(f"CREATE ROLE {role}")
    own.server.ask("SELECT pg_reload_conf()")
    yield lambda who: f"postgresql://{who}127.0.0.1:{own.server.port}/"
    file.write_text(before)
    own.server.ask("SELECT pg_reload_conf()")
    for role in ("ada", "tess", "stranger", "few"):
        own.server.ask(f"DROP ROLE {role}")


@pytest.mark.parametrize(
    ("who", "database", "cure"),
    [
        ("ada:wr0ng@", "postgres", "Correct the user and the password"),
        ("ada@", "postgres", "Correct the user and the password"),
        ("tess@", "postgres?sslmode=disable", "Set ?sslmode="),
        ("treadle@", "postgres?sslmode=require", "Set ?sslmode="),
        ("stranger@", "postgres", "pg_hba.conf"),
        ("few@", "postgres", "Raise max_connections"),
        ("treadle@", "nowhere", "Create the database"),
        ("nobody@", "postgres", "Correct the user in the URL"),
        ("", "postgres?host=127.0.0.1&port=1", "See that the server runs there"),
    ],
)
def test_a_server_that_does_not_let_us_in_is_one_line_with_its_cure(
    guarded: Callable[[str], str], capsys: pytest.CaptureFixture[str], who: str, database: str, cure: str
) -> None:
    url = guarded(who) + database
    app = Treadle(url)
    keep = declared(app)
    with pytest.raises(CannotOpen) as told:
        keep.enqueue("x")
    app.close()
    assert cure in str(told.value)
    for words, code in ((["health"], 1), (["jobs", "list"], 5), (["migrate"], 5)):
        assert treadle([*words, "--url", url]) == code
        printed = capsys.readouterr().err
        assert cure in printed
        assert "wr0ng" not in printed
        assert len(printed.splitlines()) <= 2, printed  # which store, and what is wrong with it


def test_a_server_that_hangs_is_given_up_after_one_timeout_and_a_slow_answer_is_not(own: Ground) -> None:
    own.begin_anew()
    app = Treadle(own.url(timeout=1))
    keep = declared(app)
    keep.enqueue("before")
    engine, run = app.connection.engine, app.connection.run
    slow = Plan("read", lambda: (yield Ask(compiled("SELECT pg_sleep(1.2)"))))
    assert len(run(slow)) == 1  # longer than the timeout, and the server is seen to live
    late = Treadle(own.url(timeout=1))
    try:
        own.proxy.freeze()
        for call in (
            lambda: run(engine.leases()),
            lambda: asyncio.run(app.connection.arun(engine.leases())),
            lambda: late.connection.run(engine.leases()),  # libpq gives no connection less than two seconds
        ):
            with pytest.raises(StoreError, match=r"no answer within [12] s"):
                call()
    finally:
        own.proxy.pass_()
        app.close()
        late.close()
