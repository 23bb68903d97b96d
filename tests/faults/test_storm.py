"""Everything at once: producers, workers of which one keeps dying, a keeper and an operator who changes rules meanwhile.

Every job that was stored ends, and no bound is passed. `SEED=` chooses what each of them does, not who comes first;
`STORM_JOBS=` makes it longer.
"""

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from conformance.desk import DEATH, SECOND, TASKS, Bench
from conformance.engines import ENGINES
from model.chorus import new_id
from treadle.engine.plan import Plan, together
from treadle.engine.session import Session
from treadle.model.filter import Cancel, Filter, Page, Prioritise, Replay, Retention
from treadle.model.flow import Hold, OnConflict, Ordering, Rule, Unique
from treadle.model.job import Claimed, Claims, Edge, Job, JobId, NewJob, OnDead, Stored, Want, WorkerInfo
from treadle.model.outcome import Completed, Crashed, Outcome, Released, Retrying, Settlement, Snoozed
from treadle.model.record import Space, Write, paused_key
from treadle.model.state import LIVE, State

JOBS = int(os.environ.get("STORM_JOBS", "400"))
SEED = int(os.environ.get("SEED") or random.randrange(2**32))
PATIENCE = 90.0
"""Seconds after which who is left is stuck: it takes about three, and three times as long beside another storm."""
PAUSE = 0.003
QUEUES = ("red", "blue")
SLOTS = {"narrow": 2, "wide": 3}
"""Limits whose rule stays, by how many may run under a key of theirs."""
LIMITS = (*SLOTS, "paced", "moody")
KEYS = "xyz"

Key = tuple[str, str]


def new_job(dice: random.Random, job: JobId, parents: Sequence[JobId]) -> NewJob:
    """A job that asks for a little of everything."""
    asked: dict[str, Any] = {}
    if dice.random() < 0.6:
        asked["holds"] = tuple(Hold(limit, dice.choice(KEYS)) for limit in LIMITS if dice.random() < 0.35)
    if dice.random() < 0.3:
        asked["ordering"] = Ordering(dice.choice("klm"))
    if dice.random() < 0.2:
        asked["fair"] = dice.choice("tu")
    if dice.random() < 0.15:
        asked["unique"] = Unique(dice.choice("uvw"), on_conflict=dice.choice(list(OnConflict)))
    if dice.random() < 0.15:
        asked["delay"] = dice.random() / 10
    if dice.random() < 0.1:
        asked["start_within"] = dice.random() / 3
    if dice.random() < 0.15:
        asked["tags"] = ("doomed",)
    if parents and dice.random() < 0.3:
        chosen = set(dice.choices(parents, k=dice.randint(1, 3)))
        asked["edges"] = tuple(Edge(each, dice.choice((OnDead.RUN, OnDead.CANCEL))) for each in sorted(chosen))
    return NewJob(job, "work", queue=dice.choice(QUEUES), priority=dice.randint(-1, 1), **asked)


def outcome(dice: random.Random) -> Outcome:
    """Most often a good end."""
    ends: list[Outcome] = [Released(), Retrying(0.05, "{}"), Snoozed(0.05), DEATH, Crashed("signal 9", 0.01)]
    return Completed() if dice.random() < 0.7 else dice.choice(ends)


