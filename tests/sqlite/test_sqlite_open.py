"""From a URL to a file: what is refused, and that nothing happens before the first use."""

import os
import sqlite3
from pathlib import Path

import pytest

from treadle.engine.migrate import Migration, pending
from treadle.engine.open import open_store
from treadle.engine.sqlite import place
from treadle.engine.sqlite.driver import Settings
from treadle.engine.sqlite.store import SqliteStore
from treadle.model.errors import (
    CannotOpen,
    InvalidURL,
    NetworkFileSystem,
    SchemaMismatch,
    StoreError,
    without_password,
)
from treadle.model.filter import Filter
from treadle.model.job import NewJob


def enqueue_one(store: SqliteStore, job: str = "one") -> None:
    session = store.session()
    session.run(store.engine.enqueue([NewJob(job, "work")]))
    session.close()


def opened(url: str) -> SqliteStore:
    store = open_store(url)
    assert isinstance(store, SqliteStore)
    return store


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://host/jobs", "scheme 'mysql'"),
        ("jobs.db", "scheme ''"),
        (" sqlite:///jobs.db", "spaces around"),
        ("sqlite:///jobs\n.db", "printable"),
        ("sqlite:///\udcff.db", "printable"),
        ("sqlite://[here/jobs.db", "does not read as a URL"),
        ("sqlite://jobs.db", "names no host"),
        ("sqlite://ada:secret@host/jobs.db", "Write sqlite:///ada:***@host/jobs.db"),
        ("jobs.db", "Write sqlite:///jobs.db"),
        ("/var/lib/jobs.db", "Write sqlite:////var/lib/jobs.db"),
        ("sqlite:///", "names no file"),
        ("sqlite:///folder/", "names no file"),
        ("sqlite:///:memory:", "cannot share"),
        ("sqlite:///a%00b", "NUL"),
        ("sqlite:///jobs.db#part", "no fragment"),
        ("sqlite:///jobs.db?journal=WAL", "journal is not a parameter"),
        ("sqlite:///jobs.db?synchronous=SOME", "synchronous=SOME"),
        ("sqlite:///jobs.db?driver=pysqlite", "driver=pysqlite"),
        ("sqlite:///jobs.db?timeout=soon", "timeout=soon"),
        ("sqlite:///jobs.db?timeout=0", "timeout=0"),
        ("sqlite:///jobs.db?timeout=5;password=secret", "timeout is not a number"),
        ("sqlite:///jobs.db?driver=apsw;password=secret", "driver is not one of"),
        ("sqlite:///jobs.db?timeout=nan", "timeout=nan"),
        ("sqlite:///jobs.db?timeout=1&timeout=2", "given twice"),
        ("memory://here?size=3", "size is not a parameter"),
    ],
)
def test_a_url_that_cannot_be_used(url: str, said: str) -> None:
    with pytest.raises(InvalidURL) as caught:
        open_store(url, allow_volatile=True)
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)
    assert caught.value.cure


def test_a_relative_path_is_relative_to_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert opened("sqlite:///jobs.db").location == str(tmp_path / "jobs.db")
    assert opened(f"sqlite:///{tmp_path}/other%20jobs.db").location == f"{tmp_path}/other jobs.db"


@pytest.mark.parametrize(("query", "durability"), [("", "D2"), ("?synchronous=normal", "D1"), ("?synchronous=OFF", "D1")])
def test_the_durability_class_follows_the_url(path: Path, query: str, durability: str) -> None:
    assert opened(f"sqlite:///{path}{query}").durability.startswith(durability)


def test_nothing_is_created_before_the_first_use(path: Path) -> None:
    store = opened(f"sqlite:///{path}")
    session = store.session()
    assert not path.exists()
    session.run(store.engine.count(Filter()))
    assert path.exists()
    session.close()


def test_a_missing_directory(tmp_path: Path) -> None:
    store = opened(f"sqlite:///{tmp_path}/missing/jobs.db")
    with pytest.raises(CannotOpen, match="missing does not exist"):
        enqueue_one(store)


def test_a_directory_in_place_of_a_file(tmp_path: Path) -> None:
    with pytest.raises(CannotOpen, match="is a directory"):
        enqueue_one(opened(f"sqlite:///{tmp_path}"))


def test_a_file_that_is_no_database(path: Path) -> None:
    path.write_text("something quite different, and long enough to be looked at" * 100)
    before = path.read_bytes()
    with pytest.raises(CannotOpen, match="not a SQLite database"):
        enqueue_one(opened(f"sqlite:///{path}"))
    assert path.read_bytes() == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
def test_a_file_that_may_not_be_written(path: Path) -> None:
    path.touch(mode=0o400)
    with pytest.raises(CannotOpen, match="not readable and writable"):
        enqueue_one(opened(f"sqlite:///{path}"))


