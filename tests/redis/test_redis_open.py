"""Opening: what a URL may say, which servers are refused, and what is never shown."""

import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from conformance.desk import Desk
from servers.valkey import Valkey, free_port
from treadle.engine.open import open_store
from treadle.engine.redis.address import Address
from treadle.engine.redis.store import RedisStore
from treadle.model.errors import CannotOpen, InvalidURL, NotTransactional, SchemaMismatch, VolatileStore
from treadle.model.state import State

Serve = Callable[..., Valkey]
DeskAt = Callable[[RedisStore], Desk]


@pytest.mark.parametrize(
    ("url", "location"),
    [
        ("redis://", "redis://localhost:6379/0"),
        ("redis://ada:secret@db.example:7000/3", "redis://db.example:7000/3"),
        ("valkey://:secret@10.0.0.1", "valkey://10.0.0.1:6379/0"),
        ("rediss://h?ssl_cert_reqs=none&timeout=2", "rediss://h:6379/0"),
        ("valkeys://[::1]:1", "valkeys://[::1]:1/0"),
        ("unix:///run/v%20k.sock?db=2", "unix:///run/v k.sock?db=2"),
        ("unix://u:secret@/run/v@k.sock", "unix:///run/v@k.sock?db=0"),
        ("redis://h?replicas=2", "redis://h:6379/0"),
    ],
)
def test_a_url_names_a_server_and_its_password_is_not_shown(url: str, location: str) -> None:
    assert open_store(url).location == location


@pytest.mark.parametrize(
    "url",
    [
        "redis://u:secret@h/none",
        "redis://u:secret@h:none/0",
        "redis://u:secret@h/0?replicas=many",
        "redis://u:secret@h/0?timeout=0",
        "redis://u:secret@h/0?ssl_ca_certs=x",
        "redis://u:secret@h/0?what=1",
        "redis://u:secret@h:99999/0",
        "rediss://u:secret@h/0?ssl_cert_reqs=maybe",
        "unix://u:secret@/",
        "redis://h/0;password=secret",
        "redis://h/0?replicas=1;password=secret",
        "rediss://h/0?ssl_cert_reqs=none;password=secret",
    ],
)
def test_a_wrong_url_is_refused_without_showing_the_password(url: str) -> None:
    with pytest.raises(InvalidURL) as caught:
        open_store(url)
    assert "secret" not in str(caught.value)


def test_a_server_that_is_not_there_is_said_to_be_so(desk_at: DeskAt) -> None:
    store = RedisStore(Address(host="127.0.0.1", port=free_port(), password="secret"))
    with pytest.raises(CannotOpen, match="cannot be reached") as caught:
        desk_at(store).add()
    assert "secret" not in str(caught.value)
    assert [check.level for check in store.doctor() if check.name == "server"] == ["error"]


def test_a_wrong_password_is_said_to_be_so_and_not_shown(serve: Serve, desk_at: DeskAt) -> None:
    server = serve(requirepass="right")
    wrong = Address(host="127.0.0.1", port=server.port, password="secret")
    with pytest.raises(CannotOpen, match="Correct the user and the password") as caught:
        desk_at(RedisStore(wrong)).add()
    assert "secret" not in str(caught.value)
    assert "secret" not in repr(wrong)
    with pytest.raises(CannotOpen, match="wants a password, and the URL has none"):
        desk_at(RedisStore(Address(host="127.0.0.1", port=server.port))).add()

    right = Address(host="127.0.0.1", port=server.port, password="right")
    assert desk_at(RedisStore(right)).add()


def test_a_server_too_old_to_be_greeted_is_not_quoted_where_it_quotes_the_password() -> None:
    def refuse(listener: socket.socket) -> None:
        client, _ = listener.accept()
        with client:
            client.recv(65536)
            client.sendall(b"-ERR unknown command `HELLO`, with args beginning with: `3`, `AUTH`, `default`, `secret`, \r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        refusing = threading.Thread(target=refuse, args=[listener])
        refusing.start()
        store = RedisStore(Address(host="127.0.0.1", port=listener.getsockname()[1], password="secret"))
        with pytest.raises(CannotOpen, match=r"unknown command `HELLO`\)\. .*Redis 7") as caught:
            store.migrate()
        refusing.join()
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"appendonly": "no"}, "appendonly no"),
        ({"maxmemory": "100mb", "maxmemory_policy": "allkeys-lru"}, "allkeys-lru"),
    ],
)
def test_a_server_that_forgets_is_refused_unless_that_is_wanted(
    serve: Serve, desk_at: DeskAt, options: dict[str, str], word: str
) -> None:
    server = serve(**options)
    store = RedisStore(server.address())
    with pytest.raises(VolatileStore, match=word):
        desk_at(store).add()
    with pytest.raises(VolatileStore, match=f"{word}.*TREADLE_ALLOW_VOLATILE=1"):
        store.migrate()
    assert [name for name, _ in store.pending_migrations()] == ["0001_begin"]  # nothing was written
    assert store.durability.startswith("D0")
    assert {check.level for check in store.doctor() if check.name == "durability"} == {"error"}

    volatile = RedisStore(server.address(), allow_volatile=True)
    assert volatile.migrate() == ["0001_begin"]
    assert desk_at(volatile).add()


