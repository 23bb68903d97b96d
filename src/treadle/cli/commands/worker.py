"""`treadle worker`: a supervisor and its worker processes."""

from typing import Any

import click

from treadle.cli.serving import load_target, read_options, supervise, worker_options
from treadle.cli.store import name_store


@click.command("worker")
@click.argument("target", metavar="MODULE[:APP]")
@click.option("--processes", type=int, help="Worker processes under the supervisor. [default: 1]")
@worker_options
@click.option("--child-max-jobs", type=int, help="Replace a child process after so many jobs.")
@click.option("--child-max-age", type=float, help="Replace a child process after so many seconds.")
@click.option("--child-max-rss", type=int, metavar="BYTES", help="Replace a child process that occupies more memory.")
def command(target: str, **given: Any) -> int:
    """Serve the tasks of MODULE until told to stop.

    The first SIGINT or SIGTERM lets running jobs finish within the grace; the second hands them back at once.
    """
    options = read_options(target, given)
    app = load_target(target, options.url)
    name_store(app)
    return supervise(options, app).run()
