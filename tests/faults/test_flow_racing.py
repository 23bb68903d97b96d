"""Threads with sessions and leases of their own race for gated jobs, by the store's own clock: every bound holds."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from conformance.desk import Bench
from conformance.engines import ENGINES
from treadle.model.flow import Hold, Ordering, Rule
from treadle.model.job import Claimed, JobId, NewJob, Want, WorkerInfo
from treadle.model.outcome import Completed, Released, Settlement, Verdict
from treadle.model.record import Space, Write

PATIENCE = 120.0
RACERS = 6
SLOTS = 3
RATE, BURST = 200, 5
"""Starts in a second, and how many may follow each other at once."""


@dataclass
class Track:
    """What the racers saw, each in its turn."""

    total: int
    holds: dict[JobId, str]
    orders: dict[JobId, str]
    lock: threading.Lock = field(default_factory=threading.Lock)
    over: threading.Event = field(default_factory=threading.Event)
    running: dict[str, int] = field(default_factory=lambda: defaultdict[str, int](int))
    most: dict[str, int] = field(default_factory=lambda: defaultdict[str, int](int))
    starts: list[int] = field(default_factory=list[int])
    lines: dict[str, list[JobId]] = field(default_factory=lambda: defaultdict[str, list[JobId]](list))
    wrong: list[str] = field(default_factory=list[str])
    completed: int = 0

    def began(self, job: Claimed) -> None:
        """A claim has been answered."""
        with self.lock:
            key = self.holds.get(job.id, "")
            self.running[key] += 1
            self.most[key] = max(self.most[key], self.running[key])
            self.starts.append(job.claimed_at)
            if job.id in self.orders:
                self.lines[self.orders[job.id]].append(job.id)

    def ends(self, job: Claimed) -> None:
        """A settlement is about to be sent."""
        with self.lock:
            self.running[self.holds.get(job.id, "")] -= 1

    def settled(self, verdict: Verdict, *, completed: bool) -> None:
        with self.lock:
            if verdict is not Verdict.DONE:
                self.wrong.append(verdict)
            self.completed += completed
            if self.completed == self.total or self.wrong:
                self.over.set()


def race(bench: Bench, name: str, track: Track) -> None:
    """Claim, hand every seventh job back once, complete the others; look for what may go on whenever there is nothing."""
    engine, session = bench.store.engine, bench.store.session()
    worker = WorkerInfo(name, "here", 0, ("default",), ("work",), 4)
    session.run(engine.renew(name, 0, PATIENCE, worker=worker))
    began = 0
    while not track.over.is_set():
        claims = session.run(engine.claim(name, [Want("default", 4, 4)], ["work"], gated=4))
        for job in claims.jobs:
            track.began(job)
        for job in claims.jobs:
            began += 1
            back = job.attempt == 1 and began % 7 == 0
            track.ends(job)
            settlement = Settlement(job.ref, job.id, job.attempt, Released() if back else Completed(), 0.0)
            [verdict] = session.run(engine.settle(name, [settlement]))
            track.settled(verdict, completed=not back)
        if not claims.jobs and session.run(engine.promote()).queued == 0:
            track.over.wait(0.005)
    session.close()


def raced(bench: Bench, rule: Rule, jobs: list[NewJob]) -> Track:
    engine, session = bench.store.engine, bench.store.session()
    session.run(engine.write([Write(Space.LIMIT, "api", rule.to_text())]))
    session.run(engine.enqueue(jobs))
    holds = {job.id: job.holds[0].key for job in jobs if job.holds}
    track = Track(len(jobs), holds, {job.id: job.ordering.key for job in jobs if job.ordering})
    racers = [threading.Thread(target=race, args=(bench, f"racer-{i}", track), daemon=True) for i in range(RACERS)]
    for racer in racers:
        racer.start()
    assert track.over.wait(PATIENCE), f"{track.completed} of {track.total} completed"
    for racer in racers:
        racer.join(PATIENCE)
    assert not track.wrong
    assert session.run(engine.gates()) == []
    session.close()
    return track


def new_jobs(count: int, options: Callable[[int], dict[str, Any]]) -> list[NewJob]:
    return [NewJob(f"job-{i:04}", "work", **options(i)) for i in range(count)]


@pytest.mark.repeats
@pytest.mark.parametrize("engine", ENGINES)
def test_no_more_run_under_a_key_than_it_has_slots(engine: str, tmp_path: Path) -> None:
    with ENGINES[engine](tmp_path) as bench:
        jobs = new_jobs(150, lambda i: {"holds": (Hold("api", f"k{i % 3}"),)})
        track = raced(bench, Rule(concurrency=SLOTS), jobs)

    assert track.completed == 150
    assert max(track.most.values()) <= SLOTS


@pytest.mark.repeats
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("strict", [False, True])
def test_no_more_start_in_any_window_than_the_rate_allows(engine: str, strict: bool, tmp_path: Path) -> None:
    began = time.monotonic()
    with ENGINES[engine](tmp_path) as bench:
        rule = Rule(rate=BURST, period=25_000, strict=True) if strict else Rule(rate=RATE, period=1_000_000, burst=BURST)
        track = raced(bench, rule, new_jobs(150, lambda _: {"holds": (Hold("api"),)}))
    starts = sorted(track.starts)
    print(f"{len(starts)} starts in {time.monotonic() - began:.2f} s")

    for i, first in enumerate(starts):
        for j in range(i, min(i + 40, len(starts))):
            if strict:
                assert j - i < BURST or starts[j] - first >= 25_000
            else:
                assert j - i + 1 <= BURST + (starts[j] - first) * RATE / 1_000_000


@pytest.mark.repeats
@pytest.mark.parametrize("engine", ENGINES)
def test_jobs_of_one_ordering_start_one_at_a_time_in_the_order_of_their_places(engine: str, tmp_path: Path) -> None:
    with ENGINES[engine](tmp_path) as bench:
        jobs = new_jobs(120, lambda i: {"ordering": Ordering(f"o{i % 4}")})
        track = raced(bench, Rule(), jobs)

    for key, started in track.lines.items():
        in_order = [job.id for job in jobs if job.ordering == Ordering(key)]
        assert list(dict.fromkeys(started)) == in_order
        assert started == sorted(started)
