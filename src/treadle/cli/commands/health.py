"""`treadle health`: one quick answer for a probe."""

import time

import click

from treadle.cli.exits import Exit
from treadle.cli.output import clean, say, show_json
from treadle.cli.store import json_option, opened, url_option
from treadle.model.errors import TreadleError


@click.command("health")
@url_option
@click.option("--worker", is_flag=True, help="Also ask for at least one live worker.")
@json_option
def command(url: str | None, worker: bool, as_json: bool) -> int:
    """Exit with 0 when the store answers (and, with --worker, a live worker holds a lease), else 1 with the reason."""
    began = time.perf_counter()
    live = 0
    try:
        with opened(url, announce=False) as app:
            live = sum(each.expires_in > 0 for each in app.client.workers())
    except TreadleError as error:
        reason = str(error)
    else:
        reason = "no live worker serves this store" if worker and not live else ""
    took = time.perf_counter() - began
    if as_json:
        show_json({"healthy": not reason, "reason": reason or None, "workers": live, "seconds": round(took, 4)})
    else:
        say(f"unhealthy: {clean(reason)}" if reason else f"healthy: the store answers, {live} live workers", err=bool(reason))
    return Exit.FAILED if reason else Exit.OK
