"""Async bodies, run by a fixed pool of runner coroutines on one deque.

A runner costs 1.5 to 2 us per job, a task per job 4, a task group 5 (measured without storage).

Runners are woken one after the other, and only while none of those awake is free to go on: bodies that never wait are all
run by one runner, which lets the loop breathe every `TURN` jobs, so that the store's answers are not kept waiting behind a
hundred runners' turns.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from time import monotonic
from typing import Any

from treadle.worker.execution import run_async, stopped
from treadle.worker.executors.port import Bench
from treadle.worker.pace import Pace
from treadle.worker.run import Run

TURN = 50
"""Jobs a runner finishes before it lets the loop breathe, when none of them waits for anything."""


class LoopExecutor:
    """Runs `async def` tasks on the worker's own event loop, `slots` at a time."""

    def __init__(self, bench: Bench, slots: int) -> None:
        self.slots = slots
        self._bench = bench
        self._pace = Pace(slots)
        self._waiting: deque[Run] = deque()
        self._parked: deque[asyncio.Future[None]] = deque()
        self._runners: list[asyncio.Task[None]] = []
        self._inside = 0
        self._relaying = 0
        self._closing = False

    def free(self) -> int:
        return max(0, self.slots - self._busy() - len(self._waiting))

    def room(self) -> int:
        return max(0, self.slots - self._busy() - len(self._waiting) + self._pace.buffer())

    def soon(self) -> int:
        return max(0, self.slots - self._busy() - len(self._waiting) + self._pace.soon())

    def _busy(self) -> int:
        return self.slots - len(self._parked)

    def submit(self, runs: Sequence[Run]) -> None:
        self._waiting.extend(runs)
        if not self._relaying:
            self._relay(1)

    def stop(self, run: Run) -> None:
        place: Any = run.place
        if isinstance(place, asyncio.Task):
            place.cancel()
        elif run in self._waiting:
            self._waiting.remove(run)
            self._bench.ended(run, stopped(run))

    def hand_back(self) -> list[Run]:
        runs = list(self._waiting)
        self._waiting.clear()
        return runs

    def _relay(self, count: int) -> None:
        """Wake runners while jobs wait and every runner that is awake waits inside a body; twice as many each time."""
        self._relaying = 0
        parked = self._parked
        if not self._waiting or not parked:
            return
        if self._busy() == self._inside:
            for _ in range(min(count, len(parked), len(self._waiting))):
                parked.popleft().set_result(None)
        else:
            count = 1
        self._relaying = count
        asyncio.get_running_loop().call_soon(self._relay, count * 2)

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        self._runners = [loop.create_task(self._runner(), name=f"treadle runner {n}") for n in range(self.slots)]
        # One turn of the loop starts them all, and each parks at once.
        await asyncio.sleep(0)

    async def close(self) -> None:
        self._closing = True
        for runner in self._runners:
            runner.cancel()
        # A body that swallows its cancellation must not hold up the exit: wait a moment, then abandon it.
        await asyncio.wait(self._runners, timeout=0.5)
        self._runners.clear()

    async def _runner(self) -> None:
        runner = asyncio.current_task()
        assert runner is not None
        loop = asyncio.get_running_loop()
        waiting, parked, bench, pace = self._waiting, self._parked, self._bench, self._pace
        while True:
            done = 0
            first = now = monotonic()
            while waiting and done < TURN:
                run = waiting.popleft()
                run.place = runner
                # The end of one body is the start of the next: the clock is read once for each.
                run.started = started = now
                if run.settings.timeout is not None:
                    bench.started(run)
                self._inside += 1
                outcome = await run_async(run, bench)
                self._inside -= 1
                run.place = None
                if runner.cancelling():
                    if self._closing:
                        return
                    await _serve_on(runner)
                now = monotonic()
                bench.ended(run, outcome, now - started)
                done += 1
            if done:
                pace.took((now - first) / done)
            if waiting:
                await asyncio.sleep(0)
            else:
                turn: asyncio.Future[None] = loop.create_future()
                parked.append(turn)
                await turn


async def _serve_on(runner: "asyncio.Task[Any]") -> None:
    """Take back every cancellation that was meant for the body: the next one must not suffer for it."""
    while runner.cancelling():
        runner.uncancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(0)  # one that the body asked for itself, and has not met yet, comes up here
