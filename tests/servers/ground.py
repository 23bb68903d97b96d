"""A store on a server of its own that may be harmed: killed, promoted, filled, and reached through a fault proxy.

The one place that says how each kind of server is harmed: whoever tests faults asks for a ground by the name of its engine.
"""

import shutil
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol

from treadle import Treadle

from .postgres import Postgres
from .proxy import Proxy
from .valkey import Valkey

LOST = 1.0
"""Seconds that a careless server forgets at its death."""


class Server(Protocol):
    """What both kinds of server can be told."""

    port: int

    def fresh(self) -> str: ...

    def drop(self, database: str) -> None: ...

    def start(self) -> None: ...

    def kill(self) -> None: ...

    def promote(self) -> None: ...

    def shipped(self, replica: Any) -> bool: ...

    def hang_up(self) -> None: ...

    def crowd(self) -> "list[Closable]": ...


class Closable(Protocol):
    """Somebody's connection."""

    def close(self) -> None: ...


class Ground:
    """A server and the way to it. `url` goes through the proxy, `direct` past it, both to `database`."""

    def __init__(self, server: Server, shape: str, database: str, replicate: Callable[[int], "Server"]) -> None:
        self.server = server
        self.database = database
        self.proxy = Proxy(("127.0.0.1", server.port))
        self._shape = shape
        self._replicate = replicate
        self.link: Proxy | None = None

    @property
    def direct(self) -> str:
        """The URL of the server itself."""
        return self._shape.format(port=self.server.port, database=self.database)

    def url(self, **parameters: object) -> str:
        """The URL by way of the proxy."""
        written = "&".join(f"{name}={value}" for name, value in parameters.items())
        place = self._shape.format(port=self.proxy.port, database=self.database)
        return place + (f"?{written}" if written else "")

    def migrate(self) -> None:
        """Bring the database up to date."""
        app = Treadle(self.direct)
        app.store.migrate()
        app.close()

    def begin_anew(self) -> None:
        """Leave the database for a new, empty one, with everything passing."""
        self.proxy.pass_()
        before, self.database = self.database, self.server.fresh()
        self.server.drop(before)
        self.migrate()

    def look(self) -> None:
        """Called every moment while the server runs, for those that must know what it was like a while ago."""

    def kill(self) -> None:
        """End the server as a crash would."""
        self.server.kill()

    def start(self) -> None:
        """Start it again, and wait until it answers."""
        self.server.start()

    def replica(self) -> Server:
        """A second server that follows the first by way of `link`: while that is frozen, it lags."""
        self.link = Proxy(("127.0.0.1", self.server.port))
        return self._replicate(self.link.port)

    def fail_over(self, replica: Server) -> None:
        """The first server is gone for good, the replica takes its place behind the same address."""
        self.server.kill()
        if self.link is not None:
            self.link.close()  # with all that was still on its way
            self.link = None
        replica.promote()
        self.server = replica
        self.proxy.target = ("127.0.0.1", replica.port)
        self.proxy.reset()

    def close(self) -> None:
        """Stop the ways to it; the servers are ended by whoever made them."""
        self.proxy.close()
        if self.link is not None:
            self.link.close()


class Forgetful(Ground):
    """A Valkey that loses the last second of its append-only file at each death."""

    def __init__(self, server: Valkey, shape: str, database: str, replicate: Callable[[int], Server]) -> None:
        super().__init__(server, shape, database, replicate)
        self._valkey = server
        self._sizes: deque[tuple[float, int]] = deque()

    def look(self) -> None:
        now = time.monotonic()
        self._sizes.append((now, self._valkey.log.stat().st_size))
        while len(self._sizes) > 1 and self._sizes[1][0] <= now - LOST:
            self._sizes.popleft()

    def kill(self) -> None:
        super().kill()
        if self._sizes:
            with self._valkey.log.open("ab") as file:
                file.truncate(self._sizes[0][1])
        self._sizes.clear()


CARELESS: Mapping[str, str] = {"fsync": "off", "synchronous_commit": "off", "wal_writer_delay": "5s"}
"""Commits are acknowledged while they stand in memory alone, and a crash takes them away: up to thrice the delay."""


@contextmanager
def on_postgres(folder: Path, *, careless: bool = False, **options: str) -> Iterator[Ground]:
    """PostgreSQL as it comes, with fsync."""
    options = {"max_connections": "60", **(CARELESS if careless else {}), **options}
    servers = [Postgres(options)]

    def replicate(port: int) -> Server:
        made = Postgres(options)
        servers.append(made)
        made.follow(port)
        made.start()
        return made

    servers[0].create()
    servers[0].start()
    ground = Ground(servers[0], "postgresql://treadle@127.0.0.1:{port}/{database}", "postgres", replicate)
    try:
        yield ground
    finally:
        ground.close()
        for server in servers:
            server.remove()


@contextmanager
def on_redis(folder: Path, *, careless: bool = False, **options: str) -> Iterator[Ground]:
    """Valkey with an append-only file that is synced at each write."""
    servers: list[Valkey] = []

    def make() -> Valkey:
        place = Path(tempfile.mkdtemp(prefix="valkey-", dir=folder))
        made = Valkey(
            place, {"appendfsync": "always", "repl-diskless-sync-delay": "0", "databases": "100", "maxclients": "60", **options}
        )
        servers.append(made)
        made.start()
        return made

    def replicate(port: int) -> Server:
        made = make()
        made.follow(port)
        return made

    ground = (Forgetful if careless else Ground)(make(), "redis://127.0.0.1:{port}/{database}", "0", replicate)
    try:
        yield ground
    finally:
        ground.close()
        for server in servers:
            server.stop()
            shutil.rmtree(server.folder)


GROUNDS: dict[str, Callable[..., AbstractContextManager[Ground]]] = {"postgres": on_postgres, "redis": on_redis}
"""The engines whose stores lie on a server."""
