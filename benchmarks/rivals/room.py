"""One measurement: its folder, the processes of the queue that is measured, and the journal in which their jobs leave word."""

import json
import os
import signal
import struct
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.rivals.environments import ROOT, Environment
from benchmarks.rivals.peers import Peer

PATIENCE = 90.0
"""Seconds for a worker to be ready, or to leave."""
RECORD = struct.Struct("<qq")
ADAPTERS = Path(__file__).parent / "adapters"


class Failed(Exception):
    """A queue's process failed, or its jobs were not run exactly once each; the text says how."""


@dataclass(frozen=True)
class Run:
    """One run of one job's body."""

    number: int
    at: int
    """Nanoseconds on the monotonic clock."""


class Room:
    """The processes of one queue at one store."""

    def __init__(self, peer: Peer, environment: Environment, url: str, folder: Path) -> None:
        self.peer = peer
        self.environment = environment
        self.url = url
        self.folder = folder
        self.journal = folder / "journal"
        self.workers: list[subprocess.Popen[bytes]] = []

    def _command(self, *arguments: object) -> list[str]:
        if self.environment.node:
            return [*self.environment.program, str(ADAPTERS / self.peer.adapter), *map(str, arguments)]
        return [*self.environment.program, "-m", f"benchmarks.rivals.adapters.{self.peer.adapter}", *map(str, arguments)]

    def _variables(self, slots: int) -> dict[str, str]:
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith(("TREADLE_", "PYTHON"))},
            "RIVAL_URL": self.url,
            "RIVAL_ROOM": str(self.folder),
            "RIVAL_HOME": str(self.environment.home),
            "RIVAL_SETTING": self.peer.setting,
            "RIVAL_SLOTS": str(slots),
        }

    # -- producing

    def do(self, *arguments: object, timeout: float = 900.0) -> dict[str, Any]:
        """Run one process of the queue to its end; what it learned."""
        try:
            done = subprocess.run(
                self._command(*arguments), env=self._variables(0), cwd=ROOT, capture_output=True, text=True, timeout=timeout
            )
        except subprocess.TimeoutExpired:
            raise Failed(f"{arguments[0]} did not end within {timeout:.0f} s") from None
        if done.returncode:
            raise Failed(f"{arguments[0]} failed: {_last(done.stderr)}")
        lines = done.stdout.strip().splitlines()
        found: dict[str, Any] = json.loads(lines[-1]) if lines else {}
        return found

    def prepare(self) -> None:
        """Make the schema, where the queue has one."""
        if not self.environment.node:
            self.do("prepare")

    def produce(self, task: str, numbers: range, *, warm: int = 0, gap: float = 0.0, many: bool = False) -> dict[str, Any]:
        """Store these jobs; seconds for all but the first `warm`, and when each was sent if there is a gap between them."""
        how = "many" if many else "one"
        return self.do("produce", task, numbers.start, len(numbers), warm, gap, how)

    def fill(self, task: str, numbers: range) -> None:
        """Store these jobs in the fastest way that the queue has."""
        self.produce(task, numbers, many=True)

    # -- working

    def start(self, workers: int, slots: int) -> None:
        """Start worker processes, wait until all have imported what they need, and let them begin."""
        for _ in range(workers):
            with (self.folder / "worker.log").open("ab") as log:
                self.workers.append(
                    subprocess.Popen(
                        self._command("work"),
                        env=self._variables(slots),
                        cwd=ROOT,
                        stdout=log,
                        stderr=log,
                        start_new_session=True,
                    )
                )
        deadline = time.monotonic() + PATIENCE
        while len(list(self.folder.glob("ready-*"))) < workers:
            self._check(deadline, "the workers were not ready")
            time.sleep(0.02)
        (self.folder / "go").touch()

    def _check(self, deadline: float, otherwise: str) -> None:
        ended = [worker.returncode for worker in self.workers if worker.poll() is not None]
        if ended or time.monotonic() > deadline:
            said = _last((self.folder / "worker.log").read_text())
            raise Failed(f"{f'a worker ended with {ended[0]}' if ended else otherwise}: {said}")

    def await_runs(self, n: int, seconds: float) -> bool:
        """Wait until so many runs are on record, or so long; whether they are."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.recorded() >= n:
                return True
            self._check(deadline + 1, "")
            time.sleep(0.01)
        return False

    def recorded(self) -> int:
        """How many runs are on record."""
        return self.journal.stat().st_size // RECORD.size if self.journal.exists() else 0

    def runs(self) -> list[Run]:
        """The runs on record, in the order of their ends."""
        whole = self.journal.read_bytes()[: self.recorded() * RECORD.size] if self.journal.exists() else b""
        return sorted((Run(*fields) for fields in RECORD.iter_unpack(whole)), key=lambda run: run.at)

    def memory(self) -> float:
        """Megabytes that the workers with all their processes occupy, shared pages divided among those who share them."""
        total = 0
        for worker in self.workers:
            root = psutil.Process(worker.pid)
            for process in (root, *root.children(recursive=True)):
                try:
                    total += process.memory_full_info().pss
                except psutil.NoSuchProcess:
                    continue
        return total / 1e6

    def await_settled(self, seconds: float) -> int | None:
        """Wait until the store holds no job as waiting or running; when that was seen, or None."""
        deadline = time.monotonic() + seconds
        with self.peer.left(self.url) as left:
            while time.monotonic() < deadline:
                if left() == 0:
                    return time.perf_counter_ns()
                time.sleep(0.005)
        return None

    def stop(self) -> None:
        """End the workers: in good order, and by force if they take long."""
        for worker in self.workers:
            if worker.poll() is None:
                worker.send_signal(signal.SIGTERM)
        for worker in self.workers:
            with suppress(subprocess.TimeoutExpired):
                worker.wait(15)
            # Its session is its own: whatever it left behind goes with it.
            with suppress(ProcessLookupError):
                os.killpg(worker.pid, signal.SIGKILL)
            worker.wait(15)
        self.workers.clear()
        for mark in (*self.folder.glob("ready-*"), self.folder / "go"):
            mark.unlink(missing_ok=True)


def _last(text: str) -> str:
    """The last words of a process that failed."""
    return " / ".join(line.strip() for line in text.strip().splitlines()[-3:])


@contextmanager
def room(peer: Peer, environment: Environment, url: str) -> Generator[Room]:
    """A measurement's folder and processes, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="treadle-bench-") as folder:
        here = Room(peer, environment, url, Path(folder))
        try:
            here.prepare()
            yield here
        finally:
            here.stop()
