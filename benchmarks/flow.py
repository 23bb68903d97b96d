"""What flow control costs: drains with and without it, interleaved in one run, and an unrelated claim beside many keys.

    python -m benchmarks.flow [--engine sqlite|postgres|redis] [--n 100000] [--rounds 3]

Each kind of job is drained by one worker process, whose task says what it is behind, and by a bare loop of claims and settles
of 100. No limit here ever stops a job, except that jobs of one ordering key wait for each other. Machines drift: compare ratios
of one run, not rates.
"""

import argparse
import json
import secrets
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.run import child, note
from benchmarks.sites import SITES, Site
from treadle import Treadle
from treadle.model.flow import Hold, Ordering, Rule
from treadle.model.job import NewJob, Want, WorkerInfo
from treadle.model.outcome import Completed, Settlement
from treadle.model.record import Space, Write

NAME = "benchmarks.target.no_op"
ARGS = '{"n":12345,"user":"user@example.org","template":"welcome"}'
SECOND = 1_000_000
BATCH = 100
CALL = 5_000
KEYS = 1_000

KINDS: dict[str, Callable[[int], dict[str, Any]]] = {
    "plain": lambda i: {},
    "a rate, one key": lambda i: {"holds": (Hold("mail"),)},
    "a rate, 1,000 keys": lambda i: {"holds": (Hold("mail", f"k{i % KEYS}"),)},
    "slots, one key": lambda i: {"holds": (Hold("wide"),)},
    "slots, 1,000 keys": lambda i: {"holds": (Hold("db", f"k{i % KEYS}"),)},
    "in order, 1,000 keys": lambda i: {"ordering": Ordering(f"k{i % KEYS}")},
}
GATES = {"mail": "a rate", "wide": "slots, one", "db": "slots, 1", "order": "in order"}
"""What the task of a kind is behind (see `target`), and how the names of such kinds begin."""
RULES = {
    "mail": Rule(rate=SECOND, period=SECOND, burst=SECOND),
    "wide": Rule(concurrency=10_000),
    "db": Rule(concurrency=8),
}


class Store:
    """An engine under measurement, with a lease of its own."""

    def __init__(self, url: str) -> None:
        self._app = Treadle(url)
        self.engine = self._app.store.engine
        self.session = self._app.store.session()
        self.lease = secrets.token_hex(16)
        worker = WorkerInfo("bench", "here", 0, ("default",), (NAME,), 1)
        self.session.run(self.engine.renew(self.lease, 0, 600.0, worker=worker))
        for name, rule in RULES.items():
            self.limit(name, rule)

    def limit(self, name: str, rule: Rule) -> None:
        """Set a limit."""
        self.session.run(self.engine.write([Write(Space.LIMIT, name, rule.to_text())]))

    def fill(self, n: int, options: Callable[[int], dict[str, Any]]) -> None:
        """Store n jobs."""
        for start in range(0, n, CALL):
            jobs = [NewJob(secrets.token_hex(16), NAME, ARGS, **options(i)) for i in range(start, min(n, start + CALL))]
            self.session.run(self.engine.enqueue(jobs))

    def claim(self, queue: str, count: int) -> int:
        """Claim and complete some jobs; how many there were."""
        claims = self.session.run(self.engine.claim(self.lease, [Want(queue, count, count)], [NAME], gated=count))
        ends = [Settlement(job.ref, job.id, job.attempt, Completed(), 0.0) for job in claims.jobs]
        self.session.run(self.engine.settle(self.lease, ends))
        return len(claims.jobs)

    def claim_time(self, queue: str) -> float:
        """Microseconds of a claim of some jobs, without its settlement."""
        began = time.perf_counter()
        claims = self.session.run(self.engine.claim(self.lease, [Want(queue, BATCH, BATCH)], [NAME], gated=BATCH))
        took = (time.perf_counter() - began) * 1e6
        assert len(claims.jobs) == BATCH
        ends = [Settlement(job.ref, job.id, job.attempt, Completed(), 0.0) for job in claims.jobs]
        self.session.run(self.engine.settle(self.lease, ends))
        return took

    def close(self) -> None:
        self.session.close()
        self._app.close()


Burden = Callable[[Store], None]


def gate(kind: str) -> str:
    """What the task of a kind of jobs is behind."""
    return next((name for name, start in GATES.items() if kind.startswith(start)), "")


