"""A child process of a worker: runs the bodies it is fed, one at a time, until the worker lets it go.

The main thread runs bodies and does nothing else, so that a signal can interrupt one. A second thread speaks with the
worker: it hears of new jobs, recalls and the worker's end while a body runs.
"""

import contextlib
import logging
import os
import resource
import select
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any, NoReturn

from treadle.app.app import Treadle
from treadle.app.context import Context, Ending
from treadle.app.task import AnyTask
from treadle.model.job import Claimed
from treadle.model.outcome import NoteKind, Outcome, Released
from treadle.worker.execution import completing, run_sync
from treadle.worker.executors.wire import (
    Feed,
    Ready,
    Recall,
    Returned,
    Said,
    Setup,
    Slate,
    ToChild,
    Unusable,
    Weight,
    ended,
    frame,
    to_child,
)
from treadle.worker.logs import configure
from treadle.worker.start import EXIT_CONFIG, describe, load_app

log: logging.Logger = logging.getLogger("treadle.worker")

STALE = 0.02
"""Seconds that an outcome may wait for others before it is sent."""
ORPHAN_GRACE = 1.0
"""Seconds that a body has to clean up when the worker is gone and its job belongs to nobody."""
UNKNOWN_DELAY = 10.0


class JobStopped(BaseException):
    """Raised in a body that has to end: its timeout passed, or it was cancelled. Let it pass, after cleaning up."""


class Ear:
    """What the worker says."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._received = bytearray()

    def hear(self) -> list[ToChild] | None:
        """What the worker says next, waiting for it; None when the worker is gone."""
        while True:
            if messages := to_child(self._received):
                return messages
            try:
                data = self._line.recv(1 << 18)
            except ConnectionError:
                return None
            if not data:
                return None
            self._received += data


class Child:
    """One child process from its first job to its last."""

    def __init__(self, line: socket.socket, slate: Slate, app: Treadle, ear: Ear, setup: Setup) -> None:
        self._line = line
        self._slate = slate
        self._app = app
        self._ear = ear
        self._weigh = setup.weigh
        self._lease = setup.lease
        self._jobs: SimpleQueue[tuple[int, Claimed] | None] = SimpleQueue()
        self._fed = 0
        self._send_lock = threading.Lock()
        self._said: dict[tuple[int, NoteKind, str], str] = {}
        self._unsent = False
        self._nudge_in, self._nudge_out = os.pipe()
        os.set_blocking(self._nudge_out, False)
        self._may_stop = False
        self.stopped: bool = False

    # -- the main thread

    def work(self) -> None:
        """Run bodies until the worker lets go, or until one had to be interrupted: a process whose Python was broken
        off at any point is not trusted with another job."""
        signal.signal(signal.SIGTERM, self._on_term)
        threading.Thread(target=self._attend, name="treadle line", daemon=True).start()
        jobs, slate = self._jobs, self._slate
        while not self.stopped and (job := jobs.get()) is not None:
            number, claimed = job
            slate.running = number
            began = monotonic()
            outcome = self._run(number, claimed)
            self._tell(frame(ended(number, self.stopped, monotonic() - began, outcome)))
            slate.running = 0
            if jobs.empty():
                self.flush()
        self.flush()

    def _run(self, number: int, claimed: Claimed) -> Outcome:
        task = self._app.registry.get(claimed.task)
        if task is None:
            log.error("this process does not know task %s, though its worker does: was the code changed?", claimed.task)
            return Released(UNKNOWN_DELAY)
        context = Context(claimed, Reporter(self, number, task, claimed)) if task.wants_context else None
        settings = task.settings_for(claimed.options)
        outcome: Outcome = Released()
        try:
            self._may_stop = True
            outcome = run_sync(task, settings, claimed, context)
            self._may_stop = False
        except JobStopped:
            # It came after the body had caught everything else; the worker knows why it asked.
            pass
        self._may_stop = False
        return outcome

    def _on_term(self, *_: object) -> None:
        """Interrupt the body the worker means. A signal meant for the whole group, or come too late, does nothing."""
        slate = self._slate
        if self._may_stop and not self.stopped and slate.victim == slate.running:
            self.stopped = True
            raise JobStopped

    def _tell(self, outcome: bytes) -> None:
        with self._send_lock:
            if self._slate.keep(outcome):
                self._unsent = True
                return
            self._send_kept()
            if not self._slate.keep(outcome):
                self._send(outcome)

    # -- either thread

    def flush(self) -> None:
        """Send all that is pending: notes first, so that none comes after the end of its job."""
        with self._send_lock:
            self._send_kept()

    def _send_kept(self) -> None:
        notes = bytearray()
        while self._said:
            (number, kind, name), value = self._said.popitem()
            notes += frame(Said(number, kind, name, value))
        if self._weigh and self._unsent:
            notes += frame(Weight(occupied()))
        self._unsent = False
        self._send(notes + self._slate.kept())
        self._slate.forget()

    def _send(self, data: bytes | bytearray) -> None:
        try:
            self._line.sendall(data)
        except ConnectionError:
            return  # the worker is gone; the other thread hears it too, and ends this process
        except OSError:
            _end_deaf()

    def completing(self, task: AnyTask, claimed: Claimed, took: float, connection: Any, result: object) -> Ending:
        """A body completes itself inside its own transaction; the store is opened here when the first one does."""
        return completing(self._app.connection, self._lease, task, claimed, took, connection, result)

    def say(self, number: int, kind: NoteKind, name: str, value: str) -> None:
        """Note something for the next sending. Called by bodies: it takes no lock that an interruption could leave held."""
        first = not self._said
        self._said[(number, kind, name)] = value
        if first:
            # A full pipe is as good as another byte in it.
            with contextlib.suppress(BlockingIOError):
                os.write(self._nudge_out, b".")

    # -- the second thread

    def _attend(self) -> None:
        """Listen to the worker, and send what waited long enough, until the worker is gone."""
        poll = select.poll()
        poll.register(self._line, select.POLLIN)
        poll.register(self._nudge_in, select.POLLIN)
        due: float | None = None
        while True:
            if due is None and (self._unsent or self._said or not self._jobs.empty()):
                due = monotonic() + STALE
            ready = {file for file, _ in poll.poll(None if due is None else max(0.0, due - monotonic()) * 1000)}
            try:
                if self._nudge_in in ready:
                    os.read(self._nudge_in, 4096)
                messages = self._ear.hear() if self._line.fileno() in ready else []
            except OSError:
                _end_deaf()
            if messages is None:
                self._leave()
                return
            self._obey(messages)
            if due is not None and monotonic() >= due:
                self.flush()
                due = None

    def _obey(self, messages: Sequence[ToChild]) -> None:
        for message in messages:
            if isinstance(message, Feed):
                for claimed in message.jobs:
                    self._fed += 1
                    self._jobs.put((self._fed, claimed))
            elif isinstance(message, Recall):
                self._give_back()

    def _give_back(self) -> None:
        numbers: list[int] = []
        with contextlib.suppress(Empty):
            while True:
                job = self._jobs.get_nowait()
                if job is not None:
                    numbers.append(job[0])
        with self._send_lock:
            self._send(frame(Returned(numbers)))

    def _leave(self) -> None:
        """The worker is gone, or needs this child no more: a body that still runs belongs to nobody and is ended."""
        with contextlib.suppress(Empty):
            while True:
                self._jobs.get_nowait()
        self._jobs.put(None)
        never = threading.Event()
        end = monotonic() + ORPHAN_GRACE
        while monotonic() < end:
            running = self._slate.running
            if running and running != self._slate.victim:
                self._slate.victim = running
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
            never.wait(0.05)
        os._exit(1)


def _end_deaf() -> NoReturn:
    """End this process: a body has closed every file it found, the line among them. What lies on the slate, the worker
    finds there."""
    os._exit(1)


class Reporter:
    """What a body in a child may tell its worker."""

    __slots__ = ("_began", "_child", "_claimed", "_number", "_task")

    def __init__(self, child: Child, number: int, task: AnyTask, claimed: Claimed) -> None:
        self._child = child
        self._number = number
        self._task = task
        self._claimed = claimed
        self._began = monotonic()

    def report(self, kind: NoteKind, name: str, value: str) -> None:
        """Pass a note on; the latest of each kind and name within a short while is sent."""
        self._child.say(self._number, kind, name, value)

    def cancelled(self) -> bool:
        """Whether this body was interrupted and is cleaning up."""
        return self._child.stopped

    def completing(self, connection: Any, result: object) -> Ending:
        """The end of this attempt inside the user's transaction."""
        return self._child.completing(self._task, self._claimed, monotonic() - self._began, connection, result)


