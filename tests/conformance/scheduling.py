"""Schedulers without a worker around them: each looks, may be stopped, and does what it found to do later or never."""

import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from conformance.desk import Bench
from treadle import Context, Treadle
from treadle.app.firing import Move, carry_out, judge, look
from treadle.app.slot import TAG, read_slot
from treadle.app.view import view_job
from treadle.engine.session import Session
from treadle.model.filter import Cancel, Filter, Page, Retention
from treadle.model.job import Micros
from treadle.model.state import State
from treadle.testing import VirtualClock
from treadle.testing.clock import ClockedStore

SECOND = 1_000_000
GONE = Retention(completed=0.0, completed_count=0, cancelled=0.0, expired=0.0, dead=0.0)


@contextmanager
def on_bench(app: Treadle, bench: Bench, clock: VirtualClock) -> Iterator[Session]:
    """Let an app keep its jobs in a bench's store, at a clock's moment; gives a session of that store."""
    store = ClockedStore(bench.store, clock)
    session = store.session()
    before = app.connection.exchange((store, session))
    try:
        yield session
    finally:
        app.connection.exchange(before)
        session.close()


def declared(**words: Any) -> Treadle:
    """An app with one schedule, `tick`."""
    app = Treadle("memory://", allow_volatile=True)

    @app.schedule(words.pop("cron", None), name="tick", **words)
    @app.task(name="tick")
    def tick(ctx: Context) -> None:
        """Nothing to do."""

    return app


class Scheduler:
    """One scheduler, run a step at a time."""

    def __init__(self, app: Treadle, session: Session, name: str) -> None:
        self.app = app
        self.session = session
        self.name = name
        self.engine = app.store.engine
        self.held: list[Move] = []

    def look(self, now: Micros) -> bool:
        """See what there is to do, and keep it in hand; whether there is anything."""
        records = self.session.run(look(self.engine, [each.name for each in self.app.schedules]))
        moves = [judge(each, records.get(each.name), now) for each in self.app.schedules]
        self.held = [move for move in moves if move is not None]
        return bool(self.held)

    def act(self, now: Micros) -> tuple[list[Micros], bool]:
        """Do what is in hand, however old it is; the slots that were enqueued, and whether to look again."""
        fired: list[Micros] = []
        again = False
        for move in self.held:
            moved = self.session.run(carry_out(self.engine, move, now, self.name))
            fired += moved.fired
            again = again or moved.again
        self.held = []
        return fired, again

    def turn(self, now: Micros) -> list[Micros]:
        """Look and act until nothing is left to do."""
        fired: list[Micros] = []
        again = True
        while again and self.look(now):
            more, again = self.act(now)
            fired += more
        return fired


class Weeks:
    """Ten schedulers and a clock. Chance kills them, freezes them with work in hand, and wakes them up to a week later."""

    def __init__(self, app: Treadle, session: Session, clock: VirtualClock, chance: random.Random) -> None:
        self.app = app
        self.session = session
        self.clock = clock
        self.chance = chance
        self.engine = app.store.engine
        self.count = 0
        self.crew = [self._hire() for _ in range(10)]
        self.frozen: dict[int, Micros] = {}
        self.stored: dict[Micros, set[str]] = defaultdict(set)
        self.told: Counter[Micros] = Counter()
        self.events: Counter[str] = Counter()

    def run(self, until: datetime) -> None:
        """Let time pass in small and large steps."""
        while self.clock.now < until:
            self.clock.advance(self.chance.choice([1, 7, 20, 600, 1800]))
            now = self.clock.micros
            order = list(range(len(self.crew)))
            self.chance.shuffle(order)
            for place in order:
                self._step(place, now)
            if self.chance.random() < 0.2:
                self.sweep()
        self.sweep()

    def settle(self) -> None:
        """Wake everybody with what they hold, then let one go on alone."""
        now = self.clock.micros
        for scheduler in self.crew:
            self.told.update(scheduler.act(now)[0])
        self.told.update(self.crew[0].turn(now))
        self.sweep()

    def sweep(self) -> None:
        """Note every job that is stored, then end them all and prune them."""
        jobs = self.session.run(self.engine.find(Filter(tag=TAG + "tick"), Page(limit=100_000)))
        for job in jobs:
            slot = read_slot(view_job(job).headers, job.enqueued_at)
            assert slot is not None
            self.stored[round(slot.at.timestamp()) * SECOND].add(f"{job.id} {job.enqueued_at}")
        live = [job.id for job in jobs if job.state is not State.CANCELLED]
        if live:
            self.session.run(self.engine.alter(Filter(ids=live), Cancel("swept"), actor="test", limit=len(live)))
        self.clock.advance(0.001)
        self.session.run(self.engine.prune(GONE, limit=100_000))
        self.events["pruned"] += len(jobs)

    def _step(self, place: int, now: Micros) -> None:
        scheduler, luck = self.crew[place], self.chance.random()
        if place in self.frozen:
            if now < self.frozen[place]:
                return
            del self.frozen[place]
            self.told.update(scheduler.act(now)[0])
            self.events["woken"] += 1
        elif luck < 0.05:
            scheduler.look(now)
            self.crew[place] = self._hire()
            self.events["killed"] += 1
        elif luck < 0.15:
            self.events["frozen holding work"] += scheduler.look(now)
            self.frozen[place] = now + self.chance.choice([10, 3600, 86_400, 7 * 86_400]) * SECOND
        elif luck < 0.6:
            self.told.update(scheduler.turn(now))

    def _hire(self) -> Scheduler:
        self.count += 1
        return Scheduler(self.app, self.session, f"scheduler {self.count}")
