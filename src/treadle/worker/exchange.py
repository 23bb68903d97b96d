"""The worker's conversation with the store: one call at a time, carrying notes, outcomes and the next claim together."""

import asyncio
import logging
import random
import sys
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

from treadle.engine.contract import Engine
from treadle.engine.plan import Plan, together
from treadle.engine.session import Durability, Session, Waiter
from treadle.model.job import LeaseId
from treadle.worker.fetcher import Ask, Fetcher
from treadle.worker.notes import Notes
from treadle.worker.settler import Settler

log: logging.Logger = logging.getLogger("treadle.worker")

MANY = 100
BRISK = 0.00002
"""While an exchange settles this many jobs, threads switch after so many seconds instead of Python's 5 ms.

Bodies so short that a hundred end during one exchange keep the interpreter busy, and a session's thread needs it back
after each statement. At 5 ms it waited until the loop had run dry, and nothing overlapped: 42,000 jobs/s against 64,000 in
the same minutes. Longer bodies make smaller exchanges and keep the usual interval, and so do bodies in threads, which
would take the interpreter from each other.
"""


class Exchange:
    """Settles and claims whenever there is something to settle or room to fill, and sleeps on the waiter otherwise.

    An empty claim is not yet a reason to sleep: the worker first declares itself idle, then claims once more, so that a
    job stored between the two is either claimed or announced.
    """

    def __init__(
        self,
        engine: Engine,
        session: Session,
        waiter: Waiter,
        lease: LeaseId,
        settler: Settler,
        notes: Notes,
        signal: asyncio.Event,
        poll: float,
        lost: Callable[[], None],
        alone: Callable[[], bool],
        threads_run: Callable[[], bool],
    ) -> None:
        self.fetcher: Fetcher | None = None
        self.progressed: float = monotonic()
        self._engine = engine
        self._session = session
        self._waiter = waiter
        self._lease = lease
        self._settler = settler
        self._notes = notes
        self._signal = signal
        self._poll = poll
        self._lost = lost
        self._alone = alone
        self._threads_run = threads_run
        self._idle = False
        self._patience = 0.0

    async def run(self) -> None:
        """Converse until cancelled."""
        while True:
            await self._signal.wait()
            self._signal.clear()
            await self.once()
            self.progressed = monotonic()
            # A store in this very process answers without suspending; the bodies must have their turn all the same.
            await asyncio.sleep(0)

    async def poll(self) -> None:
        """Turn wakes and the passing of the poll interval into appetite, until cancelled."""
        self._waiter.listen(self._woken)
        while True:
            await asyncio.sleep(self._poll * random.uniform(0.9, 1.0))  # noqa: S311 - jitter, not a secret
            self._woken()

    def _woken(self) -> None:
        if self.fetcher is not None:
            self.fetcher.wake()
        self._signal.set()

    async def once(self) -> None:
        """One exchange: write what is pending, claim what fits."""
        notes = self._notes.take()
        batch, strictness = self._settler.take()
        asks = self.fetcher.asks() if self.fetcher is not None else []
        plans: list[Plan[Any]] = []
        if notes:
            plans.append(self._engine.note(self._lease, notes))
        if batch:
            plans.append(self._engine.settle(self._lease, batch))
        plans.extend(ask.plan for ask in asks)
        if not plans:
            return
        durability = Durability.DEFAULT if asks or notes else strictness
        try:
            answers = await self._carry(together(*plans), durability, len(batch))
        except asyncio.CancelledError:
            # Whether it was stored is unknown; telling again does no harm, forgetting would.
            self._settler.put_back(batch, strictness)
            self._notes.put_back(notes)
            raise
        except Exception:
            self._settler.put_back(batch, strictness)
            self._notes.put_back(notes)
            self._patience = min(1.0, max(0.02, self._patience * 2))
            log.exception("the store did not take an exchange; trying again within %.2f s", self._patience)
            await asyncio.sleep(self._patience * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret
            self._signal.set()
            return
        self._patience = 0.0
        rest = list(answers[1:] if notes else answers)
        if batch:
            self._settler.confirm(batch, rest.pop(0))
        self._claimed(asks, rest)
        if len(self._settler) or (asks and self.fetcher is not None and self.fetcher.hungry):
            self._signal.set()

    async def _carry(self, plan: Plan[tuple[Any, ...]], durability: Durability, size: int) -> tuple[Any, ...]:
        """Run the plan of one exchange that settles `size` jobs."""
        if self._alone():
            # Nothing runs here that could be kept waiting: spare the first job of an idle worker two thread switches.
            return self._session.run(plan, durability)
        if size < MANY or self._threads_run():
            return await self._session.arun(plan, durability)
        usual = sys.getswitchinterval()
        sys.setswitchinterval(BRISK)
        try:
            return await self._session.arun(plan, durability)
        finally:
            sys.setswitchinterval(usual)

    def _claimed(self, asks: Sequence[Ask], answers: Sequence[Any]) -> None:
        if not asks:
            return
        assert self.fetcher is not None
        if any(claims.lost for claims in answers):
            self.fetcher.draining = True
            self._lost()
            return
        fetcher = self.fetcher
        short = [ask for ask, claims in zip(asks, answers, strict=True) if not fetcher.take(ask, claims)]
        if self._idle or len(short) < len(asks):
            for ask in short:
                fetcher.sated(ask)
        self._declare(idle=len(short) == len(asks))

    def _declare(self, *, idle: bool) -> None:
        if idle is not self._idle:
            self._idle = idle
            self._waiter.idle(idle)
