"""Real workers that fire one schedule are killed and frozen in turn, while finished jobs are pruned under them."""

import os
import random
import signal
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from chaos.fleet import PATH, Crew, strike
from conformance.engines import ENGINES
from faults.freezing import freeze
from faults.waiting import until
from servers import postgres, valkey
from treadle import Retention, Treadle
from treadle.worker.options import WorkerOptions

SLOTS = 12
GONE = Retention(completed=0.0, completed_count=0)


def crew(name: str, folder: Path, url: str) -> Crew:
    options = WorkerOptions(target="faults.timed:app", lease=2.0, threads=2, async_slots=1, children=0, crash_delay=0.1)
    made = Crew(name, options, folder, {"TREADLE_URL": url, "CHAOS_FOLDER": str(folder), "PYTHONPATH": PATH})
    made.start()
    return made


def workers(app: Treadle, of: Crew) -> list[psutil.Process]:
    """The worker processes of a crew that hold a lease."""
    leased = {each.pid for each in app.client.workers()}
    return [each for each in of.descendants() if each.pid in leased]


def fired(app: Treadle) -> int:
    return next((each.fired for each in app.schedules.list()), 0)


def slots(folder: Path) -> dict[int, set[str]]:
    """The jobs that ran for each slot."""
    found: dict[int, set[str]] = defaultdict(set)
    file = folder / "slots"
    for line in file.read_text().splitlines() if file.exists() else ():
        slot, job = line.split()
        found[int(slot)].add(job)
    return found


@contextmanager
def on_sqlite(folder: Path) -> Iterator[str]:
    yield f"sqlite:///{folder}/timed.db"


@contextmanager
def on_redis(folder: Path) -> Iterator[str]:
    place = folder / "valkey"
    place.mkdir()
    with valkey.serve(place) as server:
        yield server.url


@contextmanager
def on_postgres(_: Path) -> Iterator[str]:
    server = postgres.shared()
    with server.lent() as database:
        yield server.url(database)


STORES = {"sqlite": on_sqlite, "postgres": on_postgres, "redis": on_redis}


@pytest.fixture(params=[name for name in STORES if name in ENGINES])
def site_app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Treadle]:
    with STORES[request.param](tmp_path) as url:
        app = Treadle(url)
        app.store.migrate()
        yield app
        app.close()


@pytest.mark.repeats
def test_each_slot_is_enqueued_once_by_workers_that_are_killed_and_frozen(site_app: Treadle, tmp_path: Path) -> None:
    seed = int(os.environ.get("SEED", random.randrange(2**32)))
    print(f"seed {seed}")
    chance = random.Random(seed)
    crews = [crew(f"crew{number}", tmp_path, site_app.url) for number in range(3)]
    try:
        until(lambda: all(workers(site_app, each) for each in crews), "every crew has a worker that holds a lease")
        begun = killed = frozen = 0
        while begun < SLOTS:
            victim = chance.choice([worker for each in crews for worker in workers(site_app, each)] or [None])
            if victim is not None and chance.random() < 0.5:
                freeze(victim, site_app)
                frozen += 1
            elif victim is not None:
                killed += strike(victim, signal.SIGKILL)
            begun = until(lambda: fired(site_app) >= begun + 2 and fired(site_app), "two more slots are fired")  # noqa: B023
            if victim is not None:
                strike(victim, signal.SIGCONT)
            site_app.client.prune(GONE)
        for each in crews:
            each.signal(signal.SIGTERM)
        assert [each.wait(60) for each in crews] == [0, 0, 0]
    finally:
        for each in crews:
            each.kill()
    ran = slots(tmp_path)
    waiting = {int(past.slot.at.timestamp()): past.job.id for past in site_app.schedules.history("tick", 1000)}
    for slot, job in waiting.items():
        ran[slot].add(job)
    [view] = site_app.schedules.list()
    assert sorted(ran) == list(range(min(ran), min(ran) + view.fired))
    assert {slot: jobs for slot, jobs in ran.items() if len(jobs) != 1} == {}
    assert (view.dropped, killed + frozen > 3) == (0, True)
