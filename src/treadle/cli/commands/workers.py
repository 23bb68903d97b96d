"""`treadle workers`: who is serving."""

import time

import click

from treadle.cli.output import ago, moment, show_json, show_table
from treadle.cli.store import json_option, opened, url_option


@click.command("workers")
@url_option
@json_option
def command(url: str | None, as_json: bool) -> None:
    """List the worker processes that hold a lease on the store."""
    with opened(url) as app:
        leases = app.client.workers()
    if as_json:
        show_json(
            [
                {
                    "lease": each.lease,
                    "name": each.name,
                    "host": each.host,
                    "pid": each.pid,
                    "queues": each.queues,
                    "tasks": each.tasks,
                    "slots": each.slots,
                    "started_at": moment(each.started_at),
                    "expires_in": each.expires_in,
                    "live": each.live,
                    "claimed": each.running,
                }
                for each in leases
            ]
        )
        return
    now = time.time()
    rows = [
        (
            each.name,
            each.host,
            each.pid,
            "live" if each.live else "lapsed",
            each.slots,
            each.running,
            ago(each.started_at, now),
            ", ".join(each.queues),
        )
        for each in leases
    ]
    show_table(("worker", "host", "pid", "lease", "slots", "claimed", "age", "queues"), rows, empty="No worker holds a lease.")
