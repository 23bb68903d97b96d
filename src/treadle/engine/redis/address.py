"""Where a server is and how to speak to it, and the one way to reach it: dial, secure, introduce oneself."""

import socket
import ssl
import time
from dataclasses import dataclass, field

import hiredis

from treadle.engine.redis.replies import Refusal, pack, unwelcome
from treadle.model.errors import CannotOpen

PORT = 6379


@dataclass(frozen=True, slots=True)
class Tls:
    """What `rediss://` needs to know. Certificates are checked against the system's unless told otherwise."""

    ca_certs: str | None = None
    certfile: str | None = None
    keyfile: str | None = None
    verify: bool = True

    def context(self) -> ssl.SSLContext:
        """A context for one connection. Raises `OSError` for files that cannot be read."""
        context = ssl.create_default_context(cafile=self.ca_certs)
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.certfile is not None:
            context.load_cert_chain(self.certfile, self.keyfile)
        return context


@dataclass(frozen=True, slots=True)
class Address:
    """One server: a host and a port or the path of a Unix socket, the database, and who we are. `password` is never shown."""

    scheme: str = "redis"
    host: str = "localhost"
    port: int = PORT
    path: str | None = None
    database: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: Tls | None = None
    timeout: float = 5.0

    def __str__(self) -> str:
        """As an operator would write it, without user or password."""
        if self.path is not None:
            return f"unix://{self.path}?db={self.database}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}/{self.database}"


class Dialled:
    """A connection that has been introduced: a blocking socket, and the reader of what comes from it."""

    __slots__ = ("reader", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock: socket.socket = sock
        self.reader: hiredis.Reader = hiredis.Reader(replyError=Refusal)

    def ask(self, deadline: float, *command: str | bytes | int) -> object:
        """Send one command and wait for its reply, which may be a `Refusal`. Raises `OSError`."""
        self.sock.settimeout(max(0.001, deadline - time.monotonic()))
        self.sock.sendall(pack(command))
        while (reply := self.reader.gets()) is False:
            self.sock.settimeout(max(0.001, deadline - time.monotonic()))
            data = self.sock.recv(65536)
            if not data:
                raise ConnectionResetError("the server closed the connection")
            self.reader.feed(data)
        return reply


def dial(address: Address, deadline: float) -> Dialled:
    """Connect, in the calling thread. Raises `CannotOpen` when it cannot be done before `deadline` (monotonic)."""
    dialled: Dialled | None = None
    try:
        dialled = Dialled(_connect(address, max(0.001, deadline - time.monotonic())))
        _introduce(dialled, address, deadline)
    except (OSError, ssl.SSLError, hiredis.ProtocolError) as error:
        if dialled is not None:
            dialled.sock.close()
        what = "no answer in time" if isinstance(error, TimeoutError) else str(error)
        raise CannotOpen(
            f"{address}: the server cannot be reached ({what}). See that it runs, and that the host, the port and the scheme "
            "(rediss:// for TLS) are right."
        ) from None
    except BaseException:
        if dialled is not None:
            dialled.sock.close()
        raise
    return dialled


def _connect(address: Address, timeout: float) -> socket.socket:
    if address.path is not None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(timeout)
            sock.connect(address.path)
        except BaseException:
            sock.close()
            raise
        return sock
    sock = socket.create_connection((address.host, address.port), timeout)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if address.tls is not None:
            sock = address.tls.context().wrap_socket(sock, server_hostname=address.host)
    except BaseException:
        sock.close()
        raise
    return sock


def _introduce(dialled: Dialled, address: Address, deadline: float) -> None:
    hello: list[str] = ["HELLO", "3"]
    if address.password is not None:
        hello += ["AUTH", address.username or "default", address.password]
    greeting = dialled.ask(deadline, *hello, "SETNAME", "treadle")
    if isinstance(greeting, Refusal):
        raise CannotOpen(_unwelcome(address, greeting))
    if address.database:
        selected = dialled.ask(deadline, "SELECT", address.database)
        if isinstance(selected, Refusal):
            raise CannotOpen(f"{address}: the server has no database {address.database} ({selected}). Name another one.")


def _unwelcome(address: Address, refusal: Refusal) -> str:
    match refusal.code:
        case "WRONGPASS" | "NOAUTH" | "NOPERM":
            return f"{address}: {unwelcome(refusal)}"
        case "LOADING" | "BUSY" | "MASTERDOWN":
            cure = "Wait until it is ready."
        case _:
            cure = "treadle needs Redis 7 or Valkey 8, or later."
    # A server that does not know HELLO quotes what it was told, and that is the password too.
    said = str(refusal).partition(", with args")[0]
    return f"{address}: the server does not let us in ({said}). {cure}"
