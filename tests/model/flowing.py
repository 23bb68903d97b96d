"""The part of the random machine that is about flow: rules that change, keys that pause, and what must hold of every start."""

import random
from collections import Counter
from typing import Any, NamedTuple

from treadle.model.flow import WAITING_OR_RUNNING, Hold, Idempotency, OnConflict, Ordering, Rule, Unique
from treadle.model.job import Claimed, Job, JobId, NewJob
from treadle.model.record import Space, Write, paused_key, paused_task
from treadle.model.state import State

Dice = random.Random

SECOND = 1_000_000
DAY = 86_400 * SECOND
LIMITS = ("api", "db")
KEYS = ("", "x")
WAITING = (State.SCHEDULED, State.BLOCKED)
DURING = {"u": (WAITING_OR_RUNNING,), "v": (WAITING_OR_RUNNING, WAITING, (State.QUEUED, State.COMPLETED, State.DEAD), ())}
"""For how long a job may want each unique key: of those who want one for different times several may live."""


class Start(NamedTuple):
    """One start under a key of a limit."""

    at: int
    cost: int


def flow(dice: Dice, task: str) -> dict[str, Any]:
    """What a new job may ask of others; most often nothing."""
    costs = (1, 1, 2, 5)
    holds = [Hold(dice.choice(LIMITS), dice.choice(KEYS), dice.choice(costs)) for _ in range(dice.choice((1, 1, 2, 3)))]
    asked: dict[str, Any] = {}
    if dice.random() < 0.5:
        asked["holds"] = tuple(holds)
    if dice.random() < 0.3:
        asked["ordering"] = Ordering(dice.choice("mn"), task == "other")
    if dice.random() < 0.2:
        on_conflict, within = dice.choice(list(OnConflict)), dice.choice((None, None, 5.0))
        key = dice.choice("uv")
        asked["unique"] = Unique(key, dice.choice(DURING[key]), within, on_conflict)
    if dice.random() < 0.1:
        asked["idempotency"] = Idempotency(dice.choice("ij"), dice.choice("12"), dice.choice((1.0, 5.0)))
    if dice.random() < 0.15:
        asked["fair"] = dice.choice("pqr")
    return asked


def rule(dice: Dice, now: int) -> Rule:
    """Any rule."""
    rules = [
        Rule(rate=2, period=2 * SECOND, burst=dice.choice((2, 3))),
        Rule(rate=3, period=4 * SECOND, strict=True),
        Rule(concurrency=dice.choice((1, 2))),
        Rule(rate=4, period=SECOND, burst=4, concurrency=2),
        Rule(rate=1, period=3 * SECOND),
        Rule(rate=dice.choice((3, 7)), period=dice.choice((1, 7)) * DAY, burst=3),
        Rule(rate=2, period=SECOND, strict=True, concurrency=1),
        Rule(rate=7, period=SECOND, burst=2, concurrency=3, closed_until=now + SECOND, probes=2),
        Rule(),
        Rule(closed_until=now + dice.choice((-1, 1, 3)) * SECOND, probes=dice.choice((1, 2))),
    ]
    return dice.choice(rules)


def record(dice: Dice, now: int) -> Write:
    """A record that changes who may start."""
    key = paused_key(dice.choice(LIMITS), dice.choice(KEYS))
    writes = [
        Write(Space.LIMIT, dice.choice(LIMITS), rule(dice, now).to_text()),
        Write(Space.LIMIT, dice.choice(LIMITS), rule(dice, now).to_text()),
        Write(Space.LIMIT, dice.choice(LIMITS), None),
        Write(Space.PAUSED, key, dice.choice((None, None, "{}"))),
        Write(Space.PAUSED, paused_task("other"), dice.choice((None, None, "{}"))),
        Write(Space.FAIR, dice.choice(("red", "blue")), dice.choice((None, '{"p": 3, "": 2}', '{"q": 0.3, "r": 7000}'))),
    ]
    return dice.choice(writes)


