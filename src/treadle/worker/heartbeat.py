"""The worker's sign of life, in a thread and on a connection of its own, so that a blocked event loop cannot stop it.

The thread also watches the loop: it names a job that blocks it, and replaces the process when the loop stands still.
"""

import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from typing import Protocol

from treadle.engine.contract import Engine
from treadle.engine.session import Session, Waiter
from treadle.model.job import JobId, LeaseId, WorkerInfo
from treadle.worker.lost import UNKNOWN, why_lost
from treadle.worker.options import WorkerOptions
from treadle.worker.outage import UNREACHED, Outage

log: logging.Logger = logging.getLogger("treadle.worker")

EXIT_AWAY = 69
EXIT_LOST = 70
EXIT_STALLED = 71
EXIT_RECYCLE = 75

LOOK = 0.25
"""How often the thread looks at the loop, in seconds; also how long a worker that leaves may wait for it."""

LAST_WORDS = 2.0
"""Seconds that a worker whose lease is gone has to end its bodies before the process is ended under them."""


def clock() -> float:
    """Seconds that go on while the machine sleeps, where the platform can tell: a lease does not stop with the lid."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


class Loop(Protocol):
    """What the heartbeat asks of the worker. Every call is safe from this thread and returns at once."""

    def tick_age(self) -> float:
        """Seconds since the event loop last ran its tick."""
        ...

    def culprit(self) -> str:
        """The job that the loop is executing right now, or empty."""
        ...

    def bodies(self) -> int:
        """How many bodies run here."""
        ...

    def cancel(self, jobs: Sequence[JobId]) -> None:
        """Ask running jobs to stop."""
        ...

    def stood(self) -> float:
        """The longest time in seconds that the event loop stood still since this was last asked."""
        ...

    def lose(self, *, spared: bool) -> None:
        """The lease is gone: end everything. `spared` when that is the store's doing and no body's."""
        ...

    def settle_stalled(self) -> None:
        """Tell the store, on the caller's session, that the culprit crashed and the rest is handed back."""
        ...


class Heartbeat:
    """Keeps one lease alive until stopped, or says so when it can no longer be kept."""

    def __init__(
        self, engine: Engine, session: Session, waiter: Waiter, lease: LeaseId, options: WorkerOptions, loop: Loop,
        outage: Outage, local: bool,
    ) -> None:  # fmt: skip
        self._engine = engine
        self._session = session
        self._waiter = waiter
        self._lease = lease
        self._length = options.lease
        self._margin = min(5.0, options.lease / 6)
        self._stall = options.loop_stall
        self._blocked = options.blocked_after
        self._loop = loop
        self._outage = outage
        self._unheard: Exception | None = None
        """The last error of a store that was not reached, since it last extended the lease."""
        self._local = local
        self._target = options.target
        self._beat = 0
        self._deadline = 0.0
        self._warned = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="treadle heartbeat", daemon=True)

    def open(self, worker: WorkerInfo) -> None:
        """Open the lease with the store. Raises what the store raises."""
        sent = clock()
        self._session.run(self._engine.renew(self._lease, 0, self._length, worker=worker))
        self._deadline = sent + self._length - self._margin

    def start(self) -> None:
        """Beat from now on. The main thread's id is the one whose stack is shown when the loop stands still."""
        self._main = threading.get_ident()
        self._waiter.idle(True)
        self._thread.start()

    def stop(self) -> None:
        """Beat no more; the lease is left to run out or to be removed."""
        self._stopping.set()
        self._waiter.close()
        self._thread.join(timeout=5.0)

    def _run(self) -> None:
        interval = self._length / 3
        due = clock() + interval
        while not self._stopping.is_set():
            now = clock()
            if now >= self._deadline:
                self._overdue()
                return
            if now >= due:
                renewed = self._renew()
                if renewed is False:
                    self._lost(self._explained())
                    return
                due = clock() + (interval if renewed else min(1.0, interval / 4))
            self._watch()
            try:
                if self._waiter.wait(max(0.01, min(due - clock(), self._blocked / 2, LOOK))):
                    due = 0.0
            except OSError:
                if not self._stopping.is_set():
                    raise

    def _renew(self) -> bool | None:
        """True: extended; False: refused; None: unknown, because the store was not reached."""
        sent = clock()
        self._beat += 1
        try:
            renewal = self._session.run(self._engine.renew(self._lease, self._beat, self._length))
        except UNREACHED as error:
            self._unheard = error
            self._outage.failed(error)
            return None
        except Exception:
            log.warning("the lease could not be renewed; trying again while it lasts", exc_info=True)
            return None
        self._outage.reached()
        if renewal.lost:
            return False
        self._unheard = None
        self._loop.stood()
        self._deadline = sent + self._length - self._margin
        if renewal.cancels:
            self._loop.cancel(renewal.cancels)
        return True

    def _watch(self) -> None:
        age = self._loop.tick_age()
        if age < self._blocked:
            self._warned = False
            return
        if not self._warned:
            self._warned = True
            log.warning("the event loop has not run for %.1f s; it executes %s", age, self._loop.culprit() or "no job")
        if age >= self._stall:
            stack = self._stack()
            log.critical("the event loop has stood still for %.0f s; this worker is replaced\n%s", age, stack)
            try:
                self._loop.settle_stalled()
            except Exception:
                log.exception("the stalled job could not be settled; its lease will run out instead")
            leave(EXIT_STALLED)

    def _stack(self) -> str:
        # The only way to see another thread's stack.
        frame = sys._current_frames().get(self._main)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        return "".join(traceback.format_stack(frame)) if frame is not None else ""

    def _overdue(self) -> None:
        """The local deadline has passed. The store has kept this from us, unless this process stood still so long itself."""
        stood = self._loop.stood()
        if self._unheard is None:
            return self._lost(f"it was not renewed in time; this process stood still for up to {stood:.0f} s")
        spared = not self._local and stood < max(self._blocked, self._margin)
        whose = "its jobs go back unharmed" if spared else f"and this process stood still for up to {stood:.0f} s"
        return self._lost(f"no word of it came through in time ({self._outage.plain(self._unheard)}); {whose}", spared=spared)

    def _explained(self) -> str:
        try:
            return self._session.run(why_lost(self._engine, self._lease, self._target))
        except UNREACHED:
            return UNKNOWN

    def _lost(self, why: str, *, spared: bool = False) -> None:
        log.error("the lease of this worker is lost: %s; whatever runs here is stopped", why)
        self._loop.lose(spared=spared)
        end = time.monotonic() + LAST_WORDS
        while time.monotonic() < end and not self._stopping.wait(0.05):
            if not self._loop.bodies():
                break
        if self._stopping.is_set():
            return
        # Either bodies would not end, or the loop is blocked and cannot leave by itself: nothing here counts any more.
        if self._loop.bodies() or not self._stopping.wait(LAST_WORDS):
            leave(EXIT_LOST)


def leave(code: int) -> None:
    """End the process at once, whatever its threads are doing."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
