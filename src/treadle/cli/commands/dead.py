"""`treadle dead`: look at dead letters, and decide about them."""

import json
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from treadle.app.view import Job
from treadle.app.where import Filter
from treadle.cli.exits import Exit, Quit
from treadle.cli.output import show_json
from treadle.cli.selecting import Choice, change, choosing, narrow_options, read_filter, read_where, ways_on
from treadle.cli.store import json_option, opened, url_option
from treadle.cli.views import job_json, show_dead, show_job
from treadle.cli.words import duration_option, read_object
from treadle.model.errors import InvalidOption
from treadle.model.filter import Page
from treadle.model.state import State

if TYPE_CHECKING:
    from treadle.app.client import Client


@click.group("dead")
def command() -> None:
    """List, show, replay, resolve and purge dead letters."""


@command.command("list")
@click.option("--status", type=click.Choice(["open", "replayed", "resolved"]), default="open", show_default=True)
@click.option("--fingerprint", help="Only letters whose error has this fingerprint.")
@narrow_options
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many at most.")
@click.option("--after", metavar="ID", help="Go on after this job, the last of the page before.")
@url_option
@json_option
def list_dead(limit: int, after: str | None, url: str | None, as_json: bool, **narrow: Any) -> None:
    """List dead letters, newest first."""
    with opened(url) as app:
        jobs = app.client.find(read_filter(**narrow), Page(limit=limit, after=after))
    if as_json:
        show_json([job_json(job) for job in jobs])
    else:
        show_dead(jobs, "No such dead letters.")


@command.command("show")
@click.argument("id_", metavar="ID")
@url_option
@json_option
def show(id_: str, url: str | None, as_json: bool) -> None:
    """Show one dead letter in full, with its attempts and its last traceback."""
    with opened(url) as app:
        job = _dead(app.client.get(id_))
        obstacles = app.client.obstacles([job])
    if as_json:
        show_json(job_json(job, obstacles, details=True))
    else:
        show_job(job, obstacles)


@command.command("replay")
@choosing
@click.option("--fingerprint", help="Only letters whose error has this fingerprint.")
@duration_option("--delay", default=0.0, help="Not before so long from now.")
@click.option("--args", "new_args", metavar="JSON", help="New arguments, for a single ID.")
@click.option("--app", "target", metavar="MODULE[:APP]", help="Where the task is declared, to check --args against it.")
@click.option("--note", help="Kept with the letter.")
def replay(
    choice: Choice, fingerprint: str | None, delay: float, new_args: str | None, target: str | None, note: str | None
) -> int:
    """Send dead letters back to their queue, with fresh budgets."""
    if new_args is not None and (len(choice.ids) != 1 or target is None):
        cure = "Name exactly one ID, and the task's module with --app."
        raise InvalidOption("--args", "new arguments are for one job, checked against its task", cure)
    args = None if new_args is None else json.dumps(read_object(new_args, "the new arguments"))
    where = read_where(choice, fingerprint=fingerprint)
    with _letters(choice, target) as client:
        return change(
            "replay",
            choice,
            lambda rehearsal: client.replay(where, delay=delay, args=args, note=note, dry_run=rehearsal),
            noun="dead letter",
            ways=ways_on(client),
        )


@command.command("resolve")
@choosing
@click.option("--fingerprint", help="Only letters whose error has this fingerprint.")
@click.option("--note", help="Kept with the letter.")
def resolve(choice: Choice, fingerprint: str | None, note: str | None) -> int:
    """Close dead letters for good. Jobs that they hold are cancelled."""
    where = read_where(choice, fingerprint=fingerprint)
    with _letters(choice) as client:
        return change(
            "resolve",
            choice,
            lambda rehearsal: client.resolve(where, note, dry_run=rehearsal),
            noun="dead letter",
            turn="open -> resolved",
        )


@command.command("purge")
@choosing
@click.option("--fingerprint", help="Only letters whose error has this fingerprint.")
@click.option("--status", type=click.Choice(["open", "resolved"]), help="Only letters in this state. [default: both]")
def purge(choice: Choice, fingerprint: str | None, status: str | None) -> int:
    """Erase dead letters: nothing but the audit line remains."""
    where = read_where(choice, fingerprint=fingerprint, status=status)
    if isinstance(where, Filter):
        where = replace(where, states=(State.DEAD,))
    with _letters(choice) as client:
        return change("purge", choice, lambda rehearsal: client.erase(where, dry_run=rehearsal), noun="dead letter")


@contextmanager
def _letters(choice: Choice, target: str | None = None) -> Generator["Client"]:
    """The client, once every id is known to be a dead letter: a command about the dead never touches the living."""
    with opened(choice.url, target=target) as app:
        for each in choice.ids:
            _dead(app.client.get(each))
        yield app.client


def _dead(job: Job) -> Job:
    if job.state is not State.DEAD:
        raise Quit(f"{job.id} is {job.state}, not a dead letter. See `treadle jobs show {job.id}`.", Exit.NOT_FOUND)
    return job
