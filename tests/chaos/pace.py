"""Four real worker processes against a rate, on each engine: the bound holds over every window, and nothing is given away.

    PYTHONPATH=tests python -m chaos.pace [--engine sqlite|postgres|redis ...] [--rate 100] [--period 60] [--seconds 61]

Two limits with one rate, one spaced with a burst and one strict, and more jobs than may start. The moments are those of the
claims, which the store's own clock gave them. The engines run side by side; it all stops by itself.
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import click

from servers.ground import GROUNDS
from treadle import Treadle
from treadle.model.filter import Filter, Page
from treadle.model.state import State
from treadle.worker.options import WorkerOptions

from .fleet import HERE, PATH, Crew, until
from .paced import BURST, spaced, strict

PROCESSES = 4
SECOND = 1_000_000


@contextmanager
def store(engine: str, folder: Path) -> Iterator[str]:
    """The URL of an empty store."""
    if engine == "sqlite":
        yield f"sqlite:///{folder}/pace.db"
        return
    with GROUNDS[engine](folder) as ground:
        ground.migrate()
        yield ground.direct


def starts(client: Treadle, task: str) -> list[float]:
    """When each job of a task was claimed, in seconds, in order."""
    begun = Filter(tasks=[task], states=[State.COMPLETED, State.RUNNING])
    jobs = client.session.run(client.store.engine.find(begun, Page(limit=100_000)))
    return sorted(job.claimed_at / SECOND for job in jobs if job.claimed_at is not None)


def watch(engine: str, count: int, period: float, seconds: float) -> dict[str, list[float]]:
    """Let the workers serve for so many seconds from the first starts on; what was started, by task."""
    with tempfile.TemporaryDirectory(prefix="treadle-pace-") as name, store(engine, Path(name)) as url:
        client = Treadle(url)
        options = WorkerOptions(target=f"{HERE}.paced:app", processes=PROCESSES)
        environment = {"TREADLE_URL": url, "PYTHONPATH": PATH, "PACE_RATE": str(count), "PACE_PERIOD": f"{period:g}"}
        crew = Crew("crew", options, Path(name), environment)
        crew.start()
        try:
            # Workers tell the store the limits of their code when they start, and may have a second between them.
            until(lambda: len(client.client.workers()) == PROCESSES, 60, f"{PROCESSES} workers")
            more = round(BURST + 2 * count * (seconds / period + 1))
            for task in (spaced, strict):
                client.enqueue_many(task.call() for _ in range(more))
            until(lambda: all(starts(client, task.name) for task in (spaced, strict)), 60, "the first starts")
            end = max(starts(client, task.name)[0] for task in (spaced, strict)) + seconds
            # Store and test share this machine's clock.
            until(lambda: time.time() > end, 2 * seconds, "the end of the time")
            return {task.name: starts(client, task.name) for task in (spaced, strict)}
        except TimeoutError:
            print(crew.log.read_text(), file=sys.stderr)
            raise
        finally:
            crew.kill()
            client.close()


def faults(moments: list[float], count: int, period: float, seconds: float, *, spaced: bool, patient: bool) -> list[str]:
    """What is wrong with these starts: too many in some window, or fewer than could have been, unless one is patient."""
    found: list[str] = []
    begun = [moment - moments[0] for moment in moments]
    if spaced:
        spare, due = 0.0, BURST + count * seconds / period
        for place, moment in enumerate(begun):
            spare = max(spare, moment * count / period - place)
            if place + 1 > BURST + moment * count / period - spare + 1e-3:
                found.append(f"start {place} at {moment:.3f} s is beyond burst and rate")
    else:
        due = count * (1 + seconds // period)
        for place in range(len(begun) - count):
            if begun[place + count] - begun[place] < period - 1e-3:
                found.append(f"starts {place} to {place + count} lie within {begun[place + count] - begun[place]:.3f} s")
    ran = sum(moment <= seconds for moment in begun)
    if ran < 0.99 * due - 1 and not patient:
        found.append(f"{ran} started in {seconds:g} s, {due:g} could have")
    return found


@click.command()
@click.option("--engine", "engines", multiple=True, type=click.Choice(["sqlite", *GROUNDS]), default=["sqlite", *GROUNDS])
@click.option("--rate", "count", type=click.IntRange(1), default=100, show_default=True, help="Starts in each period.")
@click.option("--period", type=float, default=60.0, show_default=True, help="Seconds.")
@click.option("--seconds", type=float, default=61.0, show_default=True, help="How long starts are watched.")
@click.option("--patient", is_flag=True, help="Do not mind when the machine is too busy to start all that may.")
def main(engines: list[str], count: int, period: float, seconds: float, patient: bool) -> None:
    """Hold four worker processes against a rate, on each engine."""
    with ThreadPoolExecutor(len(engines)) as pool:
        seen = dict(zip(engines, pool.map(lambda engine: watch(engine, count, period, seconds), engines), strict=True))
    wrong = 0
    for engine, tasks in seen.items():
        for task, moments in tasks.items():
            found = faults(moments, count, period, seconds, spaced=task == spaced.name, patient=patient)
            last = moments[-1] - moments[0]
            print(
                f"{engine}, {task.rpartition('.')[2]}: {len(moments)} starts in {last:.2f} s, {len(found)} faults", flush=True
            )
            for fault in found[:5]:
                print(f"  {fault}")
            wrong += len(found)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
