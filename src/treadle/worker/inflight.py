"""What this process holds right now: the one table that fetcher, executors, heartbeat and settler share.

Only the loop thread writes to it. The heartbeat thread reads it when something is wrong.
"""

from collections.abc import Callable
from time import monotonic
from typing import Any

from treadle.app.connection import Connection
from treadle.app.context import Ending
from treadle.model.job import Claimed, JobId, LeaseId
from treadle.model.outcome import Completed, NoteKind, Outcome, Settlement
from treadle.worker.deadlines import Deadlines
from treadle.worker.execution import completing
from treadle.worker.failures import tell
from treadle.worker.notes import Notes
from treadle.worker.pace import Paces
from treadle.worker.run import Run
from treadle.worker.settler import Settler


class Inflight:
    """The bench that executors work at: every run between its claim and its outcome."""

    def __init__(
        self,
        store: Connection,
        lease: LeaseId,
        settler: Settler,
        notes: Notes,
        deadlines: Deadlines,
        changed: Callable[[], None],
    ) -> None:
        self.runs: dict[JobId, Run] = {}
        self.gated: int = 0
        """How many of them are of gated jobs."""
        self._store = store
        self._lease = lease
        self._settler = settler
        self._notes = notes
        self._deadlines = deadlines
        self._changed = changed
        self._suspect: JobId | None = None
        self.paces: Paces = Paces()
        """How long the bodies of gated tasks take."""
        self.watch: Callable[[Run, Outcome], None] | None = None
        """Told of each end of a job that holds limits."""

    def __len__(self) -> int:
        return len(self.runs)

    @property
    def suspects_wanted(self) -> int:
        """One while no suspect is held, else none: what killed a worker once must not take another suspect with it."""
        return 0 if self._suspect is not None else 1

    def holds(self, claimed: Claimed) -> bool:
        """Whether this very attempt is in hand here."""
        run = self.runs.get(claimed.id)
        return run is not None and run.claimed.attempt == claimed.attempt

    @property
    def promised(self) -> bool:
        """Whether a gated job waits here for its start: that was counted with its claim, and is wasted if it is handed back."""
        return any(run.started is None and run.settings.gated for run in self.runs.values())

    def take(self, run: Run) -> None:
        """A claim brought this run."""
        claimed = run.claimed
        before = self.runs.get(claimed.id)
        self.gated += run.settings.gated - (before is not None and before.settings.gated)
        self.runs[claimed.id] = run
        if claimed.suspect:
            self._suspect = claimed.id

    def started(self, run: Run) -> None:
        """A body begins: if it has a timeout, its time counts from here."""
        started = run.started
        if started is None:
            started = run.started = monotonic()
        timeout = run.settings.timeout
        if timeout is not None:
            run.deadline = started + timeout
            self._deadlines.enter(run, run.deadline)

    def ended(self, run: Run, outcome: Outcome, took: float | None = None) -> None:
        """An attempt is over: forget it here, and let the settler tell the store."""
        claimed = run.claimed
        if self.runs.get(claimed.id) is not run:
            return
        del self.runs[claimed.id]
        if run.deadline is not None:
            self._deadlines.drop(run)
        if claimed.id == self._suspect:
            self._suspect = None
        if run.settings.held and self.watch is not None:
            self.watch(run, outcome)
        if type(outcome) is not Completed:
            tell(claimed, outcome)
        if took is None:
            took = 0.0 if run.started is None else monotonic() - run.started
        if run.settings.gated:
            self.gated -= 1
            if run.started is not None:
                self.paces.took(run.task.settings.name, took)
        self._settler.add(Settlement(claimed.ref, claimed.id, claimed.attempt, outcome, took), run.settings.durability)
        self._changed()

    def report(self, run: Run, kind: NoteKind, name: str, value: str) -> None:
        """A body says something; any thread may call."""
        if kind is NoteKind.THROTTLE:
            run.throttled = True
        self._notes.add(run.claimed, kind, name, value)

    def completing(self, run: Run, connection: Any, result: object) -> Ending:
        """A body completes itself inside its own transaction; any thread may call. The settling afterwards finds it done."""
        took = 0.0 if run.started is None else monotonic() - run.started
        return completing(self._store, self._lease, run.task, run.claimed, took, connection, result)