def test_access_is_asked_for_before_anything_is_created(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place.os, "access", lambda *_: False)
    with pytest.raises(CannotOpen, match="not writable for this user"):
        enqueue_one(opened(f"sqlite:///{path}"))
    assert not path.exists()


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "9p", "fuse.sshfs"])
def test_a_network_file_system_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(place, "file_system", lambda _: kind)
    with pytest.raises(NetworkFileSystem, match=kind):
        enqueue_one(opened(f"sqlite:///{path}"))
    assert not path.exists()


def test_the_file_system_is_read_from_the_mount_table(path: Path) -> None:
    if not Path("/proc/self/mounts").exists():
        assert place.file_system(path) == ""
        return
    assert place.file_system(Path("/proc/self/status")) == "proc"
    assert not place.is_network(place.file_system(Path("/proc/self/status")))


def test_a_store_from_a_newer_treadle(store: SqliteStore, path: Path) -> None:
    store.migrate()
    with sqlite3.connect(path) as plain:
        plain.execute("UPDATE treadle_meta SET value = 99 WHERE name = 'version'")
    plain.close()
    with pytest.raises(SchemaMismatch, match="version 99"):
        enqueue_one(store)
    assert ("schema", "error") in [(check.name, check.level) for check in store.doctor()]


@pytest.mark.parametrize("version", [-1, 0, "seven", None])
def test_a_store_whose_version_nobody_wrote(store: SqliteStore, path: Path, version: object) -> None:
    store.migrate()
    with sqlite3.connect(path) as plain:
        if version is None:
            plain.execute("DELETE FROM treadle_meta WHERE name = 'version'")
        else:
            plain.execute("UPDATE treadle_meta SET value = ? WHERE name = 'version'", (version,))
    plain.close()
    with pytest.raises(SchemaMismatch, match="which no treadle wrote"):
        enqueue_one(store)
    assert ("schema", "error") in [(check.name, check.level) for check in store.doctor()]


@pytest.mark.parametrize("file", ["x" * 300, "/".join(["x" * 200] * 30)], ids=["one name", "a path"])
def test_a_path_longer_than_the_system_takes(tmp_path: Path, file: str) -> None:
    with pytest.raises(CannotOpen, match="too long"):
        enqueue_one(opened(f"sqlite:///{tmp_path}/{file}"))


def test_a_damaged_file(store: SqliteStore, path: Path) -> None:
    enqueue_one(store)
    data = bytearray(path.read_bytes())
    data[4096 : 4096 * 3] = b"\xff" * 4096 * 2
    path.write_bytes(data)
    with pytest.raises(StoreError, match=r"damaged|not a SQLite database"):
        enqueue_one(store, "two")


def test_a_users_own_file_keeps_its_ways(store: SqliteStore, path: Path) -> None:
    plain = sqlite3.connect(path)
    plain.executescript("PRAGMA user_version = 7; CREATE TABLE mine (a); INSERT INTO mine VALUES (1);")
    enqueue_one(store)
    assert plain.execute("PRAGMA user_version").fetchone() == (7,)
    assert plain.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    assert plain.execute("SELECT a FROM mine").fetchall() == [(1,)]
    plain.close()


def test_a_new_file_has_a_write_ahead_log(store: SqliteStore, path: Path) -> None:
    enqueue_one(store)
    plain = sqlite3.connect(path)
    assert plain.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    plain.close()


@pytest.fixture
def restored(path: Path) -> SqliteStore:
    """A store on a backup that was made with VACUUM INTO, of two namespaces, and is not used yet."""
    source = path.with_name("source.db")
    for namespace in ("treadle", "shop"):
        enqueue_one(SqliteStore(source, namespace=namespace))
    plain = sqlite3.connect(source)
    plain.execute("ANALYZE")
    plain.execute("VACUUM INTO ?", (str(path),))
    plain.close()
    assert mode(path) == "delete"
    return SqliteStore(path, settings=Settings(synchronous="OFF", timeout=30.0))


def mode(path: Path) -> str:
    plain = sqlite3.connect(path)
    [(found,)] = plain.execute("PRAGMA journal_mode").fetchall()
    plain.close()
    return str(found)


def test_a_restored_backup_has_a_write_ahead_log_again(restored: SqliteStore, path: Path) -> None:
    enqueue_one(restored, "two")
    assert mode(path) == "wal"
    assert {check.level for check in restored.doctor() if check.name == "journal mode"} == {"ok"}


@pytest.mark.parametrize(
    "theirs",
    ["CREATE TABLE mine (a)", "CREATE TABLE other_meta (a)", "CREATE VIEW mine AS SELECT 1", "CREATE TABLE shop_x (a)"],
)
def test_a_restored_backup_of_a_users_file_keeps_its_mode(restored: SqliteStore, path: Path, theirs: str) -> None:
    with sqlite3.connect(path) as plain:
        plain.execute(theirs)
    plain.close()
    enqueue_one(restored, "two")
    assert mode(path) == "delete"