class Ledger:
    """What has started under which rule, who has which unique key, and since when each job stands in its line."""

    def __init__(self) -> None:
        self.rules: dict[str, Rule] = {}
        self.starts: dict[tuple[str, str], list[Start]] = {}
        self.unique: dict[JobId, str | None] = {}
        """The key that nobody else has until a job ends."""
        self.line: dict[JobId, int] = {}
        self.stops: dict[JobId, bool] = {}
        """Whether a job stops its line as an open dead letter."""
        self.steps = 0

    def stored(self, job: NewJob) -> None:
        """A new job was stored."""
        self.stops[job.id] = job.ordering is not None and job.ordering.stop
        unique = job.unique
        self.unique[job.id] = unique.key if unique is not None and len(DURING[unique.key]) == 1 else None
        if job.guard is not None:
            self.ruled(job.guard.write)

    def ruled(self, write: Write) -> None:
        """A rule was written: what started under another does not count against it."""
        if write.space is Space.LIMIT:
            self.rules[write.key] = Rule() if write.value is None else Rule.from_text(write.value)
            for key in KEYS:
                self.starts.pop((write.key, key), None)

    def started(self, claimed: list[Claimed], jobs: dict[JobId, Job], now: int) -> None:
        """Jobs have just been claimed; `jobs` shows everything after that. No bound may have been passed."""
        running = Counter(
            key for job in jobs.values() if job.state is State.RUNNING for key in {(h.limit, h.key) for h in job.holds}
        )
        for each in claimed:
            for hold in jobs[each.id].holds:
                at = (hold.limit, hold.key)
                bounds = self.rules.get(hold.limit, Rule())
                assert bounds.concurrency is None or running[at] <= bounds.concurrency
                assert bounds.closed_until is None or bounds.closed_until <= now
                self.starts.setdefault(at, []).append(Start(now, hold.cost))
                _check_rate(self.starts[at], bounds)

    def sent_back(self, job: JobId, ended: State) -> None:
        """A job was replayed, perhaps in the step in which it had ended: it comes to its line anew, unless it stopped that."""
        if ended is not State.DEAD or not self.stops[job]:
            self.line.pop(job, None)

    def lines(self, jobs: list[Job]) -> None:
        """Of each ordering key one job runs at most, and none that was ready before it waits."""
        self.steps += 1
        ready: dict[str, list[tuple[int, Job]]] = {}
        # Who was erased and is stored again under the same id comes to his line anew.
        present = {job.id for job in jobs}
        self.line = {job: since for job, since in self.line.items() if job in present}
        for job in jobs:
            if job.ordering is None:
                continue
            if job.state.final and not (job.ordering.stop and job.dead is not None and _open(job)):
                self.line.pop(job.id, None)
            elif job.id in self.line or job.state not in WAITING or job.blocked_on in ("key", "limit"):
                ready.setdefault(job.ordering.key, []).append((self.line.setdefault(job.id, self.steps), job))
        for standing in ready.values():
            running = [(since, job) for since, job in standing if job.state is State.RUNNING]
            assert len(running) <= 1
            assert not running or running[0][0] == min(since for since, _ in standing)


def _open(job: Job) -> bool:
    return job.state is State.DEAD and job.dead is not None and job.dead.status == "open"


def _check_rate(starts: list[Start], bounds: Rule) -> None:
    """The last start, and every window that ends with it. One that costs more than the rule ever allows starts alone."""
    if bounds.rate is None or bounds.period is None:
        return
    spent = 0
    for start in reversed(starts):
        spent += start.cost
        span = starts[-1].at - start.at
        if bounds.strict:
            assert span >= bounds.period or spent <= max(bounds.rate, starts[-1].cost)
        else:
            assert spent <= max(bounds.burst, starts[-1].cost) + span / bounds.interval + 1e-9
