"""`treadle check-deploy`: what a deploy would leave behind."""

from dataclasses import asdict

import click

from treadle.cli.exits import Exit
from treadle.cli.output import clean, say, show_json, show_table
from treadle.cli.store import json_option, opened, url_option


@click.command("check-deploy")
@click.argument("target", metavar="MODULE[:APP]")
@url_option
@json_option
def command(target: str, url: str | None, as_json: bool) -> int:
    """Try every waiting job against the code of MODULE; exit with 1 if it cannot take some. Nothing is changed.

    To be run with the new code against the store of the old, before the new workers start.
    """
    with opened(url, target=target) as app:
        misfits = app.client.misfits()
    if as_json:
        show_json([asdict(each) for each in misfits])
    elif misfits:
        names = ("task", "version", "queue", "jobs", "first", "why")
        show_table(names, [(each.task, each.version, each.queue, each.count, each.first, each.why) for each in misfits])
    else:
        say(f"{clean(target)} can take every job that waits.")
    return Exit.FAILED if misfits else Exit.OK
