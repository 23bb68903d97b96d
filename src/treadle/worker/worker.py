"""One worker process: wires the services around what is in flight, and sees them stop in the right order.

    waiter -> exchange (fetcher, settler) -> inflight -> executors
    beside them: heartbeat (own thread), chores, deadlines

Stopping goes the way of the data: no more claims, then the bodies, then the outcomes, and the heartbeat last.
"""

import asyncio
import logging
import os
import socket
import threading
from collections.abc import Callable, Sequence
from time import monotonic

from treadle.app.app import Treadle
from treadle.app.limitbook import declare_limits
from treadle.app.served import served_write
from treadle.model.job import JobId, LeaseId, Witness, WorkerInfo
from treadle.model.outcome import NoteKind, Released, Settlement
from treadle.worker.breakers import Breakers
from treadle.worker.chores import Chore, Chores
from treadle.worker.deadlines import Deadlines
from treadle.worker.doubt import Doubt
from treadle.worker.exchange import Exchange
from treadle.worker.execution import crashed, stopped
from treadle.worker.executors.loop import LoopExecutor
from treadle.worker.executors.port import Executor
from treadle.worker.executors.processes import ProcessExecutor
from treadle.worker.executors.threads import ThreadExecutor
from treadle.worker.fetcher import Fetcher
from treadle.worker.heartbeat import EXIT_LOST, EXIT_RECYCLE, LAST_WORDS, Heartbeat
from treadle.worker.inflight import Inflight
from treadle.worker.logs import job_fields
from treadle.worker.lost import UNKNOWN, why_lost
from treadle.worker.notes import Notes
from treadle.worker.options import WorkerOptions
from treadle.worker.outage import SILENCE, UNREACHED, Outage
from treadle.worker.pace import SOON
from treadle.worker.rules import Rules
from treadle.worker.run import Run, Stop
from treadle.worker.scheduler import Scheduler
from treadle.worker.settler import Settler
from treadle.worker.start import claimed_here

log: logging.Logger = logging.getLogger("treadle.worker")

TICK = 0.25