def occupied() -> int:
    """Bytes of memory this process occupies: now, where the system tells, else at its peak."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return pages * resource.getpagesize()


def _own_signals() -> None:
    """Ctrl-C reaches the whole group of a terminal; the worker decides what it means, so a child lets it pass.

    A function, not "ignore": what a job starts with exec gets the default back. A job's own forks get it here.
    """
    signal.signal(signal.SIGINT, _let_pass)
    signal.signal(signal.SIGTERM, _let_pass)
    os.register_at_fork(after_in_child=_default_signals)


def _let_pass(*_: object) -> None:
    pass


def _default_signals() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def main(arguments: Sequence[str]) -> int:
    """Serve the socket and the slate whose file numbers are given; returns the exit code."""
    _own_signals()
    line_file, slate_file = (int(each) for each in arguments)
    # What jobs start must not hold these open.
    os.set_inheritable(line_file, False)
    os.set_inheritable(slate_file, False)
    line = socket.socket(fileno=line_file)
    slate = Slate(slate_file)
    ear = Ear(line)
    first = ear.hear()
    if first is None:
        return 0
    setup = first[0]
    assert isinstance(setup, Setup)
    configure(json=setup.json_logs, level=setup.log_level, worker=setup.worker)
    try:
        app = load_app(setup.target, setup.url, setup.namespace)
    except BaseException as error:
        line.sendall(frame(Unusable(describe(error))))
        return EXIT_CONFIG
    child = Child(line, slate, app, ear, setup)
    try:
        line.sendall(frame(Ready()))
    except OSError:
        # The worker died while this child imported: nobody is left to work for.
        return 0
    child.work()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
