"""Plain functions, run by threads of our own.

`loop.run_in_executor` costs 43 to 58 us per job; own threads fed by a `SimpleQueue`, with one wake-up of the loop until it
has drained what they finished, cost about 1.5 (measured without storage).
"""

import asyncio
import contextvars
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from queue import SimpleQueue
from time import monotonic

from treadle.model.outcome import Outcome
from treadle.worker.execution import run_in_thread, stopped
from treadle.worker.executors.port import Bench
from treadle.worker.pace import Pace
from treadle.worker.run import Run

RELIEF = 0.002
"""Seconds after which every thread is called if the job that was next is next still, behind one that is slow after all.

Calling them whenever something still waited made threads quarrel over bodies that one was working off: 0.41 of the bare
loop instead of 0.49, in eight interleaved pairs.
"""


class ThreadExecutor:
    """Runs `def` tasks in `slots` daemon threads. A running body can only be asked to stop: it reads `ctx.cancelled`.

    Jobs wait on one deque; a token in the queue calls a thread to it, and a thread stays until the deque is empty. There is
    a token for each job, except where bodies take next to no time: those are left to one thread, because eight would spend
    more time taking the interpreter from each other than running them. If one of them turns out to be slow after all, the
    others are called 2 ms later.
    """

    def __init__(self, bench: Bench, slots: int) -> None:
        self.slots = slots
        self._bench = bench
        self._pace = Pace(slots)
        self._waiting: deque[Run] = deque()
        self._tokens: SimpleQueue[bool] = SimpleQueue()
        self._next: Run | None = None
        self._news: deque[tuple[Run, Outcome | None, float]] = deque()
        self._told = False
        self._held = 0
        self._threads: list[threading.Thread] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    def free(self) -> int:
        return max(0, self.slots - self._held)

    def room(self) -> int:
        return max(0, self.slots - self._held + self._pace.buffer())

    def soon(self) -> int:
        return max(0, self.slots - self._held + self._pace.soon())

    def submit(self, runs: Sequence[Run]) -> None:
        self._held += len(runs)
        while len(self._threads) < min(self._held, self.slots):
            self._grow()
        self._waiting.extend(runs)
        self._call(1 if self.brief else len(runs))
        if self.brief and self._next is None:
            self._look_after()

    def stop(self, run: Run) -> None:
        """Nothing to do: the body's token is `run.stop` itself, and a run still waiting is skipped when its turn comes."""

    def hand_back(self) -> list[Run]:
        runs: list[Run] = []
        with suppress(IndexError):
            while True:
                runs.append(self._waiting.popleft())
        self._held -= len(runs)
        return runs

    async def open(self) -> None:
        self._loop = asyncio.get_running_loop()

    async def close(self) -> None:
        for _ in self._threads:
            self._tokens.put(False)

    @property
    def brief(self) -> bool:
        """True while bodies take next to no time, so that one thread is given them all."""
        return self._pace.brief

    def _call(self, threads: int) -> None:
        for _ in range(min(threads, self.slots)):
            self._tokens.put(True)

    def _look_after(self) -> None:
        """See to it that whoever is next does not wait long behind one that is slow after all."""
        with suppress(IndexError):  # the thread may have taken the last one this moment
            self._next = self._waiting[0]
            asyncio.get_running_loop().call_later(RELIEF, self._relieve)

    def _relieve(self) -> None:
        behind, self._next = self._next, None
        with suppress(IndexError):
            if self._waiting[0] is behind:
                self._call(self.slots)
        self._look_after()

    def _grow(self) -> None:
        number = len(self._threads)
        # Each thread gets a copy of the worker's context, so that log records know the worker.
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(self._work,), name=f"treadle thread {number}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _work(self) -> None:
        tokens, waiting = self._tokens, self._waiting
        while tokens.get():
            with suppress(IndexError):
                while True:
                    self._run(waiting.popleft())

    def _run(self, run: Run) -> None:
        if run.stop is not None:
            self._tell(run, stopped(run))
            return
        run.started = started = monotonic()
        run.place = threading.get_ident()
        if run.settings.timeout is not None:
            self._tell(run, None)
        outcome = run_in_thread(run, self._bench)
        self._tell(run, outcome, monotonic() - started)

    def _tell(self, run: Run, outcome: Outcome | None, took: float = 0.0) -> None:
        """Post news for the loop (None: it has started), waking it only if no wake-up is under way."""
        self._news.append((run, outcome, took))
        if not self._told:
            self._told = True
            assert self._loop is not None
            try:
                self._loop.call_soon_threadsafe(self._listen)
            except RuntimeError:
                # The loop has closed: the process is leaving, and this outcome was abandoned with it.
                return

    def _listen(self) -> None:
        self._told = False
        news, bench = self._news, self._bench
        ended, total = 0, 0.0
        while news:
            run, outcome, took = news.popleft()
            if outcome is None:
                bench.started(run)
                continue
            ended += 1
            total += took
            run.place = None
            bench.ended(run, outcome, took)
        if ended:
            self._held -= ended
            self._pace.took(total / ended)
