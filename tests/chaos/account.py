"""Reads treadle's own account of a run: who works now, how much is left, and in the end everything it has recorded."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from treadle import StoreBusy, Treadle
from treadle.model.filter import Axis, Filter, Order, Page
from treadle.model.job import AttemptRecord, Job
from treadle.model.state import State

from . import journal
from .journal import Journal

PAGE = 500
PATIENCE = 0.4
"""Seconds to wait for other writers: each holds the database for milliseconds."""


class Account:
    """The store of a run, seen from outside its workers. While it is `away`, workers and counts are those known last."""

    def __init__(self, url: str) -> None:
        self.away = False
        self._workers: set[int] = set()
        self._counts: dict[str, int] = {}
        self._app = Treadle(url)
        self._probe = Treadle(f"{url}?timeout={PATIENCE}")

    def writable(self) -> bool:
        """Whether a transaction can be written now. Asks to extend a lease that does not exist, which changes nothing."""
        if self.away:
            return True
        try:
            self._probe.connection.run(self._probe.connection.engine.renew("0" * 32, 1, 1.0))
        except StoreBusy:
            return False
        return True

    def workers(self) -> set[int]:
        """The pids of the worker processes that hold a lease, dead ones among them until they are rescued."""
        if not self.away:
            connection = self._app.connection
            self._workers = {lease.worker.pid for lease in connection.run(connection.engine.leases())}
        return self._workers

    def counts(self) -> dict[str, int]:
        """How many jobs there are in each state."""
        if not self.away:
            connection = self._app.connection
            counted = connection.run(connection.engine.count(Filter(), (Axis.STATE,)))
            self._counts = {str(each.key[0]): each.count for each in counted}
        return self._counts

    def live(self) -> int:
        """How many jobs have not ended."""
        return sum(count for state, count in self.counts().items() if not State(state).final)

    def jobs(self) -> Iterator[Job]:
        """Every job, oldest first, with its details."""
        connection = self._app.connection
        after: str | None = None
        while True:
            page = Page(limit=PAGE, after=after, order=Order.OLDEST, details=True)
            found = connection.run(connection.engine.find(Filter(), page))
            yield from found
            if len(found) < PAGE:
                return
            after = found[-1].id

    def write(self, folder: Path) -> None:
        """Write down all that the store says, for the checker."""
        ledger, counts = Journal(folder / journal.LEDGER), Journal(folder / journal.COUNTS)
        for job in self.jobs():
            ledger.write(**entry(job))
        for state, count in self.counts().items():
            counts.write(state=state, count=count)
        ledger.close()
        counts.close()

    def close(self) -> None:
        self._app.close()
        self._probe.close()


def entry(job: Job) -> dict[str, Any]:
    """One job as a line of the ledger."""
    return {
        "job": job.id,
        "state": str(job.state),
        "attempt": job.attempt,
        "claimed": job.claimed_at / 1e6 if job.claimed_at is not None else None,
        "result_attempt": json.loads(job.result)["attempt"] if job.result is not None else None,
        "cause": job.dead.cause if job.dead is not None else None,
        "crashes": job.crashes,
        "tries": [attempt(each) for each in job.attempts],
    }


def attempt(record: AttemptRecord) -> dict[str, Any]:
    """One attempt that did not complete; a worker's name ends in its pid."""
    return {
        "attempt": record.attempt,
        "outcome": record.outcome,
        "worker": int(record.worker.rpartition(":")[2]),
        "started": record.started_at / 1e6,
        "ended": record.ended_at / 1e6,
        "delay": record.delay or 0.0,
        "exit": record.exit,
    }
