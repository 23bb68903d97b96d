"""What `treadle worker` is: a parent that keeps worker processes alive, passes on signals, and knows no job.

It sleeps in one `select` until a signal, a word from a child or a due time wakes it. A child's death is noticed by SIGCHLD
and told to the store at once, so that its jobs do not wait for a lease to run out.
"""

import contextlib
import logging
import os
import selectors
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue
from time import monotonic
from types import FrameType
from typing import Any

from treadle.app.app import Treadle
from treadle.model.job import Witness
from treadle.worker.control import Abandon, Away, Serving, Unusable
from treadle.worker.heartbeat import EXIT_AWAY, EXIT_LOST, EXIT_RECYCLE
from treadle.worker.options import WorkerOptions
from treadle.worker.outage import GRACE
from treadle.worker.rescuer import Rescuer
from treadle.worker.scaler import Scaler
from treadle.worker.start import EXIT_CONFIG, look_at
from treadle.worker.ward import COMMAND, Ward

log: logging.Logger = logging.getLogger("treadle.worker")

LAST_WORDS = 5.0
"""Seconds beyond every grace before a worker process that should have left is killed."""
SHORT_LIFE = 1.0
"""Seconds of service below which a death counts as a failure to start."""
ONE_WISH = 0.3
"""Seconds within which signals are one request to stop.

`timeout` and some process managers signal the process and then its group, so one wish arrives twice within a millisecond
or so. A person who presses Ctrl-C again because nothing seems to happen takes longer than this.
"""
RESTART_FIRST, RESTART_MOST = 0.25, 30.0
RESCUE_TIME = 10.0


