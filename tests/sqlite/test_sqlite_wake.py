"""The wake port: who is reached, what a busy waiter costs, and what is left behind by the dead."""

import asyncio
import os
import shutil
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from treadle import Treadle
from treadle.engine.session import LateWake, Wake
from treadle.engine.sqlite import place
from treadle.engine.sqlite.driver import Settings
from treadle.engine.sqlite.store import SqliteStore
from treadle.engine.sqlite.wake import Bell, SqliteWaiter
from treadle.model.errors import CannotOpen
from treadle.worker.worker import Worker
from worker.serving import serve, until

PATIENCE = 30.0


@pytest.fixture
def bell(tmp_path: Path) -> Bell:
    return Bell(lambda: tmp_path)


def waiter(folder: Path, *topics: str, idle: bool = True) -> SqliteWaiter:
    made = SqliteWaiter(folder, topics)
    made.idle(idle)
    return made


def wake(*topics: str) -> list[Wake]:
    return [Wake(frozenset(topics))]


async def _nothing() -> None:
    pass


def test_only_the_topics_asked_for(tmp_path: Path, bell: Bell) -> None:
    red, blue = waiter(tmp_path, "queue:red"), waiter(tmp_path, "queue:blue", "lease:x")
    bell.ring(wake("queue:red", "job:1"))
    assert red.wait(PATIENCE)
    assert not blue.wait(0)
    bell.ring(wake("lease:x"))
    assert blue.wait(PATIENCE)
    assert not red.wait(0)
    red.close()
    blue.close()


def test_a_busy_waiter_is_not_told(tmp_path: Path, bell: Bell) -> None:
    busy = waiter(tmp_path, "queue:red", idle=False)
    bell.ring(wake("queue:red"))
    busy.idle(True)
    assert not busy.wait(0)
    bell.ring(wake("queue:red"))
    busy.idle(False)
    assert busy.wait(PATIENCE), "what was sent while it was idle is not lost"
    busy.close()


def test_declaring_is_seen_at_once(tmp_path: Path, bell: Bell) -> None:
    """However close together the changes of the directory come."""
    one = waiter(tmp_path, "queue:red", idle=False)
    for _ in range(200):
        one.idle(True)
        bell.ring(wake("queue:red"))
        assert one.wait(PATIENCE)
        one.idle(False)
        bell.ring(wake("queue:red"))
        assert not one.wait(0)
    one.close()


def test_a_wait_ends_when_another_thread_rings(tmp_path: Path, bell: Bell) -> None:
    one = waiter(tmp_path, "queue:red")
    thread = threading.Thread(target=lambda: bell.ring(wake("queue:red")))
    thread.start()
    assert one.wait(PATIENCE)
    thread.join()
    one.close()


def test_the_awaitable_twin(tmp_path: Path, bell: Bell) -> None:
    async def main() -> None:
        one = waiter(tmp_path, "queue:red")
        assert not await one.await_(0)
        assert not await one.await_(0.001)
        waiting = asyncio.create_task(one.await_(PATIENCE))
        await asyncio.sleep(0)
        bell.ring(wake("queue:blue"))
        bell.ring(wake("queue:red"))
        assert await waiting
        bell.ring(wake("queue:red"))
        assert await one.await_(PATIENCE)
        one.close()

    asyncio.run(main())


def test_late_topics_are_not_built_when_nobody_waits_for_their_kind(tmp_path: Path, bell: Bell) -> None:
    built: list[str] = []

    def late() -> frozenset[str]:
        built.append("once")
        return frozenset({"job:1"})

    worker = waiter(tmp_path, "queue:red")
    bell.ring([LateWake("job", late)])
    assert built == []
    client = waiter(tmp_path, "job:1")
    bell.ring([LateWake("job", late)])
    assert built == ["once"]
    assert client.wait(PATIENCE)
    assert not worker.wait(0)
    worker.close()
    client.close()


def test_more_topics_than_a_message_holds(tmp_path: Path, bell: Bell) -> None:
    one = waiter(tmp_path, "job:1")
    bell.ring(wake("job:1", *(f"job:{i}-{'x' * 40}" for i in range(2000))))
    assert one.wait(PATIENCE)
    one.close()


