"""What the worker asks of an executor."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from treadle.app.context import Ending
from treadle.model.outcome import NoteKind, Outcome
from treadle.worker.run import Run


class Bench(Protocol):
    """What an executor asks of the worker. Called on its loop thread, but for `report` and `completing`: from any thread."""

    def started(self, run: Run) -> None:
        """A body with a timeout begins: enters its deadline, counted from `run.started`, which is set if it was not.

        A body without a timeout needs no call, only `run.started`.
        """
        ...

    def ended(self, run: Run, outcome: Outcome, took: float | None = None) -> None:
        """The attempt is over; its outcome goes to the settler. Called exactly once for each run submitted.

        `took` is seconds of run time, where the executor measured it; else it is counted from `run.started` until now.
        """
        ...

    def report(self, run: Run, kind: NoteKind, name: str, value: str) -> None:
        """Something the body wants written down. Never blocks."""
        ...

    def completing(self, run: Run, connection: Any, result: object) -> Ending:
        """The run's completion, inside the user's transaction."""
        ...


class Executor(Protocol):
    """Runs bodies. All methods are called on the worker's loop thread."""

    slots: int
    """How many bodies run at once."""

    def room(self) -> int:
        """How many more runs it would take now: free slots plus a buffer of at most 50 ms of measured work."""
        ...

    def free(self) -> int:
        """How many slots stand free: what a run that must start at once may count on."""
        ...

    def soon(self) -> int:
        """How many more runs would start as good as at once: into free slots, or behind others that take next to no time."""
        ...

    def submit(self, runs: Sequence[Run]) -> None:
        """Take runs; those beyond the free slots wait, in order."""
        ...

    def stop(self, run: Run) -> None:
        """Make a run end for the reason in `run.stop`: cancellation, a token, a signal - whatever the place allows."""
        ...

    def hand_back(self) -> list[Run]:
        """Give back every run that has not started, without ending it."""
        ...

    async def open(self) -> None:
        """Make ready to take runs."""
        ...

    async def close(self) -> None:
        """Free everything. Whatever still runs is abandoned: its outcome is no longer reported."""
        ...


MakeExecutor = Callable[[Bench], Executor]
