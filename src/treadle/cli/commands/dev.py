"""`treadle dev`: everything one needs while writing tasks, in one command."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from treadle.cli.output import clean, say
from treadle.cli.serving import load_target, read_options, supervise, worker_options


@click.command("dev")
@click.argument("target", metavar="MODULE[:APP]")
@worker_options
@click.option("--no-reload", is_flag=True, help="Do not watch the Python files below this folder.")
def command(target: str, no_reload: bool, **given: Any) -> int:
    """Serve MODULE with one worker process, and start it anew whenever a Python file below this folder changes.

    Without --queue it serves the queue default and every queue that a task of MODULE names.
    """
    from treadle.worker.reload import Watch

    if given["grace"] is None:
        given["grace"] = 5.0  # whoever waits sits in front of it
    options = replace(read_options(target, given), named_queues=not given["queues"])
    app = load_target(target, options.url, options.namespace)
    store = app.store
    say(f"serving:  {clean(target)} ({', '.join(clean(name) for name in app.registry.names()) or 'no tasks yet'})", err=True)
    say(f"store:    {clean(store.location)} ({clean(store.durability)})", err=True)
    for name in store.migrate():
        say(f"applied:  {clean(name)}", err=True)
    supervisor = supervise(options, app, patient=True)
    if no_reload:
        return supervisor.run()
    logging.getLogger("watchfiles").setLevel(logging.WARNING)
    folder = Path.cwd()
    say(f"watching: {clean(folder)}; Ctrl-C stops", err=True)

    def changed(paths: list[str]) -> None:
        names = ", ".join(clean(Path(path).relative_to(folder)) for path in paths[:3])
        say(f"changed:  {names}{' ...' if len(paths) > 3 else ''}", err=True)
        supervisor.reload()

    with Watch(folder, changed):
        return supervisor.run()
