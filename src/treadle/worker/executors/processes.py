"""Bodies in child processes: crashes stay in the child, and a body that must end can be ended.

Children live on and are fed in chunks: a pipe exchange per job costs 21 us, one per 50 jobs 1.1 each, and
`ProcessPoolExecutor.submit` 145 (measured without storage). A child holds at most 50 ms of measured work, so that little
waits behind a body that turns out to be long; what does wait is recalled.
"""

import asyncio
import logging
import os
import socket
from collections import deque
from collections.abc import Sequence
from time import monotonic

from treadle.model.outcome import Outcome, Released
from treadle.worker.execution import crashed, stopped
from treadle.worker.executors.children import COMMAND, Child, Fed
from treadle.worker.executors.port import Bench
from treadle.worker.executors.wire import Ended, FromChild, Ready, Returned, Said, Setup, Unusable, Weight, outcome_of
from treadle.worker.pace import BUFFERED_SECONDS, Pace
from treadle.worker.run import Run, Stop

log: logging.Logger = logging.getLogger("treadle.worker")

CHUNK = 500
LOOK = 0.05
"""Seconds between two looks at the slates, while something is fed that is not known to have begun."""
LOST_GRACE = 1.0
"""Seconds that a body has to clean up when its lease is gone: what it still does may be done elsewhere already."""
RESTART_FIRST, RESTART_MOST = 0.5, 30.0


