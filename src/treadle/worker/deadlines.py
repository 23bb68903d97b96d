"""When running bodies must end: one table and one timer, instead of a timeout object per job.

`asyncio.timeout` around each job was the largest single cost in a worker (132,000 against 71,000 no-op jobs per second on
SQLite); a dict entry costs nothing that could be measured.
"""

import asyncio
from collections.abc import Callable
from time import monotonic

from treadle.worker.run import Run


class Deadlines:
    """Calls `overdue(run)` on the loop once for each run whose deadline has passed."""

    def __init__(self, overdue: Callable[[Run], None]) -> None:
        self._overdue = overdue
        self._table: dict[Run, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._due = float("inf")

    def enter(self, run: Run, deadline: float) -> None:
        """Watch a run until `deadline` (monotonic seconds) or until it is dropped."""
        self._table[run] = deadline
        if deadline < self._due:
            self._arm(deadline)

    def drop(self, run: Run) -> None:
        """Stop watching a run."""
        self._table.pop(run, None)

    def close(self) -> None:
        """Forget everything."""
        if self._timer is not None:
            self._timer.cancel()
        self._table.clear()

    def _arm(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._due = due
        self._timer = asyncio.get_running_loop().call_later(max(0.0, due - monotonic()), self._sweep)

    def _sweep(self) -> None:
        now = monotonic()
        late = [run for run, deadline in self._table.items() if deadline <= now]
        for run in late:
            del self._table[run]
            self._overdue(run)
        self._timer = None
        self._due = float("inf")
        if self._table:
            self._arm(min(self._table.values()))
