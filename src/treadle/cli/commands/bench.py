"""`treadle bench`: what this machine can do, in half a minute."""

import logging
import tempfile
from pathlib import Path

import click

from treadle.cli.output import say, show_json
from treadle.cli.store import json_option


@click.command("bench")
@click.option("--jobs", type=click.IntRange(100, 1_000_000), default=20_000, show_default=True, help="How many to drain.")
@click.option(
    "--synchronous", type=click.Choice(["FULL", "NORMAL", "OFF"]), default="FULL", show_default=True, help="SQLite's setting."
)
@json_option
def command(jobs: int, synchronous: str, as_json: bool) -> None:
    """Measure enqueue, drain and latency on a temporary SQLite file with one worker process.

    Machines drift and neighbours disturb: compare figures of one run, not of two.
    """
    from treadle.cli.bench.measuring import drain, in_bulk, latencies, one_at_a_time, percentiles, serving
    from treadle.cli.bench.tasks import app, in_a_thread, on_the_loop

    # Enqueueing before the worker starts is the measurement, not a mistake to be warned of.
    logging.getLogger("treadle").setLevel(logging.ERROR)
    figures: dict[str, float] = {}

    def note(name: str, value: float, unit: str) -> None:
        figures[f"{name}, {unit}"] = round(value, 3)
        if not as_json:
            say(f"{name:<42} {value:>12,.0f} {unit}" if value >= 100 else f"{name:<42} {value:>12.2f} {unit}")

    with tempfile.TemporaryDirectory(prefix="treadle-bench-") as place:
        url = f"sqlite:///{place}/bench.db?synchronous={synchronous}"
        app.connection.point_at(url)
        try:
            if not as_json:
                say(f"{app.store.durability}; {jobs:,} jobs a drain, one worker process")
            note("enqueue, one at a time", one_at_a_time(min(1000, jobs)), "jobs/s")
            with serving(url, Path(place)):
                drain()
                for task, what in ((on_the_loop, "async"), (in_a_thread, "thread")):
                    note(f"enqueue in bulk ({what} tasks)", in_bulk(task, jobs), "jobs/s")
                    note(f"drain ({what} tasks)", drain(), "jobs/s")
                app.client.resume("default")
                for name, seconds in zip(("p50", "p95", "p99"), percentiles(latencies(200)), strict=True):
                    note(f"from enqueue to start, {name}", seconds * 1000, "ms")
        finally:
            app.close()
    if as_json:
        show_json({"synchronous": synchronous, "jobs": jobs, "figures": figures})