class ProcessExecutor:
    """Runs `def` tasks in up to `slots` child processes of this worker.

    When a child dies, exactly the job it was executing is charged; what else it was fed goes to another child. A child is
    replaced after `max_jobs` jobs, after `max_age` seconds, and when it occupies more than `max_rss` bytes.
    """

    def __init__(
        self,
        bench: Bench,
        *,
        target: str,
        lease: str,
        slots: int,
        kill_grace: float,
        max_jobs: int | None = None,
        max_age: float | None = None,
        max_rss: int | None = None,
        crash_delay: float = 1.0,
        url: str | None = None,
        namespace: str | None = None,
        json_logs: bool = False,
        log_level: str = "INFO",
        command: Sequence[str] = COMMAND,
    ) -> None:
        self.slots = slots
        self._bench = bench
        self._kill_grace = kill_grace
        self._max_jobs = max_jobs
        self._max_age = max_age
        self._max_rss = max_rss
        self._crash_delay = crash_delay
        name = f"{socket.gethostname()}:{os.getpid()}"
        self._setup = Setup(target, url, json_logs, log_level, name, max_rss is not None, lease, namespace)
        self._command = command
        self._pace = Pace(slots)
        self._means: dict[str, float] = {}
        self._children: list[Child] = []
        self._waiting: deque[Run] = deque()
        self._failures = 0
        self._handing_back = False
        self._closing = False
        self._look: asyncio.TimerHandle | None = None
        self._restart: asyncio.TimerHandle | None = None

    # -- what the worker asks

    async def open(self) -> None:
        """Start the first child; the others come when there is work for them."""
        self._loop = asyncio.get_running_loop()
        self._grow(1)

    def free(self) -> int:
        return 0 if self._down() else max(0, self.slots - self._held())

    def room(self) -> int:
        return 0 if self._down() else max(0, self.slots - self._held() + self._pace.buffer())

    def soon(self) -> int:
        return self.free()  # what a child is fed waits for the one before it, however long that takes

    def submit(self, runs: Sequence[Run]) -> None:
        self._handing_back = False
        self._waiting.extend(runs)
        self._feed()

    def stop(self, run: Run) -> None:
        fed = run.place
        if not isinstance(fed, Fed):
            if run in self._waiting:
                self._waiting.remove(run)
                self._bench.ended(run, stopped(run))
            return
        child = fed.child
        if child.running is fed:
            self._interrupt(fed)
        else:
            child.recall()
            self._look_again()

    def hand_back(self) -> list[Run]:
        """Give back what waits here. What a child holds is recalled, and ends as released when the child agrees."""
        self._handing_back = True
        runs = list(self._waiting)
        self._waiting.clear()
        for child in self._children:
            if child.fed:
                child.recall()
        return runs

    async def close(self) -> None:
        self._closing = True
        for timer in (self._look, self._restart):
            if timer is not None:
                timer.cancel()
        children = list(self._children)
        for child in children:
            if child.fed or not child.ready:
                child.kill()
            else:
                child.dismiss(1.0)
        if children:
            await asyncio.wait([child.ended for child in children])

    # -- children

    def _grow(self, count: int) -> None:
        if self._closing or self._restart is not None:
            return
        for _ in range(min(count, self.slots - len(self._staff()))):
            try:
                self._children.append(Child(self._setup, self._heard, self._gone, self._command))
            except OSError as error:
                self._could_not_start(f"could not be started: {error}")
                return

    def _staff(self) -> list[Child]:
        """The children to count on, ready or about to be."""
        return [child for child in self._children if not child.retiring and not child.over]

    def _down(self) -> bool:
        """Whether no child serves and the last one could not even start: nothing should be claimed then."""
        return self._failures > 0 and not any(child.ready for child in self._children)

    def _heard(self, child: Child, messages: Sequence[FromChild]) -> None:
        if self._closing:
            return
        bench = self._bench
        for message in messages:
            match message:
                case Ended():
                    self._body_ended(child, message)
                case Said():
                    if (fed := child.fed.get(message.number)) is not None:
                        bench.report(fed.run, message.kind, message.name, message.value)
                case Returned():
                    self._returned(child, message.numbers)
                case Weight():
                    child.weight = message.bytes
                case Ready():
                    child.ready = True
                    self._failures = 0
                case Unusable():
                    child.why = message.why
        self._notice_started(child)
        self._retire_if_due(child)
        self._feed()

    def _body_ended(self, child: Child, message: Ended) -> None:
        fed = child.drop(message.number)
        if fed is None:
            return
        run = fed.run
        self._learn(run.claimed.task, message.took)
        if run.started is None:
            run.started = monotonic() - message.took
        if message.stopped:
            child.retiring = True
            self._end(run, stopped(run))
        else:
            self._end(run, outcome_of(message))

    def _returned(self, child: Child, numbers: Sequence[int]) -> None:
        back = [fed.run for number in numbers if (fed := child.drop(number)) is not None]
        self._take_back(back)

    def _take_back(self, runs: Sequence[Run]) -> None:
        """Runs that a child did not begin: they go to another child first, or back to the store."""
        for run in reversed(runs):
            run.place = None
            if run.stop is not None:
                self._end(run, stopped(run))
            elif self._handing_back or self._down():
                self._end(run, Released())
            else:
                self._waiting.appendleft(run)

    def _gone(self, child: Child) -> None:
        self._children.remove(child)
        if self._closing:
            return
        culprit = child.fed.get(child.slate.running)
        if culprit is not None:
            child.drop(culprit.number)
            run = culprit.run
            if run.stop is None:
                log.warning("a child process ended with %s under job %s (%s)", child.exit, run.claimed.id, run.claimed.task)
            self._end(run, stopped(run) if run.stop is not None else crashed(child.exit, self._crash_delay))
        unbegun = [fed.run for fed in child.fed.values()]
        child.fed.clear()
        if not child.ready:
            self._could_not_start(child.why or f"ended with {child.exit} before it took a job")
        self._take_back(unbegun)
        if child.ready and not child.retiring:
            self._grow(1)
        self._feed()

    def _could_not_start(self, why: str) -> None:
        self._failures += 1
        delay = min(RESTART_MOST, RESTART_FIRST * 2 ** (self._failures - 1))
        log.error("a child process cannot serve %s; trying again in %.1f s: %s", self._setup.target, delay, why)
        if self._down():
            runs = list(self._waiting)
            self._waiting.clear()
            for run in runs:
                self._end(run, Released())
        if self._restart is None:
            self._restart = self._loop.call_later(delay, self._try_again)

    def _try_again(self) -> None:
        self._restart = None
        self._grow(1)

    def _retire_if_due(self, child: Child) -> None:
        """Replace a child that has served long enough: its successor starts while it still works."""
        if not child.ready or child.over or self._closing:
            return
        spent = self._max_jobs is not None and child.total >= self._max_jobs
        old = self._max_age is not None and monotonic() - child.born >= self._max_age
        heavy = self._max_rss is not None and child.weight > self._max_rss
        if (spent or old or heavy) and not child.retiring:
            child.retiring = True
            if not spent:
                child.recall()
            self._grow(1)
        if child.retiring and not child.fed:
            child.dismiss(self._kill_grace + 1.0)

    # -- feeding

    def _held(self) -> int:
        return len(self._waiting) + sum(len(child.fed) for child in self._children)

    def _learn(self, task: str, took: float) -> None:
        self._pace.took(took)
        mean = self._means.get(task)
        self._means[task] = took if mean is None else mean + (took - mean) * 0.1

    def _feed(self) -> None:
        """Share out what waits: first to the idle children, then ahead of those that will soon be done."""
        waiting = self._waiting
        if not waiting or self._closing:
            return
        staff = self._staff()
        serving = [child for child in staff if child.ready]
        busy = sum(1 for child in self._children if child.fed)
        share = -(-len(waiting) // max(1, len(serving)))
        for child in sorted(serving, key=_load):
            if not waiting:
                break
            if child.fed:
                self._give(child, share)
            elif busy < self.slots:
                busy += 1
                self._give(child, share)
        starting = len(staff) - len(serving)
        if len(waiting) > starting and len(staff) < self.slots:
            self._grow(min(self.slots - len(staff), len(waiting) - starting))
        if any(child.fed for child in serving):
            self._look_again()

    def _give(self, child: Child, share: int) -> None:
        most = min(share, CHUNK)
        if self._max_jobs is not None:
            most = min(most, self._max_jobs - child.total)
        waiting, means = self._waiting, self._means
        idle, load = not child.fed, child.load
        runs: list[Run] = []
        expected: list[float] = []
        while waiting and len(runs) < most:
            mean = means.get(waiting[0].claimed.task)
            first = idle and not runs
            if not first and (mean is None or load + mean > BUFFERED_SECONDS):
                break
            # What was never measured counts as long: nothing is put behind it.
            seconds = BUFFERED_SECONDS if mean is None else mean
            load += seconds
            runs.append(waiting.popleft())
            expected.append(seconds)
        if not runs:
            return
        child.feed(runs, expected)
        if idle:
            self._start(runs[0])
        self._retire_if_due(child)

    # -- what runs

    def _start(self, run: Run) -> None:
        if run.started is None:
            self._bench.started(run)

    def _end(self, run: Run, outcome: Outcome) -> None:
        self._bench.ended(run, outcome)

    def _notice_started(self, child: Child) -> None:
        fed = child.running
        if fed is None:
            return
        self._start(fed.run)
        if fed.run.stop is not None:
            self._interrupt(fed)

    def _interrupt(self, fed: Fed) -> None:
        child = fed.child
        grace = min(self._kill_grace, LOST_GRACE) if fed.run.stop is Stop.LOST else self._kill_grace
        child.interrupt(fed, grace)
        if not child.retiring:
            child.retiring = True
            child.recall()
            self._grow(1)

    def _look_again(self) -> None:
        if self._look is None:
            self._look = self._loop.call_later(LOOK, self._look_at_slates)

    def _look_at_slates(self) -> None:
        """See which bodies have begun, and free what waits behind one that is longer than expected."""
        self._look = None
        unseen = False
        now = monotonic()
        for child in list(self._children):
            if not child.fed:
                continue
            self._notice_started(child)
            fed = child.running
            late = fed is not None and fed.run.started is not None and now - fed.run.started > 2 * BUFFERED_SECONDS
            if late and len(child.fed) > 1:
                child.recall()
            unseen = unseen or any(_unseen(each) for each in child.fed.values())
        if unseen:
            self._look_again()


def _load(child: Child) -> float:
    return child.load if child.fed else -1.0


def _unseen(fed: Fed) -> bool:
    run = fed.run
    return run.started is None or (run.stop is not None and not fed.interrupted)
