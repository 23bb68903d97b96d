"""`treadle prune`: delete finished jobs now, instead of when their time is over."""

import time
from typing import TYPE_CHECKING

import click

from treadle.cli.confirm import confirm
from treadle.cli.output import say, show_json
from treadle.cli.store import json_option, opened, url_option
from treadle.cli.words import duration_option
from treadle.model.errors import InvalidOption
from treadle.model.filter import Axis, Filter, Retention
from treadle.model.state import State

if TYPE_CHECKING:
    from treadle.app.app import Treadle


@click.command("prune")
@duration_option("--older-than", help="Completed, cancelled and expired jobs that ended longer ago.")
@click.option("--keep", type=click.IntRange(0), metavar="NUMBER", help="Completed jobs beyond the newest NUMBER; 0 keeps none.")
@click.option("--dry-run", is_flag=True, help="Say how many, and change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@url_option
@json_option
def command(older_than: float | None, keep: int | None, dry_run: bool, yes: bool, url: str | None, as_json: bool) -> None:
    """Delete finished jobs now, with their results, whatever the app's own retention says.

    Jobs whose result a waiting job may still read stay, and so do dead letters: see `treadle dead purge`.
    """
    if older_than is None and keep is None:
        raise InvalidOption(
            "no selection", "nothing says which jobs are meant", "Give --older-than DURATION, --keep NUMBER, or both."
        )
    with opened(url) as app:
        meant = _meant(app, older_than, keep)
        if meant and not dry_run:
            confirm(f"prune up to {meant:,} finished job{'' if meant == 1 else 's'}", yes=yes)
        pruned = 0 if dry_run else app.client.prune(_retention(older_than, keep))
    if as_json:
        show_json({"dry_run": dry_run, "meant": meant, "pruned": pruned})
    else:
        count = meant if dry_run else pruned
        say(f"{'would prune up to' if dry_run else 'pruned'} {count:,} job{'' if count == 1 else 's'}.")


def _retention(older_than: float | None, keep: int | None) -> Retention:
    return Retention(
        completed=older_than, completed_count=keep, cancelled=older_than, expired=older_than, dead=None, audit=None
    )


def _meant(app: "Treadle", older_than: float | None, keep: int | None) -> int:
    """How many jobs are too old or too many, whether or not some of them are still needed."""

    def ended(before: int | None = None) -> dict[State, int]:
        where = Filter(states=(State.COMPLETED, State.CANCELLED, State.EXPIRED), finished_before=before)
        found = app.connection.run(app.connection.engine.count(where, (Axis.STATE,)))
        return {State(str(each.key[0])): each.count for each in found}

    old = {} if older_than is None else ended(round((time.time() - older_than) * 1e6))
    surplus = 0 if keep is None else ended().get(State.COMPLETED, 0) - keep
    return sum(old.values()) + max(0, surplus - old.get(State.COMPLETED, 0))
