"""A client that has already spoken to its store, and then forks, as pre-fork servers do."""

import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from chaos.fleet import PATH
from treadle import Treadle
from treadle.engine.postgres.place import address as postgres_address
from treadle.engine.postgres.store import PostgresStore
from treadle.engine.redis.address import Address
from treadle.engine.redis.store import RedisStore
from treadle.engine.sqlite import place
from treadle.engine.sqlite.store import SqliteStore

FORKING = """
import asyncio, os, sys
from treadle import Treadle

app = Treadle(sys.argv[1])

@app.task(name="note")
def note(number: int) -> None: ...

def store(who: int) -> None:
    for number in range(50):
        note.enqueue(who * 1000 + number)
    asyncio.run(store_too(who))

async def store_too(who: int) -> None:
    for number in range(50, 100):
        await note.aenqueue(who * 1000 + number)

note.enqueue(0)
asyncio.run(note.aenqueue(1))
children = []
for who in range(1, 4):
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            store(who)
            code = 0
        finally:
            os._exit(code)
    children.append(pid)
store(4)
codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
app.close()
note.enqueue(2)
print(codes)
"""


def test_parent_and_children_go_on_with_connections_of_their_own(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/fork.db"
    # Python 3.12 and later warn of threads at a fork; the session's thread is one that a child can do without.
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKING, url]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": PATH}, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[0, 0, 0]", done.stderr
    app = Treadle(url)
    connection = app.connection
    from treadle.model.filter import Filter, Page

    jobs = connection.run(connection.engine.find(Filter(), Page(limit=1000)))
    app.close()
    wanted = sorted([0, 1, 2, *(who * 1000 + number for who in range(1, 5) for number in range(100))])
    assert sorted(int(job.args.partition(":")[2].rstrip("}")) for job in jobs) == wanted
    assert len({job.id for job in jobs}) == len(wanted)


LOCKS: dict[str, Callable[[Path], tuple[Any, Callable[[], Any]]]] = {
    "a server is examined": lambda _: (store := RedisStore(Address()), lambda: store._examining),
    "a file is opened": lambda path: (store := SqliteStore(path), lambda: store._opening),
    "it is noted who has a file open": lambda _: (None, lambda: place._guard.lock),
    "somebody begins to wait": lambda _: (
        store := PostgresStore(postgres_address("postgresql://localhost/nowhere", ())),
        lambda: store._lock,
    ),
}


@contextmanager
def held(lock: Any) -> Generator[None]:
    """Another thread has this lock."""
    taken, over = threading.Event(), threading.Event()

    def keep() -> None:
        with lock:
            taken.set()
            over.wait()

    thread = threading.Thread(target=keep)
    thread.start()
    assert taken.wait(60)
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize("moment", LOCKS)
def test_a_child_that_is_forked_while_another_thread_opens_something_waits_for_nobody(tmp_path: Path, moment: str) -> None:
    """Such a child waited for ever for a thread that only its parent has."""
    _owner, look = LOCKS[moment](tmp_path / "fork.db")
    with held(look()), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 and later warn of threads at a fork
        child = os.fork()
        if child == 0:
            os._exit(0 if look().acquire(blocking=False) else 3)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