def test_a_full_mailbox_harms_nobody(tmp_path: Path, bell: Bell) -> None:
    one = waiter(tmp_path, "queue:red")
    for _ in range(2000):
        bell.ring(wake("queue:red"))
    assert one.wait(PATIENCE)
    assert not one.wait(0)
    one.close()


def leave_behind(folder: Path, *names: str) -> None:
    """Sockets whose owner is gone."""
    for name in names:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as dead:
            dead.bind(str(folder / name))


def test_the_dead_are_swept_away(tmp_path: Path, bell: Bell) -> None:
    for each in ("idle", "busy"):
        (tmp_path / each).mkdir()
    leave_behind(tmp_path, "idle/0123.q", "busy/4567.q")
    alive = waiter(tmp_path, "queue:red")
    assert sorted(path.name for path in tmp_path.glob("*/*")) == sorted(path.name for path in (tmp_path / "idle").iterdir())
    leave_behind(tmp_path, "idle/89ab.q")
    bell.ring(wake("queue:red"))
    assert not (tmp_path / "idle/89ab.q").exists()
    assert alive.wait(PATIENCE)
    alive.close()
    assert list(tmp_path.glob("*/*")) == []


def test_a_runtime_directory_that_was_swept_away(tmp_path: Path, bell: Bell) -> None:
    one = waiter(tmp_path, "queue:red")
    (next((tmp_path / "idle").iterdir())).unlink()
    one.idle(False)
    bell.ring(wake("queue:red"))
    assert not one.wait(0)
    one.idle(True)
    bell.ring(wake("queue:red"))
    assert one.wait(PATIENCE)
    one.close()
    assert list(tmp_path.glob("*/*")) == []


def test_a_waiter_that_was_swept_away_while_idle_is_seen_again_when_it_says_so_again(tmp_path: Path) -> None:
    folder = tmp_path / "treadle" / "0123"
    folder.mkdir(parents=True)
    bell = Bell(lambda: folder)

    async def scene() -> None:
        called = asyncio.Event()
        one = waiter(folder, "queue:red")
        one.listen(called.set)
        shutil.rmtree(tmp_path / "treadle")
        bell.ring(wake("queue:red"))
        shutil.rmtree(tmp_path / "treadle", ignore_errors=True)
        one.idle(True)
        assert stat.S_IMODE((tmp_path / "treadle").stat().st_mode) == 0o700
        bell.ring(wake("queue:red"))
        await asyncio.wait_for(called.wait(), PATIENCE)
        one.close()

    asyncio.run(scene())


def test_an_idle_worker_is_seen_again_after_its_socket_was_swept_away(path: Path) -> None:
    app = Treadle(f"sqlite:///{path}")
    idle = place.runtime_directory(path) / "idle"

    def seen() -> bool:
        return any("q" in each.name for each in idle.iterdir())

    async def scene(_: Worker) -> None:
        await until(seen)
        for each in idle.iterdir():
            each.unlink()
        await until(seen)

    app.enqueue_many([app.task(name="work")(_nothing).call()])
    assert serve(app, scene) == 0
    app.close()


def test_another_process_is_reached(path: Path) -> None:
    store = SqliteStore(path, settings=Settings(synchronous="OFF"))
    one = store.waiter(["queue:default"])
    one.idle(True)
    program = (
        "import sys; from treadle.engine.open import open_store; from treadle.model.job import NewJob; "
        "store = open_store(sys.argv[1]); store.session().run(store.engine.enqueue([NewJob('one', 'work')]))"
    )
    subprocess.run([sys.executable, "-c", program, f"sqlite:///{path}"], check=True, timeout=60)
    assert one.wait(PATIENCE)
    one.close()


def test_a_long_temporary_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(long))
    directory = place.runtime_directory(tmp_path / "jobs.db")
    assert len(os.fsencode(directory / "idle" / "0123456789ab.jlq")) < 104


def test_somebody_elses_runtime_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place, "_SOCKET_ROOM", 4096)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    (tmp_path / f"treadle-{os.getuid()}").mkdir(mode=0o755)
    (tmp_path / f"treadle-{os.getuid()}").chmod(0o755)
    with pytest.raises(CannotOpen, match="private directory"):
        place.runtime_directory(tmp_path / "jobs.db")
