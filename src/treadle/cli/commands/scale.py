"""`treadle scale`: a figure for whatever starts and stops worker processes from the outside."""

import time

import click

from treadle.cli.output import say, show_json
from treadle.cli.store import json_option, opened, url_option


@click.command("scale")
@click.option("-q", "--queue", "queues", multiple=True, metavar="NAME", help="Count only this queue. May be repeated.")
@click.option("--least", type=click.IntRange(0), default=0, show_default=True, help="Never say fewer.")
@click.option("--most", type=click.IntRange(1), default=1000, show_default=True, help="Never say more.")
@url_option
@json_option
def command(queues: tuple[str, ...], least: int, most: int, url: str | None, as_json: bool) -> None:
    """Say how many worker processes would run at once all that runs and waits for a slot.

    What waits at a limit or for its turn, or is paused, is told but not counted: more processes would not help it.
    """
    from treadle.app.load import see_load

    with opened(url) as app:
        load = app.connection.run(see_load(app.connection.engine, time.time_ns() // 1000, queues or None))
    sight = load.sight
    wanted = max(least, min(most, sight.wanted))
    if as_json:
        figures = {
            "wanted": wanted,
            "processes": sight.processes,
            "slots": sight.slots,
            "running": sight.running,
            "queued": sight.plain + sight.gated,
            "age": round(sight.age, 3),
            "parked": load.parked,
            "paused": load.paused,
        }
        show_json(figures)
        return
    say(f"{wanted} worker processes wanted, {sight.processes} alive")
    say(f"{sight.running} jobs run in {sight.slots} slots, {sight.plain + sight.gated} wait for one")
    say(f"{load.parked} jobs wait at limits or for their turn, {load.paused} are paused: more processes would not help them")
