"""Roles that may do too little are told so in one sentence, with the statements that mend it; and those suffice."""

import re
from collections.abc import Callable, Iterator

import psycopg
import pytest

from conformance.desk import Bench, Desk
from conformance.ways import blocking
from servers.postgres import USER, shared
from treadle import StoreError, Treadle
from treadle.cli.main import run as treadle
from treadle.engine.open import open_store
from treadle.engine.session import Store
from treadle.model.errors import CannotOpen
from treadle.model.filter import Filter, Page
from treadle.model.state import State

ROLE = 'the "quiet" one'


@pytest.fixture
def as_role(database: str) -> Iterator[Callable[..., str]]:
    """The URL of the database for a role that may do nothing but what these statements say."""
    quoted = '"' + ROLE.replace('"', '""') + '"'
    server = shared()

    def url(*statements: str) -> str:
        with psycopg.connect(database, autocommit=True) as owner:
            owner.execute(f"CREATE ROLE {quoted} LOGIN".encode())
            for each in statements:
                owner.execute(f"{each} TO {quoted}".encode())
        return database.replace(f"//{USER}@", "//the%20%22quiet%22%20one@")

    yield url
    with psycopg.connect(database, autocommit=True) as owner:
        owner.execute(f"DROP OWNED BY {quoted}".encode())
        owner.execute(f"DROP ROLE {quoted}".encode())
    assert server.process is not None


READ = ("GRANT USAGE ON SCHEMA treadle", "GRANT SELECT ON ALL TABLES IN SCHEMA treadle")


def mended(database: str, told: str) -> None:
    """Do as the message says."""
    statements = re.findall(r"GRANT [^;]*;", told)
    assert statements, told
    with psycopg.connect(database, autocommit=True) as owner:
        for each in statements:
            owner.execute(each.encode())


def works(store: Store) -> None:
    """A job's life, and what else producers, workers and operators do."""
    bench = Bench(store, lambda: pytest.fail("not lent here"), list)
    with blocking(bench) as run:
        desk = Desk(bench, run)
        lease = desk.worker()
        job = desk.add(tags=("a",), fair="acme", delay=1.0)
        desk.later(2)
        desk.promote()
        assert desk.finish(lease, desk.claim_one(lease, job)).state is State.COMPLETED
        desk.rescue()
        assert desk.prune_all() == 1


def test_without_usage_of_the_schema_nothing_opens(
    database: str, as_role: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    url = as_role()
    store = open_store(url)
    session = store.session()
    for call in (lambda: session.run(store.engine.leases()), store.pending_migrations):
        with pytest.raises(CannotOpen, match=f'the role "{ROLE}"') as told:
            call()
    [finding] = [check for check in store.doctor() if check.name == "rights"]
    assert (finding.level, "USAGE on schema treadle" in finding.message) == ("error", True)
    for words, code in ((["health"], 1), (["jobs", "list"], 5), (["doctor"], 1), (["migrate"], 5)):
        assert treadle([*words, "--url", url]) == code, words
        printed = capsys.readouterr()
        assert "GRANT USAGE ON SCHEMA" in printed.out + printed.err
        assert "Traceback" not in printed.err
    mended(database, str(told.value))
    works(store)
    session.close()
    store.close()


def test_a_role_that_only_reads_may_look_and_cannot_serve(database: str, as_role: Callable[..., str]) -> None:
    url = as_role(*READ)
    store = open_store(url)
    session = store.session()
    assert session.run(store.engine.find(Filter(), Page())) == []
    with pytest.raises(CannotOpen, match=r"permission denied for .*, says the server to the role") as told:
        session.run(store.engine.enqueue([Desk(Bench(store, list, list), session.run).new()]))
    [finding] = [check for check in store.doctor() if check.name == "rights"]
    assert "DELETE, INSERT, UPDATE on all tables in schema treadle" in finding.message
    with pytest.raises(CannotOpen, match="lacks rights") as refused:
        store.guard_processes(2)
    assert "GRANT DELETE, INSERT, UPDATE ON ALL TABLES" in str(refused.value)
    assert "\n" not in str(told.value) + str(refused.value)
    mended(database, str(refused.value))
    store.guard_processes(2)
    works(store)
    session.close()
    store.close()


def test_who_may_not_migrate_is_told_who_may(as_role: Callable[..., str]) -> None:
    store = open_store(as_role(), namespace="elsewhere")
    with pytest.raises(CannotOpen, match="GRANT CREATE ON DATABASE") as told:
        store.migrate()
    assert ROLE in str(told.value)


def test_a_server_that_is_away_does_not_keep_a_worker_from_starting() -> None:
    open_store("postgresql://127.0.0.1:1/x?timeout=1").guard_processes(2)


def test_an_enqueue_that_is_not_permitted_is_one_of_the_houses_errors(as_role: Callable[..., str]) -> None:
    app = Treadle(as_role(*READ))

    @app.task(name="hello")
    def hello() -> None: ...

    with pytest.raises(StoreError, match="GRANT USAGE ON SCHEMA"):
        hello.enqueue()
    app.close()
