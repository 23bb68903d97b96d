"""The disk is full: an enqueue fails loudly, nothing is half written, and with space everything goes on."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.fleet import PATH

PRODUCER = """
import os, resource, signal, sys
from treadle import StoreError, Treadle
from treadle.model.filter import Axis, Filter

url, how = sys.argv[1:]
app = Treadle(url)
folder = os.path.dirname(url.removeprefix("sqlite:///"))
ballast = folder + "/ballast"
no_limit = resource.getrlimit(resource.RLIMIT_FSIZE)

@app.task(name="keep")
def keep(text: str) -> None: ...

def count() -> int:
    connection = app.connection
    return connection.run(connection.engine.count(Filter(), ()))[0].count

def store() -> int:
    return len(app.enqueue_many([keep.call("x" * 1000) for _ in range(10)]))

def fill() -> None:
    if how == "limit":
        # No file of this process may grow beyond this; without the signal, writing more is an error.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, no_limit[1]))
    else:
        space = os.statvfs(folder)
        with open(ballast, "wb") as file:
            file.write(bytes(space.f_bavail * space.f_frsize - 400_000))

def heal() -> None:
    if how == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, no_limit)
    else:
        os.unlink(ballast)

stored = store()
fill()
told = ""
for _ in range(200):
    try:
        stored += store()
    except StoreError as error:
        told = str(error)
assert told, "there was room for everything"
assert count() == stored, (count(), stored)
heal()
stored += store()
assert count() == stored, (count(), stored)
problems = [check for check in app.store.doctor() if check.level == "error"]
assert not problems, problems
app.close()
print(told)
"""


def produce(folder: Path, how: str) -> str:
    """Run the producer to its end; returns what the last refused enqueue said."""
    command = [sys.executable, "-c", PRODUCER, f"sqlite:///{folder}/full.db", how]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": PATH}, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_file_that_may_not_grow_refuses_whole_and_heals(tmp_path: Path) -> None:
    assert "full.db: the disk reported an error" in produce(tmp_path, "limit")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"this machine does not let root mount: {mounted.stderr.decode()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_refuses_whole_and_heals(small_disk: Path) -> None:
    assert "full.db: the disk is full. Nothing was changed" in produce(small_disk, "disk")