def drained_by_loop(url: str, n: int, kind: str) -> float:
    """Jobs per second of a loop of claims and settles."""
    store = Store(url)
    store.fill(n, KINDS[kind])
    began, left = time.perf_counter(), n
    while left > 0:
        left -= store.claim("default", BATCH)
    rate = n / (time.perf_counter() - began)
    store.close()
    return rate


def drained_by_worker(url: str, n: int, kind: str) -> float:
    """Jobs per second of a worker process."""
    store = Store(url)
    store.fill(n, KINDS[kind])
    store.close()
    env = {"BENCH_URL": url, "BENCH_GOAL": str(n), "BENCH_GATE": gate(kind)}
    figures = json.loads(child("benchmarks.worker", "drain", env=env))
    return float(figures["rate"])


def filled(url: str, n: int) -> float:
    """Microseconds for each plain job that is stored."""
    store = Store(url)
    began = time.perf_counter()
    store.fill(n, KINDS["plain"])
    took = time.perf_counter() - began
    store.close()
    return took / n * 1e6


def beside(url: Callable[[], str], rounds: int, burden: Burden, control: Burden) -> list[float]:
    """How a plain claim fares beside a burden, times how it fares beside as many plain jobs; taken in turns."""

    def claims(load: Burden) -> float:
        store = Store(url())
        load(store)
        store.fill(BATCH * 40, lambda _: {"queue": "beside"})
        median = statistics.median(store.claim_time("beside") for _ in range(40))
        store.close()
        return median

    return [claims(burden) / claims(control) for _ in range(rounds)]


def many_plain(store: Store) -> None:
    """100,000 plain jobs, half of them completed."""
    store.fill(100_000, lambda _: {"queue": "keys"})
    for _ in range(500):
        store.claim("keys", BATCH)


def few_plain(store: Store) -> None:
    """10,000 plain jobs in another queue."""
    store.fill(10_000, lambda _: {"queue": "keys"})


def waiting_plain(store: Store) -> None:
    """100,000 plain jobs in another queue."""
    store.fill(100_000, lambda _: {"queue": "keys"})


def many_scheduled(store: Store) -> None:
    """100,000 jobs that are due tomorrow, in the queue that is claimed from."""
    store.fill(100_000, lambda _: {"queue": "beside", "delay": 86_400.0})


def many_keys(store: Store) -> None:
    """100,000 keys in use: half of them have started within their hour, the others wait in a queue of their own."""
    store.limit("slow", Rule(rate=1, period=3600 * SECOND))
    store.fill(100_000, lambda i: {"queue": "keys", "holds": (Hold("slow", f"own{i}"),)})
    for _ in range(500):
        store.claim("keys", BATCH)


def many_blocked(store: Store) -> None:
    """10,000 jobs at the head of the queue that may not start."""
    store.limit("shut", Rule(closed_until=2**52))
    store.fill(10_000, lambda _: {"queue": "beside", "priority": 100, "holds": (Hold("shut"),)})
    for _ in range(25):
        store.claim("beside", BATCH)


def measure(site: Site, n: int, rounds: int) -> None:
    """Everything, in the first setting of the site."""
    setting = site.settings[0]
    print(f"{site.title}, {setting}")

    def url() -> str:
        return site.url(site.fresh(setting), setting)

    for way, drain in (("loop", drained_by_loop), ("worker", drained_by_worker)):
        rates: dict[str, list[float]] = {kind: [] for kind in KINDS}
        for _ in range(rounds):
            for kind, values in rates.items():
                values.append(drain(url(), n, kind))
        note(f"{way}, plain (jobs/s)", rates["plain"])
        for kind in list(KINDS)[1:]:
            note(f"{way}, {kind}, share of plain", [a / b for a, b in zip(rates[kind], rates["plain"], strict=True)])
    note("enqueue, plain (us/job)", [filled(url(), n) for _ in range(rounds)])
    note("claim beside 100,000 keys, times without", beside(url, rounds, many_keys, many_plain))
    note("claim beside 10,000 blocked, times without", beside(url, rounds, many_blocked, few_plain))
    note("claim beside 100,000 scheduled, times without", beside(url, rounds, many_scheduled, waiting_plain))


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.flow", description="what flow control costs")
    parser.add_argument("--engine", default="sqlite", choices=list(SITES))
    parser.add_argument("--n", type=int, default=100_000, help="jobs in each drain; in the first 5,000 workers learn the pace")
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="treadle-bench-") as folder:
        site = SITES[chosen.engine](Path(folder))
        try:
            measure(site, chosen.n, chosen.rounds)
        finally:
            site.close()


if __name__ == "__main__":
    main()
