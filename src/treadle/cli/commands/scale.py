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
    """Say how many worker processes the load wants, as `treadle worker --processes 1:8` decides it.

    More than there are while jobs wait for a slot of their kind, fewer when nothing waits. What is blocked (at a limit, behind
    its turn, by parents) or paused is told but not counted: more processes would not help it.
    """
    from treadle.app.load import see_load

    if least > most:
        raise click.UsageError(f"--least {least} is more than --most {most}. Turn them round.")
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
            "queued": sight.waiting,
            "age": round(max((each.age for each in sight.kinds), default=0.0), 3),
            "blocked": load.blocked,
            "paused": load.paused,
            "executors": {
                place: {"slots": each.slots, "running": each.running, "queued": each.waiting, "age": round(each.age, 3)}
                for place, each in load.kinds.items()
                if place
            },
        }
        show_json(figures)
        return
    say(f"{wanted} worker processes wanted, {sight.processes} alive")
    say(f"{sight.running} jobs run in {sight.slots} slots, {sight.waiting} wait for one")
    if len(load.kinds) > 1:
        for place, each in load.kinds.items():
            say(f"  {place or 'unknown'}: {each.running} in {each.slots} slots, {each.waiting} wait")
    say(f"{load.blocked} jobs are blocked (limits, turns, parents), {load.paused} paused: more processes would not help them")
