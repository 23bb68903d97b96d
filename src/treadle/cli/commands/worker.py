"""`treadle worker`: a supervisor and its worker processes."""

from typing import Any

import click

from treadle.cli.output import say
from treadle.cli.serving import load_target, read_options, supervise, worker_options
from treadle.cli.store import name_store
from treadle.cli.words import read_processes


@click.command("worker")
@click.argument("target", metavar="MODULE[:APP]")
@click.option(
    "--processes",
    metavar="NUMBER[:MOST]",
    help="Worker processes under the supervisor; with MOST, as many between the two as the load wants. [default: 1]",
)
@worker_options
@click.option("--child-max-jobs", type=int, help="Replace a child process after so many jobs.")
@click.option("--child-max-age", type=float, help="Replace a child process after so many seconds.")
@click.option("--child-max-rss", type=int, metavar="BYTES", help="Replace a child process that occupies more memory.")
def command(target: str, **given: Any) -> int:
    """Serve the tasks of MODULE until told to stop.

    The first SIGINT or SIGTERM lets running jobs finish within the grace; the second hands them back at once.
    """
    from treadle.worker.options import unserved

    if given["processes"] is not None:
        given["processes"], given["most_processes"] = read_processes(given["processes"])
    options = read_options(target, given)
    app = load_target(target, options.url, options.namespace)
    name_store(app)
    if not given["queues"] and (left := unserved(app, options)):
        named = " ".join(f"--queue {name}" for name, _ in options.queues)
        more = " ".join(f"--queue {name}" for name in left)
        say(f"not served: queue {', '.join(left)}. Add {named} {more}.", err=True)
    return supervise(options, app).run()
