"""What `worker` and `dev` share: the options of a worker, and the module it serves."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from treadle.cli.words import duration_option, read_queue

if TYPE_CHECKING:
    from treadle.app.app import Treadle
    from treadle.worker.options import WorkerOptions
    from treadle.worker.supervisor import Supervisor

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = [
    click.option(
        "-q", "--queue", "queues", multiple=True, metavar="NAME[:WEIGHT]", help="Serve this queue. [default: default]"
    ),
    click.option("--strict", is_flag=True, help="Serve a queue only when those named before it are empty."),
    click.option("--async-slots", type=int, help="async def bodies at once, per process. [default: 100]"),
    click.option("--threads", type=int, help="def bodies at once, per process. [default: 4 per core, at most 32]"),
    click.option("--children", type=int, help="Bodies in child processes at once, per process. [default: the cores]"),
    duration_option("--grace", help="How long running jobs may go on after the first signal. [default: 30s]"),
    duration_option("--lease", help="How long the store waits for a sign of life. [default: 30s]"),
    duration_option("--poll", help="How often an idle worker looks for unannounced work. [default: 500ms]"),
    click.option("--log", type=click.Choice(["plain", "json"]), default="plain", help="How log lines are written."),
    click.option("--log-level", metavar="LEVEL", help="The least severe line that is written. [default: INFO]"),
    click.option("--url", metavar="URL", help="The store. [default: the app's own, TREADLE_URL, sqlite:///treadle.db]"),
    click.option("--namespace", metavar="NAME", help="What treadle's tables or keys there are named by. [default: as above]"),
]


def worker_options(command: F) -> F:
    """Add the options that say how a worker runs."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def read_options(target: str, given: dict[str, Any]) -> "WorkerOptions":
    """The options as the worker takes them; what was not given keeps its default. Raises `InvalidOption`."""
    from treadle.worker.options import WorkerOptions

    said = {name: value for name, value in given.items() if value is not None}
    queues = said.pop("queues", ())
    if queues:
        said["queues"] = tuple(read_queue(each) for each in queues)
    said["json_logs"] = said.pop("log", "plain") == "json"
    if "log_level" in said:
        said["log_level"] = said["log_level"].upper()
    return WorkerOptions(target=target, **said)


def load_target(target: str, url: str | None = None, namespace: str | None = None) -> "Treadle":
    """The app that `module` or `module:attribute` names, on the store at `url` and in `namespace` where they are given.

    A module that does not import ends the command with the module's own traceback.
    """
    from treadle.app.loader import load

    app = load(target)
    if url is not None or namespace is not None:
        app.connection.point_at(url, namespace)
    return app


def supervise(options: "WorkerOptions", app: "Treadle", *, patient: bool = False) -> "Supervisor":
    """A supervisor whose own log lines look like those of its worker processes."""
    from treadle.worker.logs import configure
    from treadle.worker.supervisor import Supervisor

    configure(json=options.json_logs, level=options.log_level, worker="supervisor")
    return Supervisor(options, app, patient=patient)