class Supervisor:
    """Keeps `options.processes` worker processes serving until told to stop; up to `most_processes`, where the load wants it.

    `ready` is called each time all of them serve. With `patient`, a target that cannot be imported is waited for (until the
    next `reload`) instead of ending the supervisor. `command` starts a worker process.
    """

    def __init__(
        self,
        options: WorkerOptions,
        app: Treadle,
        *,
        ready: Callable[[], None] | None = None,
        patient: bool = False,
        command: Sequence[str] = COMMAND,
    ) -> None:
        self._options = options
        self._app = app
        self._ready = ready
        self._patient = patient
        self._command = command
        self._aim = options.processes
        self._scaler: Scaler | None = None
        self._wards: list[Ward] = []
        self._due: list[float] = []
        self._missing: list[tuple[Ward, str]] = []
        """Worker processes that left because the store was away, and how: replaced when it is back."""
        self._calm_at = 0.0
        self._told: SimpleQueue[Ward] = SimpleQueue()
        self._failures = 0
        self._served = False
        self._unusable = False
        self._signals: deque[tuple[int, float]] = deque()
        self._asked = 0
        self._asked_at = 0.0
        self._last = 0
        self._reload = False
        self._selector = selectors.DefaultSelector()
        self._woken, self._wake = socket.socketpair()
        self._woken.setblocking(False)
        self._wake.setblocking(False)
        self._orphans = os.getpid() == 1

    # -- what others may call, from any thread

    def reload(self) -> None:
        """Replace every worker process by a new one, each new one serving before its old one leaves."""
        self._reload = True
        self._nudge()

    def stop(self) -> None:
        """What the first signal does, or, called again, the second."""
        self._signals.append((signal.SIGTERM, monotonic()))
        self._nudge()

    # -- the main thread

    def run(self) -> int:
        """Supervise until stopped; returns the exit code: 0 after a stop in peace, 128 + signal after an impatient one, 78
        for a target that cannot be served. To be called on the main thread; signal handlers are put back afterwards."""
        options = self._options
        store = self._app.store
        store.guard_processes((options.most_processes or options.processes) + 1)
        look_at(store)
        self._rescuer = Rescuer(store, options.crash_delay)
        before = self._take_signals()
        self._selector.register(self._woken, selectors.EVENT_READ)
        if options.most_processes is not None and options.most_processes > options.processes:
            self._scaler = Scaler(self._app, options, self._nudge)
            self._scaler.start()
        try:
            for _ in range(self._aim):
                self._start()
            while not self._finished():
                self._sleep()
                self._hear_signals()
                self._reap()
                self._greet_the_store()
                self._keep_up()
        finally:
            self._kill_all()
            self._give_signals_back(before)
            if self._scaler is not None:
                self._scaler.close(RESCUE_TIME)
            self._rescuer.close(RESCUE_TIME)
            self._selector.close()
            self._woken.close()
            self._wake.close()
        if self._asked > 1:
            return 128 + self._last
        return EXIT_CONFIG if self._unusable and not self._asked else 0

    def _finished(self) -> bool:
        if self._wards:
            return False
        return bool(self._asked) or (self._unusable and not self._patient)

    def _sleep(self) -> None:
        times = [*self._due, *(ward.deadline for ward in self._wards if ward.deadline is not None)]
        timeout = max(0.0, min(times) - monotonic()) if times else None
        for key, _ in self._selector.select(timeout):
            if key.fileobj is self._woken:
                with contextlib.suppress(BlockingIOError):
                    self._woken.recv(4096)
            else:
                self._listen(key.data)

    def _nudge(self) -> None:
        # A full socket wakes as well as one byte more; a closed one has nobody to wake.
        with contextlib.suppress(OSError):
            self._wake.send(b"\0")

    # -- signals

    def _take_signals(self) -> tuple[int, dict[int, Any]]:
        self._attended = sys.stdin is not None and sys.stdin.isatty()
        wake = signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
        return wake, {number: signal.signal(number, self._note_signal) for number in numbers}

    def _give_signals_back(self, before: tuple[int, dict[int, Any]]) -> None:
        wake, handlers = before
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(wake)

    def _note_signal(self, number: int, _: FrameType | None) -> None:
        if number != signal.SIGCHLD:
            self._signals.append((number, monotonic()))

    def _hear_signals(self) -> None:
        while self._signals:
            number, moment = self._signals.popleft()
            # A closed terminal ends what was started in it; without a terminal the signal is free to mean "reload".
            if number == signal.SIGHUP and not self._attended:
                self._reload = True
            elif not self._asked or moment - self._asked_at >= ONE_WISH:
                self._last, self._asked_at = number, moment
                self._stop_once_more()
        if self._reload:
            self._reload = False
            self._replace_all()

    def _stop_once_more(self) -> None:
        """First: finish in peace. Second: hand back now. Third: kill."""
        self._asked += 1
        self._due.clear()
        self._missing.clear()
        options = self._options
        if self._asked == 1:
            log.info("stopping: running jobs have %g s; a second signal hands them back at once", options.grace)
        else:
            log.warning("asked again: %s", "handing back what runs" if self._asked == 2 else "killing what is left")
        patience = options.kill_grace + LAST_WORDS + (options.grace if self._asked == 1 else 0.0)
        for ward in self._wards:
            if self._asked == 1:
                ward.drain(patience)
            elif self._asked == 2:
                ward.line.send(Abandon())
                ward.deadline = monotonic() + patience
            else:
                ward.kill()

    # -- worker processes

    def _start(self, successor_of: Ward | None = None) -> None:
        try:
            ward = Ward(self._options, self._command, successor_of, after_outage=monotonic() < self._calm_at)
        except OSError as error:
            log.error("a worker process could not be started: %s", error)  # noqa: TRY400 - the trace is our own
            self._start_later()
            return
        self._wards.append(ward)
        self._selector.register(ward.line, selectors.EVENT_READ, ward)

    def _start_later(self) -> None:
        self._failures += 1
        delay = min(RESTART_MOST, RESTART_FIRST * 2 ** (self._failures - 2)) if self._failures > 1 else 0.0
        if delay:
            log.warning("worker processes end as soon as they start; the next one starts in %.1f s", delay)
        self._due.append(monotonic() + delay)

    def _listen(self, ward: Ward) -> None:
        for message in ward.line.news():
            match message:
                case Serving():
                    self._serves(ward)
                case Unusable():
                    self._cannot_serve(ward, message.why)
                case Away():
                    ward.away = True
        if not ward.line.open:
            with contextlib.suppress(KeyError):
                self._selector.unregister(ward.line)

    def _serves(self, ward: Ward) -> None:
        ward.serving_since = monotonic()
        self._served = True
        self._unusable = False
        log.info("worker ready: process %d serves %s on %s", ward.pid, self._options.target, self._app.store.location)
        if ward.successor_of in self._wards:
            assert ward.successor_of is not None
            self._drain(ward.successor_of)
        staff = [each for each in self._wards if not each.leaving]
        if self._ready is not None and len(staff) >= self._aim and all(each.serving_since for each in staff):
            self._ready()

    def _cannot_serve(self, ward: Ward, why: str) -> None:
        ward.unusable = True
        if not self._unusable:
            self._unusable = True
            log.error("%s cannot be served:\n%s", self._options.target, why)
            if ward.successor_of in self._wards:
                log.warning("the version before goes on serving; put the module right, and it is replaced")
            elif self._patient:
                log.warning("nothing serves meanwhile; put the module right, and it is tried again")

    def _drain(self, ward: Ward) -> None:
        ward.drain(self._options.grace + self._options.kill_grace + LAST_WORDS)

    def _replace_all(self) -> None:
        if self._asked:
            return
        self._unusable = False
        self._failures = 0
        self._due.clear()
        self._missing.clear()
        old = [ward for ward in self._wards if not ward.leaving]
        for ward in old:
            if ward.serving_since is None:
                # It has claimed nothing yet, and what it is importing is out of date.
                ward.leaving = True
                ward.kill()
        serving = [ward for ward in old if not ward.leaving]
        for number in range(self._aim):
            self._start(serving[number] if number < len(serving) else None)

    def _resize(self, aim: int) -> None:
        """Have more worker processes from now on, or fewer: the youngest leave, and finish what they have in hand."""
        staff = [ward for ward in self._wards if not ward.leaving and ward.successor_of not in self._wards]
        if self._due or self._missing or any(ward.serving_since is None for ward in self._wards):
            # One is on its way already, or a reload is: the next look is soon enough.
            return
        self._aim = aim
        for _ in range(aim - len(staff)):
            self._start()
        for ward in staff[aim:]:
            self._drain(ward)

    # -- the ends of processes

    def _reap(self) -> None:
        if self._orphans:
            self._reap_orphans()
        for ward in list(self._wards):
            try:
                pid, status = os.waitpid(ward.pid, os.WNOHANG)
            except ChildProcessError:
                self._ended(ward, None)
            else:
                if pid:
                    self._ended(ward, status)

    def _reap_orphans(self) -> None:
        """As the first process of a container, what jobs and their children leave behind is ours to reap too."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    return
                for ward in list(self._wards):
                    if ward.pid == pid:
                        self._ended(ward, status)

    def _ended(self, ward: Ward, status: int | None) -> None:
        self._listen(ward)
        self._wards.remove(ward)
        with contextlib.suppress(KeyError):
            self._selector.unregister(ward.line)
        how = ward.over(status)
        away = ward.away and how in {f"exit {EXIT_AWAY}", f"exit {EXIT_LOST}"}
        self._rescuer.witness(Witness(ward.lease, how, spared=away), partial(self._store_knows, ward))
        expected = ward.leaving or ward.unusable
        level = logging.INFO if expected or not how else logging.WARNING
        log.log(level, "worker process %d ended with %s", ward.pid, how or "exit 0")
        if ward.unusable:
            self._without_a_target(ward)
        elif not ward.leaving and not self._asked:
            if away:
                self._missing.append((ward, how))
            else:
                self._replace(ward, how)

    def _store_knows(self, ward: Ward) -> None:
        """The store was told of an end; called on the rescuer's thread."""
        self._told.put(ward)
        self._nudge()

    def _greet_the_store(self) -> None:
        """It answers again: start the processes that its absence ended. Before, they could only have ended again."""
        while not self._told.empty():
            told = self._told.get()
            for missing in [each for each in self._missing if each[0] is told]:
                self._missing.remove(missing)
                self._calm_at = monotonic() + GRACE
                self._replace(*missing)

    def _without_a_target(self, ward: Ward) -> None:
        """A new process cannot serve the target. Those that serve go on; if there never were any, there is no point."""
        if self._patient or self._asked or ward.successor_of in self._wards:
            return
        if self._served:
            self._unusable = False
            self._start_later()
            return
        for other in self._wards:
            other.leaving = True
            other.kill()
        self._due.clear()

    def _replace(self, ward: Ward, how: str) -> None:
        served = 0.0 if ward.serving_since is None else monotonic() - ward.serving_since
        if served >= SHORT_LIFE or how == f"exit {EXIT_RECYCLE}":
            self._failures = 0
        if self._failures or served < SHORT_LIFE:
            self._start_later()
        else:
            self._start()

    def _keep_up(self) -> None:
        """Do what is due: starts put off, and the end of every patience."""
        now = monotonic()
        due = [moment for moment in self._due if moment <= now]
        self._due = [moment for moment in self._due if moment > now]
        for _ in due:
            self._start()
        if self._scaler is not None and self._scaler.aim != self._aim and not self._asked:
            self._resize(self._scaler.aim)
        for ward in self._wards:
            if ward.deadline is not None and ward.deadline <= now:
                log.error("worker process %d did not leave in time and is killed", ward.pid)
                ward.kill()

    def _kill_all(self) -> None:
        """Leave nothing behind, however the loop above ended."""
        for ward in self._wards:
            ward.kill()
            status: int | None = None
            with contextlib.suppress(ChildProcessError):
                _, status = os.waitpid(ward.pid, 0)
            self._rescuer.witness(Witness(ward.lease, ward.over(status)), lambda: None)
        self._wards.clear()
