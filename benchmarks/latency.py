"""From the enqueue call in one process to the first line of the body in another, idle one."""

import os
import subprocess
import sys
import time
from pathlib import Path

from treadle import Treadle
from treadle.app.loader import load

WARM = 10
"""Jobs before those that count: the first opens the connections, which the bare loop does before it is timed."""


def measure(url: str, folder: Path, n: int) -> list[float]:
    """Microseconds for each of n enqueues, 15 ms apart."""
    out = folder / f"latency-{time.monotonic_ns()}"
    os.environ["BENCH_URL"] = url
    app = Treadle(url)
    stamp = app.task(name="benchmarks.target.stamp")(_stamp)
    ready, told = os.pipe()
    child = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.latency", str(told)], pass_fds=[told], env={**os.environ, "BENCH_URL": url}
    )
    os.close(told)
    assert os.read(ready, 1) == b"r"
    os.close(ready)
    for _ in range(WARM + n):
        time.sleep(0.015)
        stamp.enqueue(time.perf_counter_ns(), str(out))
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if out.exists() and len(lines := out.read_text().splitlines()) >= WARM + n:
            break
        time.sleep(0.05)
    child.terminate()
    child.wait(timeout=30)
    app.close()
    out.unlink()
    return [float(line) for line in lines[WARM:]]


async def _stamp(sent: int, out: str) -> None: ...


def main() -> None:
    """The idle worker process."""
    import asyncio
    import secrets
    import signal

    from treadle.worker.options import WorkerOptions
    from treadle.worker.worker import Worker

    app = load("benchmarks.target:app")

    async def serve() -> None:
        worker = Worker(
            app,
            WorkerOptions(target="benchmarks.target:app"),
            lease=secrets.token_hex(16),
            ready=lambda: os.write(int(sys.argv[1]), b"r") and None,
        )
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.drain)
        await worker.serve()

    asyncio.run(serve())


if __name__ == "__main__":
    main()
