"""The writers' gate: a short advisory lock in front of `BEGIN IMMEDIATE`.

SQLite's own busy handler sleeps and has no queue, so next to a busy process a writer can starve for seconds. Here a writer
passes two doors. Whoever has waited a while stands between them and keeps the outer one shut, so that the one inside cannot
come round once more before it. Not from the first moment on: taking strict turns costs a change of process per transaction.
The gate is for fairness only; SQLite's lock stands behind it.
"""

import fcntl
import os
import time
from itertools import chain, repeat
from pathlib import Path

_STEPS = (0.00005, 0.0001, 0.0002, 0.0005)
"""Seconds between looks; the last one repeats."""
_PATIENCE = 0.002
"""Seconds after which a writer insists on its turn."""


class Gate:
    """Two lock files in the runtime directory. One per session: a lock belongs to the open file, not to the process."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._outer = -1
        self._inner = -1

    def enter(self, deadline: float) -> bool:
        """Wait for the turn to write until `deadline` (monotonic seconds); false when it did not come."""
        if self._inner < 0:
            self._open()
        try:
            return self._pass(deadline)
        except BaseException:  # an interrupt may strike behind any door
            fcntl.flock(self._outer, fcntl.LOCK_UN)
            self.leave()
            raise

    def leave(self) -> None:
        """Let the next one in. Who is not inside does no harm by it."""
        if self._inner >= 0:
            fcntl.flock(self._inner, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the lock files; entering opens them anew."""
        for descriptor in (self._outer, self._inner):
            if descriptor >= 0:
                os.close(descriptor)
        self._outer = self._inner = -1

    def _pass(self, deadline: float) -> bool:
        insists_at = time.monotonic() + _PATIENCE
        for pause in chain(_STEPS, repeat(_STEPS[-1])):
            if _try(self._outer):
                try:
                    if _try(self._inner):
                        return True
                    if time.monotonic() >= insists_at:
                        return self._stand(deadline)
                finally:
                    fcntl.flock(self._outer, fcntl.LOCK_UN)
            if time.monotonic() >= deadline:
                break
            time.sleep(pause)
        return False

    def _stand(self, deadline: float) -> bool:
        """Between the doors: nobody comes in before us."""
        while not _try(self._inner):
            if time.monotonic() >= deadline:
                return False
            time.sleep(_STEPS[1])
        return True

    def _open(self) -> None:
        self._outer = os.open(self._directory / "turn", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._inner = os.open(self._directory / "gate", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