@pytest.mark.usefixtures("restored")
def test_a_restored_backup_in_which_somebody_works_is_used_as_it_is(path: Path) -> None:
    store = SqliteStore(path, settings=Settings(driver="sqlite3", synchronous="OFF", timeout=30.0))
    plain = sqlite3.connect(path, isolation_level=None)
    plain.execute("BEGIN IMMEDIATE")
    session = store.session()
    assert session.run(store.engine.count(Filter(), ()))[0].count == 1
    plain.execute("COMMIT")
    session.close()
    plain.close()
    assert mode(path) == "delete"
    enqueue_one(store, "two")
    assert mode(path) == "wal"


def test_two_namespaces_share_a_file(path: Path) -> None:
    one, two = SqliteStore(path, namespace="one"), SqliteStore(path, namespace="two")
    enqueue_one(one)
    session = two.session()
    assert session.run(two.engine.count(Filter(), ()))[0].count == 0
    session.close()


def test_migrations_are_planned_before_they_are_made(store: SqliteStore, path: Path) -> None:
    planned = store.pending_migrations()
    assert [name for name, _ in planned] == ["0001_begin"]
    assert "CREATE TABLE treadle_jobs" in planned[0][1]
    assert not path.exists()
    assert store.migrate() == ["0001_begin"]
    assert store.migrate() == []
    assert store.pending_migrations() == []


def test_what_is_pending() -> None:
    known = (Migration(1, "0001_a", ""), Migration(2, "0002_b", ""))
    assert pending(known, 0, "x") == known
    assert pending(known, 1, "x") == known[1:]
    assert pending(known, 2, "x") == ()
    with pytest.raises(SchemaMismatch):
        pending(known, 3, "x")


def test_statements_are_cut_at_semicolons_outside_comments() -> None:
    text = "-- one; two\nCREATE TABLE {ns}_a (b);\n-- more\nCREATE INDEX {ns}_c ON {ns}_a (b);\n"
    assert Migration(1, "x", text).statements("q") == ["CREATE TABLE q_a (b)", "CREATE INDEX q_c ON q_a (b)"]


@pytest.mark.parametrize("url", ["redis://u:top#secret@host/0", "mongo://u:top/secret@host/db", "postgres://u:se@cret@h/d#x"])
def test_a_password_in_a_malformed_url_is_not_shown(url: str) -> None:
    with pytest.raises(InvalidURL) as refused:
        open_store(url)
    assert "secret" not in str(refused.value)
    assert "cret@" not in str(refused.value)
    assert "://u:***@h" in str(refused.value)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "redis", "rediss", "valkey", "unix"])
@pytest.mark.parametrize(
    ("rest", "shown", "cure"),
    [
        (":/bob:secret@host:1/0", ":/bob:***@host:1/0", "two slashes"),
        (":bob:secret@host/0", ":bob:***@host/0", "two slashes"),
        (":secret@host/0", ":***@host/0", "two slashes"),
        (":///bob:secret@host/0", ":///bob:***@host/0", "%40"),
        ("://bob:se@cret@host/0", "://bob:***@host/0", "as %40"),
        ("://bob@corp:secret@host/0", "://bob@corp:***@host/0", "as %40"),
        ("://bob:9/secret@host/0", "://bob:***@host/0", "as %2F"),
        ("://bob:9?secret@host/0", "://bob:***@host/0", "as %3F"),
        ("://bob:9#secret@host/0", "://bob:***@host/0", "as %23"),
        ("://bob:secret\uff03@host/0", "://bob:***@host/0", "does not read as a URL"),
    ],
)
def test_a_password_that_a_url_does_not_hold_well_is_refused_and_not_shown(
    scheme: str, rest: str, shown: str, cure: str
) -> None:
    with pytest.raises(InvalidURL) as refused:
        open_store(scheme + rest)
    said = str(refused.value)
    assert said.startswith(scheme + shown + ": ")
    assert cure in said
    assert "cret" not in said


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ada:secret@h:1/shop?x=1", "postgresql://ada:***@h:1/shop?x=1"),
        ("postgresql://h/shop?sslPassword=secret&x=1", "postgresql://h/shop?sslPassword=***&x=1"),
        ("redis://h/0?timeout=5;password=secret&x=1", "redis://h/0?timeout=5;password=***&x=1"),
        ("redis://:secret@h", "redis://:***@h"),
        ("redis://ada@[::1]:7/0", "redis://ada@[::1]:7/0"),
        ("'\\t redis://ada:secret@h'", "'\\t redis://ada:***@h'"),
        ("ada:secret@h", "ada:***@h"),
        ("sqlite:///folder/ada@home.db", "sqlite:///folder/ada@home.db"),
        ("ada@home.db", "ada@home.db"),
    ],
)
def test_a_url_without_its_password(url: str, shown: str) -> None:
    assert without_password(url) == shown
