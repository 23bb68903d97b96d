"""One worker process as its supervisor sees it: its lease, its line, and what it was told."""

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from time import monotonic

from treadle.worker.control import Drain, Line, Orders
from treadle.worker.options import WorkerOptions

COMMAND = (sys.executable, "-m", "treadle.worker.main")


class Ward:
    """A worker process, started by exec, never by a bare fork. Nobody but the supervisor waits for it."""

    def __init__(
        self, options: WorkerOptions, command: Sequence[str], successor_of: "Ward | None", *, after_outage: bool = False
    ) -> None:
        self.lease: str = secrets.token_hex(16)
        self.successor_of = successor_of
        self.serving_since: float | None = None
        self.leaving: bool = False
        self.unusable = False
        self.away = False
        """Whether it said that it leaves because the store is away."""
        self.deadline: float | None = None
        """When it is killed, if it is still there."""
        ours, theirs = socket.socketpair()
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [*command, str(theirs.fileno())], stdin=subprocess.DEVNULL, pass_fds=(theirs.fileno(),)
            )
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        self.pid: int = self._process.pid
        ours.setblocking(False)
        self.line: Line = Line(ours)
        self.line.send(Orders(self.lease, options.to_json().decode(), after_outage))

    def drain(self, patience: float) -> None:
        """Ask it to leave; it is killed when it is still there after `patience` seconds."""
        self.leaving = True
        self.deadline = monotonic() + patience
        self.line.send(Drain())
        if self.serving_since is None:
            # It has claimed nothing, and may be deep in an import.
            self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self.deadline = None
        self._signal(signal.SIGKILL)

    def over(self, status: int | None) -> str:
        """It has ended: let everything go. Returns how, empty for a clean exit; `status` is None when somebody else in this
        process waited for it."""
        code = 255 if status is None else os.waitstatus_to_exitcode(status)
        # Told to the object too, or it would complain that nobody waited.
        self._process.returncode = code
        self.line.close()
        self.successor_of = None
        if status is None:
            return "unseen"
        if code < 0:
            return f"signal {-code}"
        return f"exit {code}" if code else ""

    def _signal(self, number: int) -> None:
        # Until somebody has waited for it the number cannot belong to another process.
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)
