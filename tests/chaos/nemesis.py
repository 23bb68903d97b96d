"""Does harm to a fleet, at random but by a seed, and writes down what it did before it does it."""

import random
import signal
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from . import journal
from .account import Account
from .fleet import Crew, Part, strike
from .journal import Journal, Tail
from .weather import Weather

GAP = 1.6
"""Seconds between two strikes, on average. A new worker needs about one to be at work again."""

NETWORK_LATELY = 30.0
"""Seconds after an outage in which a supervisor may have ended because there was no store to open."""

CALM = 2.0
"""Seconds in which a supervisor that has just lost a worker is let alone: it is promised to have acted within 1 s."""

STRIKES = {"worker": 50, "child": 20, "tree": 10, "supervisor": 10, "producer": 10}


class Watch:
    """Who runs what now, from what the bodies write."""

    def __init__(self, path: Path) -> None:
        self._tail = Tail(path)
        self._running: dict[tuple[str, int], tuple[int, int]] = {}
        self.ended = 0

    def look(self) -> None:
        """Read what was written since the last look."""
        for line in self._tail.news():
            key = (line["job"], line["attempt"])
            if line["event"] == "start":
                self._running[key] = (line["worker"], line["pid"])
            else:
                self._running.pop(key, None)
                self.ended += 1

    def busy(self) -> dict[int, set[int]]:
        """For each worker that has bodies running, the pids they run in; the dead are among them."""
        found: dict[int, set[int]] = defaultdict(set)
        for worker, pid in self._running.values():
            found[worker].add(pid)
        return found

    def forget(self, pids: set[int]) -> None:
        """These processes have ended, and their bodies with them."""
        self._running = {key: place for key, place in self._running.items() if not pids & set(place)}


@dataclass
class Frozen:
    """A stopped worker and when to wake it."""

    number: int
    crew: Crew
    pids: list[psutil.Process]
    wake_at: float


