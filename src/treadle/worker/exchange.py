"""The worker's conversation with the store: one call, carrying notes, outcomes and the next claim together.

Large batches of outcomes travel beside it.
"""

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic
from typing import Any

from treadle.app.failure import plain
from treadle.engine.contract import Engine
from treadle.engine.jitter import jittered
from treadle.engine.plan import Plan, together
from treadle.engine.session import Durability, Session, Store, Waiter
from treadle.model.job import LeaseId, Micros
from treadle.model.outcome import Cause, Died, Note, Settlement
from treadle.worker.doubt import Doubt
from treadle.worker.eagerness import Eagerness
from treadle.worker.fetcher import Ask, Fetcher
from treadle.worker.halves import Halves
from treadle.worker.notes import Notes
from treadle.worker.outage import UNREACHED, Outage
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

TURNS = 4
"""Turns of the loop in which nothing ends, after which bodies take their time: what was submitted begins in the third."""

ABREAST = 500
"""Outcomes from which on they are told while the worker goes on claiming, where the store does well with both at once.

So many take the store longer than a second exchange and its commit do; fewer are told together with the claim.
"""

VAIN, VAIN_MOST = 0.001, 0.05
"""Seconds between claims that bring nothing though more is next, at first and at most. What is next may be held by somebody's
own transaction for as long as that lasts: without a pause 400 claims a second waited for its end. But it may also be that the
first 1,000 had to be parked, and no pause may keep what stands behind ten thousand of them for long.
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
        lost: Callable[[], Awaitable[None]],
        alone: Callable[[], bool],
        threads_run: Callable[[], bool],
        unfit: Callable[[], None],
        doubt: Doubt,
        outage: Outage,
        store: Store,
    ) -> None:
        self.fetcher: Fetcher | None = None
        self.parked: Callable[[Micros], None] | None = None
        """Told when what a claim has parked is to be looked at again."""
        self.before_settling: Callable[[], Awaitable[None]] | None = None
        """Awaited when attempts have ended, before the store is told."""
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
        self._unfit = unfit
        self._doubt = doubt
        self._outage = outage
        self._threads_run = threads_run
        self._abreast = store.abreast
        self._telling: asyncio.Task[None] | None = None
        self._halves = Halves(self._converse, settler, notes, signal, serial=store.serial)
        self._idle = False
        self._patience = 0.0
        self._eager = Eagerness(VAIN, VAIN_MOST)
        self._asking = False
        self._ending = False  # a claim is due while what was waited for is still ending

    @property
    def claiming(self) -> bool:
        """Whether a claim is under way, whose jobs nobody here knows of yet."""
        return self._asking or self._halves.claiming

    async def run(self) -> None:
        """Converse until cancelled."""
        try:
            while True:
                await self._signal.wait()
                self._signal.clear()
                await self._gather()
                await self.once()
                # A store in this very process answers without suspending; the bodies must have their turn all the same.
                await asyncio.sleep(0)
        finally:
            beside = [*self._halves.tasks, *([self._telling] if self._telling is not None else [])]
            for task in beside:
                task.cancel()
            if beside:
                await asyncio.wait(beside)

    async def _gather(self) -> None:
        """Let what is in hand end, where gated jobs wait for that, while turns of the loop go on ending some: an exchange for
        half of them costs nearly as much as one for all."""
        if self.fetcher is None:
            return
        due = False
        idle, held = 0, self.fetcher.awaited(len(self._settler))
        while held and idle < TURNS and not (due := self._halves.goes_first(self.fetcher)):
            await asyncio.sleep(0)
            before, held = held, self.fetcher.awaited(len(self._settler))
            idle = 0 if held < before else idle + 1
        self._ending = due

    async def poll(self) -> None:
        """Turn wakes and the passing of the poll interval into appetite, until cancelled."""
        self._waiter.listen(self._woken)
        while True:
            await asyncio.sleep(jittered(self._poll, 0.9))
            if self._idle:
                self._waiter.idle(True)  # a declaration that was lost meanwhile is made again
            if self.fetcher is not None:
                self.fetcher.give_back()
            self._woken(polled=True)

    def _woken(self, *, polled: bool = False) -> None:
        if self.fetcher is not None:
            self.fetcher.wake(polled=polled)
        self._signal.set()

    async def once(self) -> None:
        """One exchange: write what is pending, claim what fits."""
        fetcher, doubt = self.fetcher, self._doubt
        if self._abreast and fetcher is not None and fetcher.halves and not doubt.open:
            await self._told()
            await self._halves.take(fetcher, ending=self._ending)
            return
        await self._halves.over()
        # Claims wait while a whole further batch does: else brief bodies ended 53,000 jobs that the store knew nothing of.
        if self._telling is not None and (self._telling.done() or doubt.open or self._settler.full):
            await self._told()
        try:
            await doubt.settle()
        except UNREACHED as error:
            log.debug("what this worker holds could not be asked: %s", error)
        # Where gated jobs wait for what ends here, the claim is to find those that this settlement frees.
        beside = self._abreast and len(self._settler) >= ABREAST and fetcher is not None and not fetcher.in_turn
        untold = self._settler.left if beside or self._telling is not None else 0
        asks = fetcher.asks(untold) if fetcher is not None else []
        self._asking = bool(asks)
        try:
            if self._telling is not None:
                # One batch at a time: what has ended meanwhile waits for the next.
                await self._converse([], [], Durability.DEFAULT, asks)
                return
            notes = self._notes.take()
            batch, strictness = self._settler.take()
            if beside and asks:
                self._telling = asyncio.create_task(self._converse(notes, batch, strictness, []), name="treadle telling")
                await self._converse([], [], strictness, asks)
            else:
                await self._converse(notes, batch, strictness, asks)
        finally:
            self._asking = False

    async def _told(self) -> None:
        """Wait until what is being told has been."""
        if self._telling is not None:
            await self._telling
            self._telling = None

    async def _converse(self, notes: list[Note], batch: list[Settlement], strictness: Durability, asks: Sequence[Ask]) -> None:
        """Have all this carried out as one, and act on the answers."""
        plans: list[Plan[Any]] = []
        if notes:
            plans.append(self._engine.note(self._lease, notes))
        if batch:
            plans.append(self._engine.settle(self._lease, batch))
        plans.extend(ask.plan for ask in asks)
        if not plans:
            return
        durability = Durability.DEFAULT if asks or notes else strictness
        began = monotonic()
        try:
            answers = await self._carry(together(*plans), durability, len(batch))
        except asyncio.CancelledError:
            # Whether it was stored is unknown; telling again does no harm, forgetting would.
            self._settler.put_back(batch, strictness)
            self._notes.put_back(notes)
            raise
        except Exception as error:
            if isinstance(error, UNREACHED):
                self._settler.put_back(batch, strictness)
                self._notes.put_back(notes)
            else:
                await self._apart(batch, strictness, notes)
            if asks:
                self._doubt.arise()
            self._patience = min(1.0, max(0.02, self._patience * 2))
            if isinstance(error, UNREACHED):
                self._outage.failed(error)
            else:
                log.exception("the store did not take an exchange; trying again within %.2f s", self._patience)
            await asyncio.sleep(jittered(self._patience))
            self._signal.set()
            return
        self._patience = 0.0
        self._outage.reached()
        rest = list(answers[1:] if notes else answers)
        if batch:
            self._settler.confirm(batch, rest.pop(0))
        await self._claimed(asks, rest, monotonic() - began)
        hungry = bool(asks) and self.fetcher is not None and self.fetcher.hungry
        pause = self._eager.after(vain=hungry and not any(claims.jobs for claims in rest)) if asks else 0.0
        if len(self._settler) or (hungry and pause <= VAIN):
            self._signal.set()
        elif hungry:
            # More is next and nothing of it was given: ask again, a little later each time.
            asyncio.get_running_loop().call_later(pause, self._signal.set)

    async def _carry(self, plan: Plan[tuple[Any, ...]], durability: Durability, size: int) -> tuple[Any, ...]:
        """Run the plan of one exchange that settles `size` jobs."""
        if size and self.before_settling is not None:
            await self.before_settling()
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

    async def _apart(self, batch: list[Settlement], strictness: Durability, notes: list[Note]) -> None:
        """Store in ever smaller parts what could not be stored together: what cannot be stored holds up nothing else."""
        said, parts = notes, [batch] if batch else []
        try:
            while said:
                await self._note_alone(said[0])
                said = said[1:]
            while parts:
                part = parts[-1]
                try:
                    verdicts = await self._session.arun(self._engine.settle(self._lease, part), strictness)
                except UNREACHED:
                    raise
                except Exception as error:
                    if len(part) == 1:
                        await self._bury(part[0], strictness, error)
                        parts.pop()
                    else:
                        half = len(part) // 2
                        parts[-1:] = [part[half:], part[:half]]
                else:
                    self._settler.confirm(part, verdicts)
                    parts.pop()
        except UNREACHED as error:
            self._outage.failed(error)
        finally:
            self._notes.put_back(said)
            self._settler.put_back(batch, strictness, [each for part in reversed(parts) for each in part])

    async def _note_alone(self, note: Note) -> None:
        try:
            await self._session.arun(self._engine.note(self._lease, [note]))
        except UNREACHED:
            raise
        except Exception:
            log.exception("a %s note of job %s could not be stored and is dropped", note.kind, note.id)

    async def _bury(self, settlement: Settlement, strictness: Durability, error: Exception) -> None:
        """A job whose outcome cannot be stored is a dead letter; if not even that can be stored, its lease must end."""
        log.error("the outcome of job %s could not be stored; it becomes a dead letter", settlement.id, exc_info=error)
        reason = plain(f"its outcome could not be stored: {type(error).__name__}: {error}")
        dead = settlement._replace(outcome=Died(Cause.INVALID, reason), took=0.0)
        try:
            verdicts = await self._session.arun(self._engine.settle(self._lease, [dead]), strictness)
        except UNREACHED:
            raise
        except Exception:
            log.critical("job %s could not be settled at all; this worker is replaced", settlement.id, exc_info=True)
            self._unfit()
        else:
            self._settler.confirm([dead], verdicts)

    async def _claimed(self, asks: Sequence[Ask], answers: Sequence[Any], took: float) -> None:
        if not asks:
            return
        assert self.fetcher is not None
        self._halves.answered_at = monotonic()
        if any(claims.lost for claims in answers):
            self.fetcher.draining = True
            await self._lost()
            return
        if self.parked is not None:
            for claims in answers:
                if claims.wakes_at is not None:
                    self.parked(claims.wakes_at)
        fetcher = self.fetcher
        short = [ask for ask, claims in zip(asks, answers, strict=True) if not fetcher.take(ask, claims)]
        if self._idle or len(short) < len(asks):
            for ask in short:
                fetcher.sated(ask, took)
        self._declare(idle=len(short) == len(asks))

    def _declare(self, *, idle: bool) -> None:
        if idle is not self._idle:
            self._idle = idle
            self._waiter.idle(idle)
