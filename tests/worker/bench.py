"""A bench that writes down what an executor tells it, and runs to put on it."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

import msgspec

from treadle.app.loader import load
from treadle.model.job import Claimed
from treadle.model.outcome import NoteKind, Outcome
from treadle.worker.run import Run

PATIENCE = 60.0


class FakeBench:
    """What the worker would know: which runs began, how they ended, what they said."""

    def __init__(self) -> None:
        self.begun: list[Run] = []
        self.outcomes: dict[str, Outcome] = {}
        self.said: list[tuple[str, NoteKind, str, str]] = []
        self.changed = asyncio.Event()

    def started(self, run: Run) -> None:
        if run.started is None:
            run.started = monotonic()
        self.begun.append(run)
        self.changed.set()

    def ended(self, run: Run, outcome: Outcome, took: float | None = None) -> None:
        assert run.claimed.id not in self.outcomes, f"{run} ended twice"
        self.outcomes[run.claimed.id] = outcome
        self.changed.set()

    def report(self, run: Run, kind: NoteKind, name: str, value: str) -> None:
        assert run.claimed.id not in self.outcomes, f"{run} spoke after its end"
        self.said.append((run.claimed.id, kind, name, value))
        self.changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something told makes the condition true."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    async def until_ended(self, *runs: Run) -> list[Outcome]:
        await self.until(lambda: all(run.claimed.id in self.outcomes for run in runs))
        return [self.outcomes[run.claimed.id] for run in runs]


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that nobody announces, such as a file or a process."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.01)


class Runs:
    """Makes runs of one app's tasks, each with an id of its own."""

    def __init__(self, target: str) -> None:
        self.app = load(target)
        self._made = 0

    def run(self, name: str, **args: Any) -> Run:
        task = self.app.registry.expect(name)
        self._made += 1
        claimed = Claimed(
            ref=self._made, id=f"job-{self._made}", task=name, version=1, codec="json", queue="default", priority=0,
            attempt=1, failures=0, crashes=0, snoozes=0, enqueued_at=1, claimed_at=2, first_failed_at=None, start_by=None,
            suspect=False, args=msgspec.json.encode(args).decode(), options=None, headers=None,
        )  # fmt: skip
        return Run(claimed, task, task.settings_for(None))


def append(file: Path, line: str) -> None:
    with file.open("a", encoding="utf-8") as out:
        out.write(line + "\n")


def lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines() if file.exists() else []
