"""What is measured, the same for every queue: each measure runs once on a fresh store and returns its figures.

Every job's body leaves a record, and a measure fails unless each job that was stored has exactly one.
"""

import json
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from benchmarks.rivals.environments import ROOT, Environment
from benchmarks.rivals.peers import Peer
from benchmarks.rivals.room import Failed, Room, Run, room
from benchmarks.rivals.servers import Server, held_snapshot

SECONDS = 4.0
"""How long a drain is to take, from a queue's pace; never more jobs than the run's N."""
PATIENCE = 120.0
"""Seconds within which a drain must be done."""
NAPPING = 100
WARM = 20
GAP = 0.015
HELD = 30.0
"""Seconds that the snapshot is held at most, under a full load."""

Figures = dict[str, Any]


@dataclass(frozen=True)
class Sizes:
    """How much of everything, from one number."""

    n: int
    """Jobs of a drain at most."""
    backlog: int
    """Jobs waiting in the deep backlog."""

    @property
    def singles(self) -> int:
        return max(50, min(2_000, self.n // 10))

    @property
    def naps(self) -> int:
        return min(2_000, self.n)

    @property
    def latencies(self) -> int:
        return max(20, min(200, self.n // 50))

    def drained(self, peer: Peer) -> int:
        return min(self.n, int(peer.pace * SECONDS))

    def under_snapshot(self, peer: Peer) -> int:
        return min(6 * self.n, int(peer.pace * HELD))


@dataclass(frozen=True)
class Bench:
    """Where a queue is measured."""

    peer: Peer
    environment: Environment
    server: Server
    sizes: Sizes

    def room(self) -> AbstractContextManager[Room]:
        return room(self.peer, self.environment, self.server.fresh())


def _rate(jobs: int, nanoseconds: int) -> float:
    return jobs / (nanoseconds / 1e9)


def _counted(runs: list[Run], numbers: range) -> None:
    """Each of these jobs has run exactly once, and no other has."""
    seen = [run.number for run in runs]
    lost, twice, foreign = set(numbers) - set(seen), len(seen) - len(set(seen)), set(seen) - set(numbers)
    if lost or twice or foreign:
        raise Failed(f"of {len(numbers)} jobs {len(lost)} never ran, {twice} ran more than once, {len(foreign)} were not ours")


def _drained(here: Room, numbers: range, patience: float = PATIENCE) -> tuple[list[Run], int]:
    """Wait for all of these jobs and until the store is settled; their runs, and when it was."""
    done = here.await_runs(len(numbers), patience)
    settled = here.await_settled(30.0) if done else None
    runs = here.runs()
    _counted(runs, numbers)
    if settled is None:
        raise Failed("all jobs have run, and the store still holds some as waiting or running")
    return runs, settled


def enqueue(bench: Bench) -> Figures:
    """Jobs stored one at a time on one connection."""
    n = bench.sizes.singles
    with bench.room() as here:
        found = here.produce("no_op", range(n + WARM), warm=WARM)
        with bench.peer.left(here.url) as left:
            if left() != n + WARM:
                raise Failed(f"{n + WARM} jobs were enqueued, and the store holds {left()}")
    return {"jobs": n, "rate": n / found["seconds"]}


def bulk(bench: Bench) -> Figures:
    """Jobs stored 1,000 in a call, on one connection."""
    n = bench.sizes.n
    with bench.room() as here:
        found = here.produce("no_op", range(n + WARM), warm=WARM, many=True)
        with bench.peer.left(here.url) as left:
            if left() != n + WARM:
                raise Failed(f"{n + WARM} jobs were enqueued, and the store holds {left()}")
    return {"jobs": n, "rate": n / found["seconds"]}


def drain(bench: Bench, workers: int) -> Figures:
    """No-op jobs that wait already, from the first body to the last, and until the store is settled."""
    numbers = range(bench.sizes.drained(bench.peer))
    with bench.room() as here:
        here.fill("no_op", numbers)
        here.start(workers, bench.peer.slots)
        runs, settled = _drained(here, numbers)
        memory = here.memory()
    first, last = runs[0].at, runs[-1].at
    return {
        "jobs": len(runs),
        "rate": _rate(len(runs), last - first),
        "settled_rate": _rate(len(runs), max(settled, last) - first),
        "memory_mb": memory,
    }


def drain1(bench: Bench) -> Figures:
    """One worker process."""
    return drain(bench, 1)


def drain2(bench: Bench) -> Figures:
    """Two worker processes."""
    return drain(bench, 2)


def latency(bench: Bench) -> Figures:
    """From the enqueue call in one process to the body in an idle worker, jobs 15 ms apart."""
    n = bench.sizes.latencies
    with bench.room() as here:
        here.start(1, bench.peer.slots)
        # Jobs of one process, so that the worker is warm; then those of another, which warms itself with some more.
        here.produce("no_op", range(WARM))
        if not here.await_runs(WARM, PATIENCE):
            raise Failed("an idle worker did not take up the first jobs")
        memory = here.memory()
        sent = dict(here.produce("no_op", range(WARM, 2 * WARM + n), warm=WARM, gap=GAP)["sent"])
        runs, _ = _drained(here, range(2 * WARM + n))
    late = [round((run.at - sent[run.number]) / 1e3) for run in runs if run.number in sent]
    return {"jobs": len(late), "microseconds": late, "idle_memory_mb": memory}


def nap(bench: Bench) -> Figures:
    """Jobs that wait 50 ms each, 100 at once in one worker process."""
    numbers = range(bench.sizes.naps)
    with bench.room() as here:
        here.fill("nap", numbers)
        here.start(1, NAPPING)
        runs, _ = _drained(here, numbers)
    # The record is made at the end of a nap, so the first began 50 ms before its own.
    return {"jobs": len(runs), "seconds": (runs[-1].at - runs[0].at) / 1e9 + 0.05}


def backlog(bench: Bench) -> Figures:
    """The first jobs of a deep backlog: as many as a drain has, or as many as are run in its time."""
    deep, wanted = bench.sizes.backlog, bench.sizes.drained(bench.peer)
    with bench.room() as here:
        here.fill("no_op", range(deep))
        here.start(1, bench.peer.slots)
        here.await_runs(wanted, 4 * SECONDS)
        here.stop()
        runs = here.runs()
    found = _whole(runs, range(deep))[:wanted]
    return {"jobs": len(found), "waiting": deep, "rate": _rate(len(found), found[-1].at - found[0].at)}


def snapshot(bench: Bench) -> Figures:
    """A full load while another transaction keeps a snapshot open: the rate over the last tenth of the jobs run by then."""
    numbers = range(bench.sizes.under_snapshot(bench.peer))
    with bench.room() as here:
        here.fill("no_op", numbers)
        with held_snapshot(here.url):
            here.start(1, bench.peer.slots)
            here.await_runs(len(numbers), HELD)
            here.stop()
        runs = _whole(here.runs(), numbers)
    tenth = runs[-max(2, len(runs) // 10) :]
    return {
        "jobs": len(runs),
        "seconds": (runs[-1].at - runs[0].at) / 1e9,
        "rate": _rate(len(runs), runs[-1].at - runs[0].at),
        "last_tenth_rate": _rate(len(tenth), tenth[-1].at - tenth[0].at),
    }


def _whole(runs: list[Run], numbers: range) -> list[Run]:
    """These runs, when there are some and none is a second one; the worker was stopped before all jobs had run."""
    seen = {run.number for run in runs}
    if len(runs) < 2 or len(seen) != len(runs) or not seen <= set(numbers):
        raise Failed(f"{len(runs)} runs of {len(seen)} jobs are on record")
    return runs


def imports(bench: Bench) -> Figures:
    """What a program that only enqueues imports, in a fresh process."""
    peer = bench.peer
    if bench.environment.node:
        with bench.room() as here:
            found = here.do("import")
    else:
        script = (
            f"import time; began = time.perf_counter(); import {peer.imports}; took = time.perf_counter() - began\n"
            "import json, platform, importlib.metadata as metadata\n"
            f"print(json.dumps(dict(seconds=took, version=metadata.version({peer.distribution!r}), "
            "runtime='Python ' + platform.python_version())))"
        )
        done = subprocess.run(
            [*bench.environment.program, "-c", script], capture_output=True, text=True, timeout=60, check=True, cwd=ROOT
        )
        found = json.loads(done.stdout)
    return {"ms": found["seconds"] * 1e3, "version": found["version"], "runtime": found["runtime"]}


@dataclass(frozen=True)
class Measure:
    """One measure, and to whom it applies."""

    run: Callable[[Bench], Figures]
    rounds: int | None = None
    """How often, when not as often as the run's rounds."""
    applies: Callable[[Peer], bool] = lambda peer: True


MEASURES: dict[str, Measure] = {
    "imports": Measure(imports, rounds=5),
    "enqueue": Measure(enqueue),
    "bulk": Measure(bulk, applies=lambda peer: peer.bulk),
    "drain1": Measure(drain1),
    "drain2": Measure(drain2),
    "latency": Measure(latency),
    "nap": Measure(nap, applies=lambda peer: peer.naps),
    "backlog": Measure(backlog, rounds=1),
    "snapshot": Measure(snapshot, rounds=1, applies=lambda peer: peer.engine == "postgres"),
}