@dataclass
class Nemesis:
    """Strikes until its numbers are used up. `tick` does what is due and returns at once."""

    crews: list[Crew]
    producers: list[Part]
    account: Account
    draw: random.Random
    kills: int
    freezes: int
    lease: float
    folder: Path
    weather: Weather | None = None
    deaths: int = 0
    troubles: int = 0
    killed: int = 0
    frozen: int = 0
    stranded: int = 0
    _calm: dict[str, float] = field(default_factory=dict)
    _returns: dict[str, float] = field(default_factory=dict)
    _asleep: Frozen | None = None
    _next: float = 0.0
    _serial: int = 0

    def __post_init__(self) -> None:
        self.watch = Watch(self.folder / journal.BODIES)
        self._journal = Journal(self.folder / journal.FAULTS)
        self._strikes: dict[str, Callable[[], bool]] = {
            "worker": self._kill_worker,
            "child": self._kill_child,
            "tree": self._kill_tree,
            "supervisor": self._kill_supervisor,
            "producer": self._kill_producer,
        }

    @property
    def done(self) -> bool:
        return not any(self.left.values()) and self._asleep is None and not self._returns and self._fair

    @property
    def _fair(self) -> bool:
        return self.weather is None or self.weather.fair

    @property
    def left(self) -> dict[str, int]:
        """How many strikes of each kind are still to come."""
        left = {"kill": self.kills - self.killed, "freeze": self.freezes - self.frozen}
        if self.weather is not None:
            left |= {"death": self.deaths - self.weather.deaths, "trouble": self.troubles - self.weather.troubles}
        return left

    def tick(self) -> None:
        """Wake, restart and strike whatever is due."""
        now = time.monotonic()
        self.watch.look()
        if self.weather is not None:
            self.weather.tick()
            self._raise_the_stranded(now, self.weather)
        if self._asleep is not None and now >= self._asleep.wake_at:
            self._wake(self._asleep)
        for crew in self.crews:
            if now >= self._returns.get(crew.name, float("inf")):
                del self._returns[crew.name]
                crew.start()
        if now >= self._next and self._strike():
            self._next = now + self.draw.expovariate(1 / GAP)

    def _raise_the_stranded(self, now: float, weather: Weather) -> None:
        """A supervisor that starts while there is no store says so and ends; whatever started it starts it again."""
        for crew in self.crews:
            if not crew.alive and crew.name not in self._returns and weather.lately(NETWORK_LATELY):
                self.stranded += 1
                self._returns[crew.name] = now + 1.0

    def heal(self) -> None:
        """Wake the frozen and bring back what was killed, at once."""
        if self.weather is not None:
            self.weather.clear()
        if self._asleep is not None:
            self._wake(self._asleep)
        for crew in self.crews:
            if not crew.alive:
                crew.start()
        self._returns.clear()

    def _strike(self) -> bool:
        left = {kind: count for kind, count in self.left.items() if count > 0}
        if self._asleep is not None:
            left.pop("freeze", None)
        if not self._fair:
            left.pop("death", None)
            left.pop("trouble", None)
        if not left:
            return False
        match self.draw.choices(list(left), list(left.values()))[0]:
            case "freeze":
                done = self._freeze()
                self.frozen += done
            case "death":
                assert self.weather is not None
                done = self.weather.kill()
            case "trouble":
                assert self.weather is not None
                done = self.weather.trouble()
            case _:
                what = self.draw.choices(list(STRIKES), list(STRIKES.values()))[0]
                done = self._strikes[what]()
                # A producer's death is part of the weather: what is counted are the blows against workers.
                self.killed += done and what != "producer"
        return done

    # -- choosing

    def _victims(self, *, calm: bool) -> list[tuple[Crew, psutil.Process]]:
        """Workers that are executing something, of crews that are up and, where asked, were not just struck."""
        busy = self.watch.busy()
        now = time.monotonic()
        asleep = set() if self._asleep is None else {each.pid for each in self._asleep.pids}
        return [
            (crew, worker)
            for crew in self.crews
            if crew.alive and not (calm and now < self._calm.get(crew.name, 0.0))
            for worker in crew.workers(self.account)
            if worker.pid in busy and worker.pid not in asleep
        ]

    def _crew(self) -> Crew | None:
        """A crew that may be struck as a whole: not the last one at work, somebody in it busy, nobody frozen, and calm."""
        asleep = self._asleep.crew if self._asleep is not None else None
        up = [crew for crew in self.crews if crew.alive and crew is not asleep and crew.workers(self.account)]
        able = {crew.name: crew for crew, _ in self._victims(calm=True) if crew in up}
        return self.draw.choice(list(able.values())) if len(up) > 1 and able else None

    # -- striking: each writes first, and tells whether it struck

    def _note(self, act: str, what: str, workers: list[int], *, supervised: bool) -> None:
        self._journal.write(act=act, what=what, workers=workers, supervised=supervised)

    def _kill_worker(self) -> bool:
        victims = self._victims(calm=False)
        if not victims:
            return False
        crew, worker = self.draw.choice(victims)
        self._calm[crew.name] = time.monotonic() + CALM
        self._note("kill", "worker", [worker.pid], supervised=True)
        self.watch.forget({worker.pid})
        return strike(worker, signal.SIGKILL)

    def _kill_child(self) -> bool:
        busy = self.watch.busy()
        able = [
            (crew, worker, child)
            for crew, worker in self._victims(calm=True)
            for child in crew.children(worker)
            if child.pid in busy[worker.pid]
        ]
        if not able:
            return False
        crew, worker, child = self.draw.choice(able)
        self._calm[crew.name] = time.monotonic() + CALM
        self._note("kill", "child", [worker.pid], supervised=True)
        self.watch.forget({child.pid})
        return strike(child, signal.SIGKILL)

    def _kill_tree(self) -> bool:
        crew = self._crew()
        if crew is None:
            return False
        below = crew.descendants()
        self._note("kill", "tree", [each.pid for each in below], supervised=False)
        crew.signal(signal.SIGKILL)
        for each in below:
            strike(each, signal.SIGKILL)
        self._gone(crew, {each.pid for each in below})
        return True

    def _kill_supervisor(self) -> bool:
        crew = self._crew()
        if crew is None:
            return False
        below = [each.pid for each in crew.descendants()]
        self._note("kill", "supervisor", below, supervised=False)
        crew.signal(signal.SIGKILL)
        self._gone(crew, set(below))
        return True

    def _gone(self, crew: Crew, pids: set[int]) -> None:
        crew.wait(10)
        self.watch.forget(pids)
        self._returns[crew.name] = time.monotonic() + self.draw.uniform(0.0, self.lease)

    def _kill_producer(self) -> bool:
        able = [producer for producer in self.producers if producer.alive]
        if not able:
            return False
        producer = self.draw.choice(able)
        self._note("kill", "producer", [], supervised=True)
        producer.signal(signal.SIGKILL)
        producer.wait(10)
        producer.start()
        return True

    def _freeze(self) -> bool:
        victims = self._victims(calm=True)
        if not victims:
            return False
        crew, worker = self.draw.choice(victims)
        pids = [worker]
        if self.draw.random() < 0.5:
            pids += crew.children(worker)
        self._serial += 1
        self._journal.write(act="freeze", what="worker", number=self._serial, workers=[worker.pid], supervised=True)
        for each in pids:
            strike(each, signal.SIGSTOP)
        if not self.account.writable():
            # Stopped inside a write transaction it would stop the database for everybody, which is no news about SQLite.
            self._wake(Frozen(self._serial, crew, pids, 0.0))
            return False
        # Beyond the lease and the next round of rescue, so that the jobs run elsewhere when it wakes.
        wake_at = time.monotonic() + 2 * self.lease + self.draw.uniform(0.5, 1.5)
        self._asleep = Frozen(self._serial, crew, pids, wake_at)
        return True

    def _wake(self, frozen: Frozen) -> None:
        self._journal.write(act="wake", what="worker", ends="freeze", number=frozen.number, workers=[], supervised=True)
        for each in frozen.pids:
            strike(each, signal.SIGCONT)
        self._calm[frozen.crew.name] = time.monotonic() + CALM
        self._asleep = None