@pytest.mark.parametrize(
    ("options", "replicas", "durability"),
    [
        ({"appendfsync": "everysec"}, 0, "D1"),
        ({"appendfsync": "no"}, 0, "D1"),
        ({"appendfsync": "always"}, 0, "D2"),
        ({"appendfsync": "always"}, 1, "D3"),
        ({"maxmemory": "100mb", "maxmemory_policy": "volatile-lru"}, 0, "D1"),
    ],
)
def test_the_durability_class_is_read_from_the_server(
    serve: Serve, options: dict[str, str], replicas: int, durability: str
) -> None:
    assert RedisStore(serve(**options).address(), replicas=replicas).durability.startswith(durability)


def test_a_schema_of_another_time_is_refused(serve: Serve, desk_at: DeskAt) -> None:
    server = serve()
    for written, word in (("99", "Upgrade treadle"), ("soon", "no treadle wrote")):
        server.ask("HSET", "{jobs}:meta", "version", written)
        store = RedisStore(server.address(), namespace="jobs")
        with pytest.raises(SchemaMismatch, match=word):
            desk_at(store).add()
        with pytest.raises(SchemaMismatch, match=word):
            store.pending_migrations()
        assert [check.level for check in store.doctor() if check.name == "schema"] == ["error"]


def test_migrating_is_done_once_and_by_the_first_use(store: RedisStore, desk: Desk) -> None:
    [(name, command)] = store.pending_migrations()
    assert name in store.migrate()
    assert command.startswith("HSET {t")
    assert store.migrate() == []
    assert store.pending_migrations() == []
    assert desk.add()


def test_namespaces_and_databases_do_not_see_each_other(serve: Serve, desk_at: DeskAt) -> None:
    server = serve()
    other = Address(host="127.0.0.1", port=server.port, database=3)
    desks = [
        desk_at(RedisStore(server.address(), namespace="a")),
        desk_at(RedisStore(server.address(), namespace="b")),
        desk_at(RedisStore(other, namespace="a")),
    ]
    ids = [desk.add() for desk in desks]
    assert [[job.id for job in desk.find()] for desk in desks] == [[each] for each in ids]


def test_a_unix_socket_will_do(serve: Serve, desk_at: DeskAt, tmp_path: Path) -> None:
    path = tmp_path / "v.sock"
    serve(unixsocket=str(path))
    assert desk_at(RedisStore(Address(scheme="unix", path=str(path)))).add()


def test_nothing_is_borrowed(store: RedisStore) -> None:
    with pytest.raises(NotTransactional, match="Enqueue after your commit"):
        store.borrow(object())


def test_doctor_says_what_an_operator_should_know(store: RedisStore, desk: Desk) -> None:
    assert [check.level for check in store.doctor() if check.name == "schema"] == ["warning"]
    desk.add()
    checks = {check.name: check for check in store.doctor()}
    assert checks["schema"].level == "ok"
    assert checks["server"].message.startswith("Valkey")
    assert "no maxmemory" in checks["memory"].message
    assert store.tend() is None


def test_a_user_without_its_rights_is_told_which_and_they_suffice(serve: Serve, desk_at: DeskAt) -> None:
    server = serve()
    address = replace(server.address(), username="ada", password="pw")
    server.ask("ACL", "SETUSER", "ada", "on", ">pw", "~*", "+@all", "-info")
    blind = RedisStore(address)
    with pytest.raises(CannotOpen, match="may not run INFO"):
        desk_at(blind).add()
    assert [(check.name, check.level) for check in blind.doctor()] == [
        ("location", "ok"), ("server", "error"), ("schema", "warning"),
    ]  # fmt: skip
    assert "may not run INFO" in blind.doctor()[1].message
    assert "appendonly" not in blind.durability
    server.ask("ACL", "SETUSER", "ada", "resetkeys", "~elsewhere", "+info")
    with pytest.raises(CannotOpen, match="NOPERM") as told:
        desk_at(RedisStore(address)).add()
    rights = str(told.value).partition("ACL SETUSER USER ")[2].partition(",")[0].split()
    server.ask("ACL", "SETUSER", "ada", "reset", "on", ">pw", *rights)
    store = RedisStore(address)
    desk = desk_at(store)
    waiter = store.waiter(["queue:default"])
    waiter.idle(True)
    desk.add()
    assert waiter.wait(30)
    waiter.close()
    lease = desk.worker()
    [claimed] = desk.claim(lease)
    assert desk.finish(lease, claimed).state is State.COMPLETED
    assert store.standing().sync == "everysec"
