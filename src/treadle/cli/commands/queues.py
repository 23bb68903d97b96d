"""`treadle queues`: what waits where, and stopping and starting it."""

import click

from treadle.cli.exits import Exit, Quit
from treadle.cli.output import clean, say, show_json, show_table, span
from treadle.cli.store import json_option, opened, url_option
from treadle.model.state import State

_SHOWN = (State.QUEUED, State.RUNNING, State.SCHEDULED, State.RETRYING, State.BLOCKED)


@click.group("queues")
def command() -> None:
    """List, pause and resume queues."""


@command.command("list")
@url_option
@json_option
def list_queues(url: str | None, as_json: bool) -> None:
    """List the queues that hold live jobs or are paused."""
    with opened(url) as app:
        queues = app.client.queues()
    if as_json:
        show_json(
            [
                {
                    "name": each.name,
                    "depth": {state.value: each.depth.get(state, 0) for state in _SHOWN},
                    "oldest": each.oldest,
                    "paused": each.paused,
                    "paused_by": each.paused_by,
                    "paused_why": each.paused_why,
                }
                for each in queues
            ]
        )
        return
    rows = [
        (
            each.name,
            *(each.depth.get(state, 0) for state in _SHOWN),
            "" if each.oldest is None else span(each.oldest),
            f"by {each.paused_by}: {each.paused_why}".rstrip(": ") if each.paused else "",
        )
        for each in queues
    ]
    show_table(("queue", *(state.value for state in _SHOWN), "oldest", "paused"), rows, empty="No queue holds a live job.")


@command.command("pause")
@click.argument("name")
@click.option("--reason", default="", help="Shown to whoever wonders.")
@url_option
def pause(name: str, reason: str, url: str | None) -> None:
    """Hand out no more jobs of a queue, anywhere, until it is resumed. Running jobs go on."""
    with opened(url) as app:
        known = {each.name for each in app.client.queues()}.union(*(each.queues for each in app.client.workers()))
        app.client.pause(name, reason)
    say(f"{clean(name)} is paused.")
    if name not in known:
        say(f"no job and no live worker is of a queue {clean(name)}: is that its name? See `treadle queues list`.", err=True)


@command.command("resume")
@click.argument("name")
@url_option
def resume(name: str, url: str | None) -> None:
    """Hand out jobs of a queue again."""
    with opened(url) as app:
        was_paused = app.client.resume(name)
    if not was_paused:
        raise Quit(f"{name} was not paused.", Exit.NOT_FOUND)
    say(f"{clean(name)} is resumed.")
