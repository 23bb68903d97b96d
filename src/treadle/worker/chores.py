"""What every worker does beside running jobs: promote what is due, rescue what was lost, prune what is old, tend the store.

And one for the machine: memory that was freed goes back to it.

A chore is a row: name, interval, and what to do. All are safe to run everywhere at once; there is no leader.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from treadle.engine.jitter import jittered
from treadle.engine.session import Session, Store
from treadle.model.filter import Retention
from treadle.model.job import Micros
from treadle.worker.eagerness import Eagerness
from treadle.worker.outage import UNREACHED, Outage
from treadle.worker.trim import trimmer

log: logging.Logger = logging.getLogger("treadle.worker")

RESCUE_EVERY = 5.0
PRUNE_EVERY = 60.0
TEND_EVERY = 5.0
TRIM_EVERY = 5.0
RETRY = 1.0
"""Seconds until a chore tries again that did not reach the store."""
BATCH = 1000
EAGER = 0.001
"""Seconds until the next look where something is due by our clock and was not by the store's, twice as many each time: a clock
that is a second ahead cost the store a thousand looks for each job that was due at a certain time.
"""


@dataclass(slots=True)
class Chore:
    """One recurring duty. `work` returns the seconds until it wants its next turn, or None for the usual interval."""

    name: str
    interval: float
    work: Callable[[], Awaitable[float | None]]
    outage: Outage | None = None
    """Told when the store is not reached; without it that is an error like any other."""
    _called: asyncio.Event = field(default_factory=asyncio.Event)

    def call(self, delay: float) -> None:
        """Have the next turn in so many seconds, unless it comes sooner."""
        asyncio.get_running_loop().call_later(delay, self._called.set)

    async def run(self) -> None:
        """Work at the interval, with a tenth of jitter, until cancelled. A failure is logged and tried again."""
        while True:
            wait: float | None = None
            try:
                wait = await self.work()
            except asyncio.CancelledError:
                raise
            except Exception as error:
                if self.outage is not None and isinstance(error, UNREACHED):
                    self.outage.failed(error)
                    wait = min(RETRY, self.interval)
                else:
                    log.exception("the chore %s failed; trying again", self.name)
            pause = jittered(self.interval, 0.9) if wait is None else wait
            with suppress(TimeoutError):
                await asyncio.wait_for(self._called.wait(), pause)
            self._called.clear()


class Chores:
    """The chores of a worker, over its own session."""

    def __init__(
        self,
        store: Store,
        session: Session,
        retention: Retention,
        outage: Outage,
        *,
        poll: float,
        lease: float,
        crash_delay: float,
    ) -> None:
        self._store = store
        self._engine = store.engine
        self._session = session
        self._retention = retention
        self._outage = outage
        self._poll = poll
        self._crash_delay = crash_delay
        self._told: str | None = None
        self._eager = Eagerness(EAGER, poll)
        self.rows: list[Chore] = [
            Chore("promote", poll, self._promote),
            Chore("rescue", min(RESCUE_EVERY, lease), self._rescue),
            Chore("prune", PRUNE_EVERY, self._prune),
            Chore("tend", TEND_EVERY, self._tend),
        ]
        trim = trimmer()
        if trim is not None:
            self.rows.append(Chore("trim", TRIM_EVERY, partial(_apart, trim)))

    def wake_at(self, moment: Micros) -> None:
        """A claim has parked jobs that are to be looked at again at this moment, by the store's clock."""
        self.rows[0].call(max(EAGER, moment / 1e6 - time.time()))

    async def _promote(self) -> float | None:
        promoted = await self._session.arun(self._engine.promote(limit=BATCH))
        self._outage.reached()
        if promoted.queued >= BATCH or promoted.expired >= BATCH:
            return 0.0
        if promoted.next_due is None:
            return None
        # The store's clock may differ from ours, so its word only ever shortens the wait.
        ahead = promoted.next_due / 1e6 - time.time()
        pause = self._eager.after(vain=not (ahead > 0 or promoted.queued or promoted.expired))
        return min(self._poll, max(EAGER, pause, ahead))

    async def _rescue(self) -> float | None:
        if self._outage.away:
            # The first word after an outage is no rescue: whoever knows why a lease ran out meanwhile may speak first.
            await self._session.arun(self._engine.leases())
            self._outage.reached()
        if wait := self._outage.calm_in():
            return wait
        for job in await self._session.arun(self._engine.rescue(delay=self._crash_delay)):
            log.warning("rescued job %s attempt %d from a lost worker; it is %s now", job.id, job.attempt, job.state)
        return None

    async def _prune(self) -> float | None:
        pruned = await self._session.arun(self._engine.prune(self._retention, limit=BATCH))
        return 0.0 if pruned >= BATCH else None

    async def _tend(self) -> None:
        told = await asyncio.to_thread(self._store.tend)
        if told is not None and self._told is None:
            log.warning("%s: %s", self._store.location, told)
        self._told = told


async def _apart(work: Callable[[], object]) -> None:
    await asyncio.to_thread(work)
