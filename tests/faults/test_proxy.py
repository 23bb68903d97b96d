"""The fault proxy itself: a tool that breaks things must break what it says and nothing else."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from servers.proxy import Proxy


@pytest.fixture
def echo() -> Iterator[tuple[str, int]]:
    """A server that answers each piece of data with itself in capitals."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(65_536):
                    connection.sendall(data.upper())
            except OSError:
                return

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield listener.getsockname()
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


@pytest.fixture
def proxy(echo: tuple[str, int]) -> Iterator[Proxy]:
    proxy = Proxy(echo)
    yield proxy
    proxy.close()


def dial(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=30)


def say(connection: socket.socket, text: bytes) -> bytes:
    connection.sendall(text)
    return connection.recv(65_536)


def broken(connection: socket.socket, text: bytes) -> bool:
    """Whether nothing comes back any more."""
    try:
        return say(connection, text) == b""
    except ConnectionError:
        return True


def turned_away(proxy: Proxy) -> bool:
    """Whether a new connection is reset: while it is made, or at its first word."""
    try:
        late = dial(proxy)
    except ConnectionError:
        return True
    with closing(late):
        return broken(late, b"two")


def test_everything_passes(proxy: Proxy) -> None:
    with closing(dial(proxy)) as connection:
        assert say(connection, b"one") == b"ONE"
        proxy.delay(0.01, 0.01)
        assert say(connection, b"two") == b"TWO"
        proxy.throttle(1_000_000)
        assert say(connection, b"three") == b"THREE"


def test_a_frozen_connection_stays_open_and_thaws(proxy: Proxy) -> None:
    with closing(dial(proxy)) as connection:
        assert say(connection, b"one") == b"ONE"
        proxy.freeze()
        connection.settimeout(0.2)
        connection.sendall(b"two")
        with pytest.raises(TimeoutError):
            connection.recv(10)
        connection.settimeout(30)
        proxy.pass_()
        assert connection.recv(10) == b"TWO"


def test_a_reset_breaks_what_stands_and_serves_what_comes(proxy: Proxy) -> None:
    with closing(dial(proxy)) as connection:
        assert say(connection, b"one") == b"ONE"
        assert proxy.reset() == 1
        assert broken(connection, b"two")
    with closing(dial(proxy)) as connection:
        assert say(connection, b"three") == b"THREE"


def test_new_connections_are_refused(proxy: Proxy) -> None:
    with closing(dial(proxy)) as standing:
        assert say(standing, b"one") == b"ONE"
        proxy.refuse()
        assert turned_away(proxy)
        assert say(standing, b"three") == b"THREE"


def test_a_request_arrives_and_its_answer_is_lost(proxy: Proxy) -> None:
    with closing(dial(proxy)) as connection:
        proxy.lose_reply(lambda data: data == b"commit")
        assert say(connection, b"begin") == b"BEGIN"
        assert broken(connection, b"commit")
    assert proxy.lost_replies == 1
