"""Real processes, started here and known by pid: supervisors with their workers, and producers.

Nothing is ever signalled that did not descend from a process of this fleet.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

import psutil

from treadle.worker.options import WorkerOptions

from .account import Account

ROOT = Path(__file__).parents[2]
HERE = __package__ or ""
PATH = f"{Path(__file__).parents[HERE.count('.') + 1]}{os.pathsep}{ROOT / 'src'}"
"""Where this package is imported from, be it run by itself or by the tests, and the code of this checkout."""


def until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait until something is true. Raises `TimeoutError`, saying what was awaited, after so many seconds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"after {seconds:g} s still not: {what}")
        time.sleep(0.02)


class Part:
    """One process of the fleet, which can be started again after its death. Its output goes to a file."""

    def __init__(self, name: str, command: Sequence[str], folder: Path, environment: dict[str, str]) -> None:
        self.name = name
        self._command = list(command)
        self._folder = folder
        self._environment = {**os.environ, **environment}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        return self._folder / f"{self.name}.log"

    def start(self) -> None:
        """Start the process, in a session of its own: a Ctrl-C here is not a signal there."""
        with self.log.open("ab") as log:
            self._process = self._open(log)

    def _open(self, log: IO[bytes]) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            self._command,
            cwd=ROOT,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    @property
    def process(self) -> "subprocess.Popen[bytes]":
        assert self._process is not None, f"{self.name} was never started"
        return self._process

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def signal(self, number: int) -> None:
        """Send a signal; a process that has ended already does not mind."""
        if self.alive:
            self.process.send_signal(number)

    def wait(self, seconds: float) -> int:
        """The exit code. Raises `TimeoutExpired`."""
        return self.process.wait(seconds)


class Crew(Part):
    """A supervisor with its workers and their children."""

    def __init__(self, name: str, options: WorkerOptions, folder: Path, environment: dict[str, str]) -> None:
        command = [sys.executable, "-m", f"{HERE}.serve", options.to_json().decode()]
        super().__init__(name, command, folder, environment)
        self.options = options
        self._seen: dict[int, psutil.Process] = {}

    def descendants(self) -> list[psutil.Process]:
        """Every process below the supervisor that lives now."""
        found = offspring(psutil.Process(self.pid)) if self.alive else []
        self._seen.update((each.pid, each) for each in found)
        return found

    def workers(self, account: Account) -> list[psutil.Process]:
        """The worker processes that live now and hold a lease."""
        leased = account.workers()
        return [each for each in self.descendants() if each.pid in leased]

    def children(self, worker: psutil.Process) -> list[psutil.Process]:
        """The processes that run a worker's process jobs."""
        found = [each for each in offspring(worker, deep=False) if "executors.child" in " ".join(commandline(each))]
        self._seen.update((each.pid, each) for each in found)
        return found

    def kill(self) -> None:
        """End everything that ever belonged here and still lives, orphans included."""
        self.descendants()
        if self.alive:
            self.process.kill()
        for each in self._seen.values():
            strike(each, signal.SIGCONT)
            strike(each, signal.SIGKILL)
        if self._process is not None:
            self._process.wait(10)


def offspring(process: psutil.Process, *, deep: bool = True) -> list[psutil.Process]:
    """The living processes below one; none when it has ended."""
    try:
        return [each for each in process.children(recursive=deep) if alive(each)]
    except psutil.NoSuchProcess:
        return []


def alive(process: psutil.Process) -> bool:
    """Whether a process still runs: one that ended since it was found does not, reaped or not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def commandline(process: psutil.Process) -> list[str]:
    """How a process was started; nothing when it has ended."""
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []


def strike(process: psutil.Process, number: int) -> bool:
    """Send a signal, unless the process has ended (a new one under the same pid is never hit); True when it was sent."""
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return False
    return True
