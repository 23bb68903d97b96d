"""The two clocks of a SQLite store: the wall, and the machine's own time since it started."""

import sys
import time
from functools import cache
from pathlib import Path

from treadle.engine.sqlite.steps import Instant
from treadle.model.job import Micros

_UP = getattr(time, "CLOCK_UPTIME_RAW", time.CLOCK_MONOTONIC)
"""Stands still while the machine sleeps, so that a closed lid lets no lease run out."""


@cache
def boot_id() -> str:
    """What tells one start of this machine from the next."""
    file = Path("/proc/sys/kernel/random/boot_id")
    if file.exists():
        return file.read_text(encoding="ascii").strip()
    import subprocess

    command = (
        ["/usr/sbin/sysctl", "-n", "kern.bootsessionuuid"] if sys.platform == "darwin" else ["sysctl", "-n", "kern.boottime"]
    )
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=5).stdout.strip()  # noqa: S603


def read_clock(now: Micros | None) -> Instant:
    """This moment; `now` overrides the wall clock, and leases are then timed by it."""
    up = time.clock_gettime_ns(_UP) // 1000
    if now is None:
        return Instant(time.time_ns() // 1000, boot_id(), up, given=False)
    return Instant(now, boot_id(), up, given=True)
