"""A census as jobs: every file one, every package one that waits for its files, and a report that waits for the packages."""

from pathlib import Path
from typing import Any

from treadle import OnDead
from treadle.app.call import Call
from treadle.cli.census.progress import Run
from treadle.cli.census.tasks import app, measure_file, summarise_package, write_report

_BATCH = 500


def enqueue(run: Run, report: Path) -> int:
    """Store every job of the run that is not stored yet; returns how many jobs the run has.

    Repeatable: ids come from the run's name, so what an interrupted start has stored already is left as it is.
    """
    packages: list[Call[Any]] = []
    batch: list[Call[Any]] = []
    total = 0
    for package, sources in run.inventory.packages().items():
        files = [
            measure_file.options(job_id=run.job_id(source.path), tags=[run.name]).call(source.path, source.name, source.flaky)
            for source in sources
        ]
        waiting = summarise_package.options(
            job_id=run.job_id(f"package {package}"),
            tags=[run.name],
            # A file that is a dead letter must not hold up the summary of the others.
            after=[(each, OnDead.RUN) for each in files],
        )
        packages.append(waiting.call(package))
        batch += [*files, packages[-1]]
        total += len(files) + 1
        if len(batch) >= _BATCH:
            app.enqueue_many(batch)
            batch = []
    last = write_report.options(job_id=run.job_id("report"), tags=[run.name], after=[(each, OnDead.RUN) for each in packages])
    app.enqueue_many([*batch, last.call(run.inventory.folder, str(report))])
    return total + 1
