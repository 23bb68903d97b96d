"""`treadle doctor`: what is well with a store, and what is not."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from treadle.cli.exits import Exit
from treadle.cli.output import clean, say, show_json, tint
from treadle.cli.store import json_option, opened, url_option
from treadle.engine.session import Check

if TYPE_CHECKING:
    from treadle.app.app import Treadle

_WAITING = "queued jobs"
_HELD = "held jobs"
_SHOWN = 5


@click.command("doctor")
@url_option
@json_option
def command(url: str | None, as_json: bool) -> int:
    """Examine the store, and whether what waits in it is served. Reads only; exits with 1 when something is wrong."""
    with opened(url) as app:
        store = app.store
        durability = store.durability  # asked first: a server that does not answer is waited for once
        checks = store.doctor()
        location = store.location
        # To look at jobs is to use the store, which mends what can be mended: not while something is wrong with it.
        if not any(check.level == "error" for check in checks) and not store.pending_migrations():
            checks += _waiting(app)
    wrong = any(check.level == "error" for check in checks)
    if as_json:
        found = [{"name": each.name, "level": each.level, "message": each.message} for each in checks]
        show_json({"store": location, "durability": durability, "healthy": not wrong, "checks": found})
    else:
        say(f"durability: {clean(durability)}")
        for check in checks:
            say(f"{tint(check.level, 8)} {clean(check.name)}: {clean(check.message)}")
    return Exit.FAILED if wrong else Exit.OK


def _waiting(app: "Treadle") -> Iterator[Check]:
    """Whether somebody is there for every job that could run now; the most numerous first where not."""
    found = sorted(app.client.standstills(), key=lambda each: -each.count)
    for each in found[:_SHOWN]:
        jobs = f"{each.count:,} of {each.task} in queue {each.queue} not taken"
        yield Check(_WAITING, "warning", f"{jobs}: {each.why}. {each.cure}")
    if len(found) > _SHOWN:
        rest = sum(each.count for each in found[_SHOWN:])
        yield Check(
            _WAITING, "warning", f"{rest:,} more of {len(found) - _SHOWN} other kinds. See `treadle jobs list --state queued`."
        )
    for queue, count in app.client.suspects().items():
        yield Check(
            "suspects",
            "warning",
            f"{count:,} of the oldest jobs in queue {queue} were in a worker that was lost, so they run alone, one at a time "
            "in each worker. They catch up by themselves; more processes make that faster.",
        )
    if not found:
        yield Check(_WAITING, "ok", "none, or a live worker knows what to do with them")
    yield from _held_up(app)


def _held_up(app: "Treadle") -> Iterator[Check]:
    """What blocked jobs, and those that were put off, wait for that somebody should know of."""
    found = app.client.holdups()
    for each in found[:_SHOWN]:
        waits = "1 job waits" if each.count == 1 else f"{each.count:,} jobs wait"
        yield Check(_HELD, "warning", f"{waits}: {each.why}. {each.cure}")
    if len(found) > _SHOWN:
        rest = sum(each.count for each in found[_SHOWN:])
        yield Check(_HELD, "warning", f"{rest:,} more wait for {len(found) - _SHOWN} other causes. See `treadle jobs list`.")
