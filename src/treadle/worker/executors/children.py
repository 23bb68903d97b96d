"""One child process as its worker sees it: what it was fed, what it said, and how it ended."""

import asyncio
import contextlib
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from time import monotonic

from treadle.worker.executors.wire import (
    Feed,
    FromChild,
    Recall,
    Setup,
    Slate,
    ToChild,
    frame,
    from_child,
)
from treadle.worker.run import Run

DEAF_GRACE = 2.0
"""Seconds that a child may go on after its end of the line has closed: it can tell nothing any more."""

COMMAND = (sys.executable, "-m", "treadle.worker.executors.child")


class Fed:
    """A run in a child's hands: its number there, and how long it is expected to take."""

    __slots__ = ("child", "expected", "interrupted", "number", "run")

    def __init__(self, child: "Child", run: Run, number: int, expected: float) -> None:
        self.child: Child = child
        self.run: Run = run
        self.number: int = number
        self.expected: float = expected
        self.interrupted: bool = False


class Child:
    """A child process, from its start to its end. Everything happens on the loop's thread and nothing blocks it.

    `heard` is called with what the child says, `gone` once it has ended and all it left behind was heard.
    """

    def __init__(
        self,
        setup: Setup,
        heard: "Callable[[Child, Sequence[FromChild]], None]",
        gone: "Callable[[Child], None]",
        command: Sequence[str] = COMMAND,
    ) -> None:
        self.fed: dict[int, Fed] = {}
        self.load: float = 0.0
        self.total: int = 0
        self.weight = 0
        self.ready = False
        self.retiring: bool = False
        self.over: bool = False
        self.why = ""
        self.exit: str = ""
        self.born: float = monotonic()
        self._heard = heard
        self._gone = gone
        self._loop = asyncio.get_running_loop()
        self._received = bytearray()
        self._unsent = bytearray()
        self._writing = False
        self._open = True
        self._dismissed = False
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self.slate: Slate = Slate.make()
        self._line, theirs = socket.socketpair()
        try:
            self.process: subprocess.Popen[bytes] = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [*command, str(theirs.fileno()), str(self.slate.file)],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), self.slate.file),
            )
        except OSError:
            self._line.close()
            self.slate.close()
            raise
        finally:
            theirs.close()
        self._line.setblocking(False)
        self._loop.add_reader(self._line.fileno(), self._readable)
        # A thread per child, blocked in `waitpid`: the end of the line does not tell the end of the process, because what a
        # job forked may hold the line open.
        threading.Thread(target=self._await_end, name=f"treadle child {self.process.pid}", daemon=True).start()
        self.send(setup)

    @property
    def idle(self) -> bool:
        """Ready, and nothing to do."""
        return self.ready and not self.retiring and not self.fed

    @property
    def running(self) -> Fed | None:
        """The run whose body is being executed now, as far as the slate says."""
        return self.fed.get(self.slate.running) if self._open else None

    def feed(self, runs: Sequence[Run], expected: Sequence[float]) -> None:
        """Give runs to the child, in order."""
        for run, seconds in zip(runs, expected, strict=True):
            self.total += 1
            run.place = self.fed[self.total] = Fed(self, run, self.total, seconds)
            self.load += seconds
        self.send(Feed([run.claimed for run in runs]))

    def drop(self, number: int) -> Fed | None:
        """Forget a run: it has ended, or it was given back."""
        fed = self.fed.pop(number, None)
        if fed is None:
            return None
        fed.run.place = None
        self.load = self.load - fed.expected if self.fed else 0.0
        return fed

    def recall(self) -> None:
        """Ask for everything that was not begun."""
        self.send(Recall())

    def interrupt(self, fed: Fed, grace: float) -> None:
        """End the body of `fed`: a signal that it can clean up after, then, `grace` seconds later, one that it cannot."""
        if fed.interrupted:
            return
        fed.interrupted = True
        self.slate.victim = fed.number
        self.process.send_signal(signal.SIGTERM)
        self._loop.call_later(grace, self._kill_if, fed)

    def _kill_if(self, fed: Fed) -> None:
        # Once interrupted a child ends by itself; one that does not hangs in its own exit.
        if fed.number in self.fed or (self._open and not self.fed):
            self.kill()

    def kill(self) -> None:
        """End the process at once."""
        if self._open:
            self.process.kill()

    def dismiss(self, grace: float) -> None:
        """Let an idle child go; one that has not gone after `grace` seconds is killed."""
        if self._dismissed:
            return
        self._dismissed = self.retiring = True
        with contextlib.suppress(OSError):
            self._line.shutdown(socket.SHUT_WR)
        self._loop.call_later(grace, self.kill)

    def send(self, message: ToChild) -> None:
        """Send a message as soon as the child takes it."""
        data = frame(message)
        if not self._unsent:
            data = data[self._write(data) :]
        if data:
            self._unsent += data
            if not self._writing and self._open:
                self._writing = True
                self._loop.add_writer(self._line.fileno(), self._writable)

    def _write(self, data: bytes | bytearray) -> int:
        try:
            return self._line.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            # The child is gone; its end is on the way.
            return len(data)

    def _writable(self) -> None:
        del self._unsent[: self._write(self._unsent)]
        if not self._unsent:
            self._stop_writing()

    def _stop_writing(self) -> None:
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._line.fileno())

    def _readable(self) -> None:
        self._receive()
        messages = from_child(self._received)
        if messages:
            self._heard(self, messages)

    def _receive(self) -> bool:
        """Take what has arrived; False when there is no more to come for now."""
        try:
            data = self._line.recv(1 << 18)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._loop.remove_reader(self._line.fileno())
            if not self.over:
                # It is about to end, or a body has closed every file it found.
                self._loop.call_later(DEAF_GRACE, self.kill)
            return False
        self._received += data
        return True

    def _await_end(self) -> None:
        self.process.wait()
        # A loop that has closed awaits nothing any more.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        """The process is over: hear what it said last and what it kept, then let everything go."""
        self.over = True
        while self._receive():
            pass
        # A message cut off by the end is whole on the slate.
        messages = from_child(self._received)
        messages += from_child(bytearray(self.slate.kept()))
        self.exit = how(self.process.returncode)
        if messages:
            self._heard(self, messages)
        self._gone(self)
        self._stop_writing()
        self._loop.remove_reader(self._line.fileno())
        self._open = False
        self._line.close()
        self.slate.close()
        if not self.ended.done():
            self.ended.set_result(None)


def how(returncode: int) -> str:
    """How a process ended, in the words of a crash record."""
    return f"signal {-returncode}" if returncode < 0 else f"exit {returncode}"
