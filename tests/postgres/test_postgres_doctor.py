"""doctor: the durability class from the server's settings, and what else an operator should know."""

import psycopg
import pytest

from treadle.engine.open import open_store
from treadle.engine.postgres import store as room
from treadle.engine.postgres.doctor import _class, _server
from treadle.engine.postgres.place import address
from treadle.engine.postgres.store import PostgresStore
from treadle.engine.session import Check


def levels(checks: list[Check]) -> dict[str, str]:
    return {check.name: check.level for check in checks}


@pytest.mark.parametrize(
    ("commit", "fsync", "standby", "grade"),
    [
        ("on", True, False, "D2"),
        ("local", True, True, "D2"),
        ("remote_write", True, True, "D2"),
        ("on", True, True, "D3"),
        ("remote_apply", True, True, "D3"),
        ("off", True, True, "D1"),
        ("on", False, True, "D1"),
    ],
)
def test_the_class_follows_the_settings(commit: str, fsync: bool, standby: bool, grade: str) -> None:
    assert _class(commit, fsync=fsync, standby=standby).startswith(grade)


def test_a_store_in_good_order(store: PostgresStore) -> None:
    checks = store.doctor()
    found = levels(checks)
    assert found.pop("durability") == "warning"  # this server runs with fsync=off
    (told,) = [check.message for check in checks if check.name == "durability"]
    assert told.endswith(
        ". Set fsync=on in the server's postgresql.conf, and have it read that again (`SELECT pg_reload_conf()`)."
    )
    assert set(found.values()) == {"ok"}
    assert "rights" in found
    assert store.durability.startswith("D1")


def test_the_users_own_setting_is_seen(database: str) -> None:
    store = open_store(f"{database}?options=-csynchronous_commit%3Doff")
    assert store.durability.startswith("D1")


def test_a_schema_that_is_missing_and_a_server_that_is_not_there(database: str) -> None:
    checks = {check.name: check for check in open_store(database, namespace="absent").doctor()}
    schema = checks["schema"]
    assert "rights" not in checks
    assert (schema.level, "treadle migrate" in schema.message) == ("error", True)
    [server] = [check for check in open_store("postgresql://127.0.0.1:1/x").doctor() if check.name == "server"]
    assert server.level == "error"


def test_a_server_in_bad_order() -> None:
    row = (130000, "13.0", "on", True, False, True, 100, 95, 4000.0, False, 0.0)
    found = levels(_server(row))
    assert found == {
        "server": "error",
        "role": "error",
        "durability": "ok",
        "connections": "warning",
        "oldest snapshot": "warning",
        "autovacuum": "warning",
        "clock": "warning",
    }
    assert all(len(check.message) > 10 for check in _server(row))


def test_a_slow_driver_is_said_aloud(database: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(psycopg.pq, "__impl__", "python")
    store = room.PostgresStore(address(database, ()))
    assert "psycopg[binary]" in caplog.text
    assert levels(store.doctor())["library"] == "warning"