class Worker:
    """Serves queues until told to stop.

    `ready` is called once the lease is open and jobs are being claimed. `drain` and `abandon` are the first and the second
    signal; both are called on the loop's thread. `away` is called, on any thread, when the lease is lost because the store
    was away; `after_outage` says that it just has been.
    """

    def __init__(
        self,
        app: Treadle,
        options: WorkerOptions,
        *,
        lease: LeaseId,
        ready: Callable[[], None],
        away: Callable[[], None] | None = None,
        after_outage: bool = False,
    ) -> None:
        self._app = app
        self._options = options
        self._lease = lease
        self._ready = ready
        self._away = away
        self._exit = 0
        self._ticked = monotonic()
        self._stood = 0.0
        self._thread = threading.get_ident()
        self._settler = Settler()
        store = app.store
        meanwhile = f"what runs goes on, and is stopped if no word comes through before the lease of {options.lease:g} s ends"
        self._outage = Outage(store.location, meanwhile, min(SILENCE, options.lease / 6), after=after_outage)
        self._engine = store.engine
        self._session = store.session()
        self._beats = store.session()
        self._waiter = store.waiter([f"queue:{queue}" for queue, _ in options.queues])
        self._calls = store.waiter([f"lease:{lease}"])

    async def serve(self) -> int:
        """Run until stopped; returns the exit code: 0, or the reason why this process must be replaced."""
        self._loop = asyncio.get_running_loop()
        self._signal = asyncio.Event()
        self._stopping = asyncio.Event()
        self._abandoned = asyncio.Event()
        self._wire()
        await self._open()
        services = [self._loop.create_task(self._ticking(), name="treadle tick")]
        self._conversing = self._loop.create_task(self._exchange.run(), name="treadle exchange")
        services += [self._conversing, self._loop.create_task(self._exchange.poll(), name="treadle poll")]
        chores = Chores(
            self._app.store,
            self._session,
            self._app.retention,
            self._outage,
            poll=self._options.poll,
            lease=self._options.lease,
            crash_delay=self._options.crash_delay,
        )
        if self._app.schedules:
            chores.rows.append(Scheduler(self._app, self._session, self._lease).chore)
        chores.rows.append(self._rules.chore)
        for row in chores.rows:
            row.outage = self._outage
        self._exchange.parked = chores.wake_at
        self._exchange.before_settling = self._breakers.before_settling if self._breakers else None
        beside: list[Chore | Breakers] = [*chores.rows, *([self._breakers] if self._breakers else [])]
        services.extend(self._loop.create_task(each.run(), name=f"treadle {each.name}") for each in beside)
        for service in services:
            service.add_done_callback(self._service_ended)
        self._signal.set()
        self._ready()
        try:
            await self._stopping.wait()
            await self._finish()
        finally:
            for service in services:
                service.cancel()
            await asyncio.gather(*services, return_exceptions=True)
            await self._close()
        return self._exit

    def drain(self) -> None:
        """Claim nothing more, let jobs finish within the grace, then hand back the rest."""
        log.info("stopping: no more claims; running jobs have %g s", self._options.grace)
        self._stopping.set()

    def abandon(self) -> None:
        """Hand back now what still runs."""
        self._stopping.set()
        self._abandoned.set()

    @property
    def settled(self) -> int:
        """How many outcomes the store has confirmed."""
        return self._settler.settled

    # -- opening and closing

    def _wire(self) -> None:
        options = self._options
        self._notes = Notes(self._changed_from_anywhere)
        self._deadlines = Deadlines(self._overdue)
        self._inflight = Inflight(self._app.connection, self._lease, self._settler, self._notes, self._deadlines, self._changed)
        self._breakers = Breakers(self._engine, self._session, self._app.limits)
        self._inflight.watch = self._breakers.saw if self._breakers else None
        self._threads = ThreadExecutor(self._inflight, options.threads)
        self._executors: dict[str, Executor] = {
            "loop": LoopExecutor(self._inflight, options.async_slots),
            "thread": self._threads,
            "process": self._children(),
        }
        used = {task.settings.executor for task in self._app.registry.tasks()}
        self._executors = {place: executor for place, executor in self._executors.items() if place in used}
        self._exchange = Exchange(
            self._engine,
            self._session,
            self._waiter,
            self._lease,
            self._settler,
            self._notes,
            self._signal,
            options.poll,
            self._refused,
            self._alone,
            self._threads_run,
            self._unfit,
            Doubt(self._engine, self._session, self._lease, self._settler, self._inflight.holds),
            self._outage,
            self._app.store,
        )
        self._fetcher = Fetcher(
            self._engine, self._lease, self._app.registry, options.queues, options.strict, self._executors, self._inflight
        )
        self._exchange.fetcher = self._fetcher
        self._rules = Rules(self._app, self._session, self._fetcher.reweigh)

    def _children(self) -> ProcessExecutor:
        options = self._options
        return ProcessExecutor(
            self._inflight,
            target=options.target,
            slots=options.children,
            kill_grace=options.kill_grace,
            crash_delay=options.crash_delay,
            max_jobs=options.child_max_jobs,
            max_age=options.child_max_age,
            max_rss=options.child_max_rss,
            lease=self._lease,
            url=options.url,
            namespace=options.namespace,
            json_logs=options.json_logs,
            log_level=options.log_level,
        )

    async def _open(self) -> None:
        options = self._options
        slots = {place: executor.slots for place, executor in self._executors.items()}
        info = WorkerInfo(
            name=f"{socket.gethostname()}:{os.getpid()}",
            host=socket.gethostname(),
            pid=os.getpid(),
            queues=tuple(queue for queue, _ in options.queues),
            tasks=claimed_here(self._app.registry, slots),
            slots=sum(slots.values()),
        )
        await self._session.arun(self._engine.write([served_write(options.target, self._app.registry, slots)]))
        await self._session.arun(declare_limits(self._engine, self._app.limits.values()))
        # Before the first claim: a queue outside its hours would be served until the first look.
        await self._rules.turn()
        self._heartbeat = Heartbeat(
            self._engine, self._beats, self._calls, self._lease, options, self, self._outage, self._app.store.local
        )
        self._heartbeat.open(info)
        for executor in self._executors.values():
            await executor.open()
        self._ticked = monotonic()  # what was opened has taken its time; the loop is watched from here
        self._heartbeat.start()
        log.info("worker %s serves %s on %s", info.name, ", ".join(info.queues), self._app.store.location)

    async def _finish(self) -> None:
        self._fetcher.draining = True
        if self._inflight.promised:
            await self._until_empty(2 * SOON)
        for executor in self._executors.values():
            for run in executor.hand_back():
                self._inflight.ended(run, Released())
        if not self._exit:
            await self._until_empty(self._options.grace, self._abandoned)
        reason = Stop.LOST if self._exit == EXIT_LOST else Stop.RELEASE
        self._stop_all(reason)
        await self._until_empty(LAST_WORDS if reason is Stop.LOST else self._options.kill_grace + LAST_WORDS)
        self._give_up_on_bodies()
        await self._flush()

    async def _until_empty(self, seconds: float, unless: asyncio.Event | None = None) -> None:
        """Wait until nothing runs here, for so many seconds at most, or until the event says otherwise."""
        end = monotonic() + seconds
        while self._inflight.runs and monotonic() < end and not (unless is not None and unless.is_set()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)  # a hundred looks a second while leaving cost nothing; an event would cost every job

    def _give_up_on_bodies(self) -> None:
        """Threads that would not end: this process ends under them, so their outcome can be told now."""
        for run in list(self._inflight.runs.values()):
            log.warning("job %s would not stop; this process ends under it", run.claimed.id)
            self._inflight.ended(run, stopped(run))

    async def _flush(self) -> None:
        """Tell the store every outcome that is left, while the lease lasts and there is somebody to tell it."""
        end = monotonic() + self._options.lease
        while self._exit != EXIT_LOST and monotonic() < end and not self._conversing.done():
            claiming = self._exchange.claiming and not self._exit
            if not (self._settler.left or self._notes or claiming):
                return
            self._signal.set()
            await asyncio.sleep(0.005)

    async def _close(self) -> None:
        for executor in self._executors.values():
            await executor.close()
        self._deadlines.close()
        await asyncio.to_thread(self._heartbeat.stop)
        # After a failure the lease is left to whoever sees this process end: what it still holds did not end in peace.
        if self._exit in {0, EXIT_RECYCLE} and not self._settler.left:
            await self._session.arun(self._engine.rescue([Witness(self._lease, "")]))
        self._waiter.close()
        self._session.close()
        self._beats.close()

    # -- what the services tell

    def _alone(self) -> bool:
        return self._app.store.local and not self._inflight.runs

    def _threads_run(self) -> bool:
        threads = self._threads
        return threads.free() < threads.slots and not threads.brief

    async def _refused(self) -> None:
        """A claim was told that the lease does not hold; the heartbeat would hear the same with its next beat."""
        try:
            why = await self._session.arun(why_lost(self._engine, self._lease, self._options.target))
        except UNREACHED:
            why = UNKNOWN
        log.error("the lease of this worker is lost: %s; whatever runs here is stopped", why)
        self.lose()

    def _changed(self) -> None:
        self._signal.set()

    def _changed_from_anywhere(self) -> None:
        if threading.get_ident() == self._thread:
            self._signal.set()
        else:
            self._loop.call_soon_threadsafe(self._signal.set)

    async def _ticking(self) -> None:
        self._thread = threading.get_ident()
        while True:
            now = monotonic()
            self._stood, self._ticked = max(self._stood, now - self._ticked), now
            await asyncio.sleep(TICK)

    def _service_ended(self, service: asyncio.Task[None]) -> None:
        if service.cancelled() or service.exception() is None:
            return
        log.critical("%s failed; this worker is replaced", service.get_name(), exc_info=service.exception())
        self._unfit()

    def _unfit(self) -> None:
        self._exit = self._exit or 1
        self._stopping.set()

    def _overdue(self, run: Run) -> None:
        """A deadline has passed: end the body, or, where a body can only be asked, flag it and see later whether it heeded."""
        self._stop(run, Stop.TIMEOUT)
        if run.settings.executor == "thread" and self._inflight.runs.get(run.claimed.id) is run:
            self._inflight.report(run, NoteKind.STUCK, "", "true")
            if run.settings.on_stuck == "recycle":
                self._loop.call_later(self._options.kill_grace, self._recycle_under, run)

    def _recycle_under(self, run: Run) -> None:
        """Have this process replaced if a thread still runs that was asked to stop a grace ago."""
        if self._inflight.runs.get(run.claimed.id) is not run or self._stopping.is_set():
            return
        log.warning(
            "a job is past its timeout, has not heeded the request to stop, and a thread cannot be ended: recycling",
            extra=job_fields(run.claimed),
        )
        self._exit = self._exit or EXIT_RECYCLE
        self._stopping.set()

    def _stop(self, run: Run, reason: Stop) -> None:
        if run.stop is None:
            run.stop = reason
            self._executors[run.settings.executor].stop(run)

    def _stop_all(self, reason: Stop) -> None:
        for run in list(self._inflight.runs.values()):
            self._stop(run, reason)

    # -- what the heartbeat asks, from its own thread

    def tick_age(self) -> float:
        return monotonic() - self._ticked

    def bodies(self) -> int:
        return len(self._inflight.runs)

    def culprit(self) -> str:
        run = self._running_now()
        return f"job {run.claimed.id} ({run.claimed.task})" if run is not None else ""

    def cancel(self, jobs: Sequence[JobId]) -> None:
        def deliver() -> None:
            for job in jobs:
                if (run := self._inflight.runs.get(job)) is not None:
                    self._stop(run, Stop.CANCEL)

        self._loop.call_soon_threadsafe(deliver)

    def stood(self) -> float:
        longest, self._stood = max(self._stood, self.tick_age()), 0.0
        return longest

    def lose(self, *, spared: bool = False) -> None:
        if spared and self._away is not None:
            self._away()

        def stop() -> None:
            self._exit = EXIT_LOST
            self._stopping.set()
            self._abandoned.set()

        self._loop.call_soon_threadsafe(stop)

    def settle_stalled(self) -> None:
        """The loop stands still, so this thread may read what it holds: the culprit crashed, the rest never ran."""
        culprit = self._running_now()
        settlements: list[Settlement] = []
        for run in list(self._inflight.runs.values()):
            outcome = crashed("the event loop stood still", self._options.crash_delay) if run is culprit else Released()
            settlements.append(Settlement(run.claimed.ref, run.claimed.id, run.claimed.attempt, outcome, 0.0))
        self._beats.run(self._engine.settle(self._lease, settlements))

    def _running_now(self) -> Run | None:
        current = asyncio.current_task(self._loop)
        for run in list(self._inflight.runs.values()):
            if run.place is not None and run.place is current:
                return run
        return None
