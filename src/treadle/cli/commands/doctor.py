"""`treadle doctor`: what is well with a store, and what is not."""

import click

from treadle.cli.exits import Exit
from treadle.cli.output import clean, say, show_json, tint
from treadle.cli.store import json_option, opened, url_option


@click.command("doctor")
@url_option
@json_option
def command(url: str | None, as_json: bool) -> int:
    """Examine the store. Reads only; exits with 1 when something is wrong."""
    with opened(url) as app:
        store = app.store
        checks = store.doctor()
        durability = store.durability
        location = store.location
    wrong = any(check.level == "error" for check in checks)
    if as_json:
        found = [{"name": each.name, "level": each.level, "message": each.message} for each in checks]
        show_json({"store": location, "durability": durability, "healthy": not wrong, "checks": found})
    else:
        say(f"durability: {clean(durability)}")
        for check in checks:
            say(f"{tint(check.level, 8)} {clean(check.name)}: {clean(check.message)}")
    return Exit.FAILED if wrong else Exit.OK