class Storm:
    """What they all know of each other."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.engine = bench.store.engine
        self.lock = threading.Lock()
        self.calm = threading.Event()
        """Nobody stores or changes anything any more."""
        self.over = threading.Event()
        self.stored: list[JobId] = []
        self.removed = 0
        self.made = 0
        self.bounds: dict[JobId, set[Key]] = {}
        self.running: Counter[Key] = Counter()
        self.most: Counter[Key] = Counter()
        self.wrong: list[BaseException] = []

    def fresh(self, dice: random.Random) -> NewJob:
        with self.lock:
            self.made += 1
            job = new_job(dice, new_id(self.made), self.stored[-40:])
            self.bounds[job.id] = {(hold.limit, hold.key) for hold in job.holds if hold.limit in SLOTS}
            if job.ordering is not None:
                self.bounds[job.id].add(("", job.ordering.key))
            return job

    def began(self, jobs: Iterable[Claimed]) -> None:
        with self.lock:
            self.running.update(key for job in jobs for key in self.bounds[job.id])
            self.most |= self.running

    def ending(self, jobs: Iterable[Claimed]) -> None:
        """Said before the store is told, so that nobody is counted who might have ended."""
        with self.lock:
            self.running.subtract(key for job in jobs for key in self.bounds[job.id])

    def produce(self, session: Session, dice: random.Random) -> None:
        while self.made < JOBS and not self.over.is_set():
            jobs = [self.fresh(dice) for _ in range(dice.randint(1, 5))]
            answers = session.run(self.engine.enqueue(jobs))
            with self.lock:
                self.stored += [each.id for each in answers if each.verdict is Stored.STORED]
            self.over.wait(dice.random() * PAUSE)

    def work(self, session: Session, dice: random.Random, *, mortal: bool) -> None:
        """Claim and settle; who is mortal goes now and then without a word, and leaves what it holds to its lease."""
        while not self.over.is_set():
            lease = dice.randbytes(8).hex()
            worker = WorkerInfo("storm", "here", 1, QUEUES, TASKS, 8)
            session.run(self.engine.renew(lease, 0, 1.0 if mortal else 600.0, worker=worker))
            dies_at = time.monotonic() + (0.4 + dice.random() * 0.4 if mortal else PATIENCE)
            held: list[Claimed] = []
            while time.monotonic() < dies_at and not self.over.is_set():
                claims = self.exchange(session, dice, lease, held)
                if claims.lost:
                    break
                held += claims.jobs
                if not held:
                    self.over.wait(PAUSE)
            self.ending(held)

    def exchange(self, session: Session, dice: random.Random, lease: str, held: list[Claimed]) -> Claims:
        """End some of what is held, and claim more with it."""
        dice.shuffle(held)
        done = [held.pop() for _ in range(dice.randint(0, len(held)))]
        self.ending(done)
        ends = [Settlement(each.ref, each.id, each.attempt, outcome(dice), 0.0) for each in done]
        take = dice.choice((1, 4, 20))
        wants = [Want(queue, take, take) for queue in dice.sample(QUEUES, 2)]
        claim = self.engine.claim(lease, wants, TASKS, suspects=1, gated=dice.choice((1, 4, 20)))
        plans: list[Plan[Any]] = [self.engine.settle(lease, ends), claim] if ends else [claim]
        claims: Claims = session.run(together(*plans))[-1]
        self.began(claims.jobs)
        return claims

    def keep_house(self, session: Session, dice: random.Random) -> None:
        while not self.over.is_set():
            session.run(self.engine.promote())
            session.run(self.engine.rescue(delay=0.01))
            kept = 0.0 if dice.random() < 0.02 else None
            self.removed += session.run(self.engine.prune(Retention(completed=kept, cancelled=kept, expired=kept, dead=None)))
            self.over.wait(PAUSE)

    def operate(self, session: Session, dice: random.Random) -> None:
        while not self.calm.is_set():
            self.change_something(session, dice)
            self.calm.wait(dice.random() * PAUSE * 5)
        pauses = [Write(Space.PAUSED, paused_key(limit, key), None) for limit in LIMITS for key in KEYS]
        session.run(self.engine.write([*pauses, Write(Space.LIMIT, "moody", None)]))

    def change_something(self, session: Session, dice: random.Random) -> None:
        closed = Rule(closed_until=round(time.time() * SECOND) + SECOND // 10, probes=1)
        moods = (Rule(concurrency=1), Rule(rate=50, period=SECOND), Rule(concurrency=4), closed)
        waiting, dead = Filter(states=[State.QUEUED, State.BLOCKED]), Filter(states=[State.DEAD])
        pause = Write(Space.PAUSED, paused_key(dice.choice(LIMITS), dice.choice(KEYS)), dice.choice((None, "{}")))
        plans: list[Plan[Any]] = [
            self.engine.alter(Filter(tag="doomed"), Cancel(), actor="ada", limit=dice.randint(1, 20)),
            self.engine.alter(waiting, Prioritise(dice.randint(-1, 1)), actor="ada", limit=dice.randint(1, 10)),
            self.engine.alter(dead, Replay(), actor="ada", limit=5),
            self.engine.write([Write(Space.LIMIT, "moody", dice.choice(moods).to_text())]),
            self.engine.write([pause]),
        ]
        session.run(dice.choice(plans))

    def left(self, session: Session) -> list[Job]:
        jobs: list[Job] = session.run(self.engine.find(Filter(states=list(LIVE)), Page(limit=JOBS, details=True)))
        return jobs

    def role(self, name: str, act: Callable[[Session, random.Random], None]) -> threading.Thread:
        """A thread with a session and dice of its own; what fails in it ends the storm."""

        def play() -> None:
            session = self.bench.store.session()
            try:
                act(session, random.Random(f"{SEED} {name}"))
            except BaseException as error:
                self.wrong.append(error)
                self.calm.set()
                self.over.set()
            finally:
                session.close()

        thread = threading.Thread(target=play, name=name)
        thread.start()
        return thread

    def blow(self) -> list[Job]:
        """Let them all loose; who is left when nobody stores anything any more and the patience is over."""
        session = self.bench.store.session()
        rules = {limit: Rule(concurrency=slots) for limit, slots in SLOTS.items()} | {"paced": Rule(200, SECOND, burst=5)}
        session.run(self.engine.write([Write(Space.LIMIT, limit, rule.to_text()) for limit, rule in rules.items()]))
        producers = [self.role(f"producer {k}", self.produce) for k in range(2)]
        operator = self.role("operator", self.operate)
        serving = [self.role(f"worker {k}", lambda s, dice: self.work(s, dice, mortal=False)) for k in range(4)]
        serving.append(self.role("mortal worker", lambda s, dice: self.work(s, dice, mortal=True)))
        serving.append(self.role("keeper", self.keep_house))
        for thread in producers:
            thread.join()
        self.calm.set()
        operator.join()
        end = time.monotonic() + PATIENCE
        while (left := self.left(session)) and time.monotonic() < end:
            self.over.wait(PAUSE * 10)
        self.over.set()
        for thread in serving:
            thread.join()
        session.close()
        return left


@pytest.mark.repeats
@pytest.mark.parametrize("name", [name for name in ENGINES if name != "sqlite3"])
def test_everything_ends_and_no_bound_is_passed_whatever_happens_at_once(name: str, tmp_path: Path) -> None:
    print(f"storm on {name}: SEED={SEED} STORM_JOBS={JOBS}")
    with ENGINES[name](tmp_path) as bench:
        storm = Storm(bench)
        left = storm.blow()
        if storm.wrong:
            raise storm.wrong[0]
        stuck = "\n".join(f"{job.id} {job.state} {job.blocked_on} {job.holds} {job.ordering} {job.parked}" for job in left[:20])
        assert not left, f"{len(left)} are left, such as\n{stuck}"
        session = bench.store.session()
        present = sum(each.count for each in session.run(bench.store.engine.count(Filter())))
        session.close()
    assert present == len(storm.stored) - storm.removed
    passed = {key: most for key, most in storm.most.items() if most > SLOTS.get(key[0], 1)}
    assert not passed, f"more ran at once than may, by limit and key: {passed}"
