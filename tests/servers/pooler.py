"""A small pooler in front of PostgreSQL that lends connections by the transaction, as pgbouncer does, for what that breaks.

A client is greeted with a made-up process number and keeps a connection of the server from its first message until the
server is ready again outside of a transaction. No authentication, no settings kept for anybody.
"""

import secrets
import socket
import struct
import threading
from contextlib import suppress
from queue import Empty, LifoQueue

_SSL, _GSS = 80877103, 80877104
_GREETING = {"server_version": "18.0", "client_encoding": "UTF8", "server_encoding": "UTF8", "DateStyle": "ISO, MDY",
             "integer_datetimes": "on", "standard_conforming_strings": "on", "TimeZone": "UTC"}  # fmt: skip


def _exactly(link: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = link.recv(count - len(data))
        if not more:
            raise ConnectionError
        data += more
    return data


def _message(link: socket.socket) -> tuple[bytes, bytes]:
    """The kind of the next message, and all of it."""
    head = _exactly(link, 5)
    return head[:1], head + _exactly(link, struct.unpack("!I", head[1:])[0] - 4)


def _packed(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


class Pooler:
    """Listens on a port of its own and lends `size` connections to the server at `port`, the last returned first."""

    def __init__(self, port: int, user: str, database: str, size: int) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._free: LifoQueue[socket.socket] = LifoQueue()
        self._closed = False
        for _ in range(size):
            self._free.put(self._connected(port, user, database))
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more clients and hang up."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._closed = True
        self._hang_up()

    def _hang_up(self) -> None:
        with suppress(Empty):
            while True:
                self._free.get_nowait().close()

    @staticmethod
    def _connected(port: int, user: str, database: str) -> socket.socket:
        link = socket.create_connection(("127.0.0.1", port))
        words = b"".join(word.encode() + b"\0" for word in ("user", user, "database", database))
        body = struct.pack("!I", 196608) + words + b"\0"
        link.sendall(struct.pack("!I", len(body) + 4) + body)
        while _message(link)[0] != b"Z":
            pass
        return link

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError), client:
            while True:
                size, code = struct.unpack("!II", _exactly(client, 8))
                _exactly(client, size - 8)
                if code not in (_SSL, _GSS):
                    break
                client.sendall(b"N")
            words = [_packed(b"S", f"{name}\0{value}\0".encode()) for name, value in _GREETING.items()]
            key = _packed(b"K", secrets.token_bytes(8))
            client.sendall(_packed(b"R", struct.pack("!I", 0)) + b"".join(words) + key + _packed(b"Z", b"I"))
            while True:
                kind, message = _message(client)
                if kind == b"X":
                    return
                server = self._free.get()
                try:
                    self._transaction(client, server, kind, message)
                finally:
                    self._free.put(server)
                    if self._closed:  # it was lent when the others were hung up
                        self._hang_up()

    @staticmethod
    def _transaction(client: socket.socket, server: socket.socket, kind: bytes, message: bytes) -> None:
        """Pass messages on until the server is ready outside of a transaction and owes no answer."""
        owed = 0
        while True:
            server.sendall(message)
            owed += kind in (b"S", b"Q")
            while owed:
                back, answer = _message(server)
                client.sendall(answer)
                if back == b"Z":
                    owed -= 1
                    if not owed and answer[5:6] == b"I":
                        return
            kind, message = _message(client)
