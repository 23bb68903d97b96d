"""`treadle tasks`: stopping and starting one task, wherever its jobs are."""

import click

from treadle.cli.exits import Exit, Quit
from treadle.cli.output import clean, say
from treadle.cli.store import opened, url_option
from treadle.model.filter import Filter


@click.group("tasks")
def command() -> None:
    """Pause and resume tasks."""


@command.command("pause")
@click.argument("name")
@click.option("--reason", default="", help="Shown to whoever wonders.")
@url_option
def pause(name: str, reason: str, url: str | None) -> None:
    """Hand out no more jobs of a task, in any queue, until it is resumed. Running jobs go on."""
    with opened(url) as app:
        known = any(name in each.tasks for each in app.client.workers())
        known = known or bool(app.connection.run(app.connection.engine.count(Filter(tasks=[name]))))
        app.client.pause(task=name, reason=reason)
    say(f"task {clean(name)} is paused.")
    if not known:
        say(f"no job is of a task {clean(name)}, and no live worker knows it: is that its name?", err=True)


@command.command("resume")
@click.argument("name")
@url_option
def resume(name: str, url: str | None) -> None:
    """Hand out jobs of a task again."""
    with opened(url) as app:
        if not app.client.resume(task=name):
            raise Quit(f"task {name} was not paused.", Exit.NOT_FOUND)
    say(f"task {clean(name)} is resumed.")
