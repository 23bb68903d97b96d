"""`treadle health`: one quick answer for a probe. Asks the engine itself: loading the app would take longer than the answer."""

import os
import time

import click

from treadle.cli.exits import Exit
from treadle.cli.output import clean, say, show_json
from treadle.cli.store import json_option, must_exist, said_namespace, url_of, url_option
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
        live = _live_workers(url_of(url))
    except TreadleError as error:
        reason = str(error)
    else:
        reason = "no live worker serves this store" if worker and not live else ""
    took = time.perf_counter() - began
    if as_json:
        show_json({"healthy": not reason, "reason": reason or None, "workers": live, "seconds": round(took, 4)})
    else:
        workers = f"{live} live worker{'' if live == 1 else 's'}"
        say(f"unhealthy: {clean(reason)}" if reason else f"healthy: the store answers, {workers}", err=bool(reason))
    return Exit.FAILED if reason else Exit.OK


def _live_workers(url: str) -> int:
    from treadle.engine.open import open_store

    store = open_store(url, namespace=said_namespace() or os.environ.get("TREADLE_NAMESPACE") or "treadle")
    try:
        must_exist(store.location)
        session = store.session()
        try:
            return sum(each.expires_in > 0 for each in session.run(store.engine.leases()))
        finally:
            session.close()
    finally:
        store.close()
