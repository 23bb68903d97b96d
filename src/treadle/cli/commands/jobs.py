"""`treadle jobs`: look at jobs, cancel them, run them again, let them go before others."""

from dataclasses import replace
from typing import Any

import click

from treadle.app.where import Filter
from treadle.cli.output import show_json
from treadle.cli.selecting import Choice, change, choosing, narrow_options, read_filter, read_where, ways_on
from treadle.cli.store import json_option, opened, url_option
from treadle.cli.views import job_json, show_job, show_jobs
from treadle.cli.words import duration_option
from treadle.model.filter import Order, Page
from treadle.model.state import LIVE, State

_RETRIABLE = (State.SCHEDULED, State.RETRYING, State.DEAD, State.CANCELLED, State.EXPIRED)
_TOLD = "running, asked to stop"


@click.group("jobs")
def command() -> None:
    """List, show, cancel, retry and prioritise jobs."""


@command.command("list")
@click.option("--state", "states", multiple=True, type=click.Choice([each.value for each in State]), help="May be repeated.")
@narrow_options
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many at most.")
@click.option("--after", metavar="ID", help="Go on after this job, the last of the page before.")
@click.option("--oldest", is_flag=True, help="Oldest first instead of newest first.")
@url_option
@json_option
def list_jobs(
    states: tuple[str, ...], limit: int, after: str | None, oldest: bool, url: str | None, as_json: bool, **narrow: Any
) -> None:
    """List jobs, newest first."""
    where = read_filter(states=[State(each) for each in states], **narrow)
    with opened(url) as app:
        jobs = app.client.find(where, Page(limit=limit, after=after, order=Order.OLDEST if oldest else Order.NEWEST))
        obstacles = app.client.obstacles(jobs)
    if as_json:
        show_json([job_json(job, obstacles) for job in jobs])
    else:
        show_jobs(jobs, obstacles, "No such jobs.")


@command.command("show")
@click.argument("id_", metavar="ID")
@url_option
@json_option
def show(id_: str, url: str | None, as_json: bool) -> None:
    """Show one job in full: its arguments, its attempts, its relatives."""
    with opened(url) as app:
        job = app.client.get(id_)
        obstacles = app.client.obstacles([job])
    if as_json:
        show_json(job_json(job, obstacles, details=True))
    else:
        show_job(job, obstacles)


@command.command("cancel")
@choosing
@click.option(
    "--state", "states", multiple=True, type=click.Choice(sorted(each.value for each in LIVE)), help="May be repeated."
)
@click.option("--reason", default="", help="Kept with the job.")
def cancel(choice: Choice, states: tuple[str, ...], reason: str) -> int:
    """Cancel jobs: at once when they wait, through their worker when they run."""
    where = read_where(choice, states=[State(each) for each in states])
    with opened(choice.url) as app:
        return change("cancel", choice, lambda rehearsal: app.client.cancel(where, reason, dry_run=rehearsal), turn=_TOLD)


@command.command("retry")
@choosing
@click.option(
    "--state", "states", multiple=True, type=click.Choice([each.value for each in _RETRIABLE]), help="May be repeated."
)
@duration_option("--delay", default=0.0, help="Not before so long from now.")
def retry(choice: Choice, states: tuple[str, ...], delay: float) -> int:
    """Run jobs again, or now instead of later, with fresh budgets."""
    where = read_where(choice, states=[State(each) for each in states])
    if isinstance(where, Filter) and not states:
        where = replace(where, states=_RETRIABLE)
    with opened(choice.url) as app:
        return change(
            "retry",
            choice,
            lambda rehearsal: app.client.retry(where, delay=delay, dry_run=rehearsal),
            ways=ways_on(app.client),
        )


@command.command("prioritise")
@choosing
@click.option("--priority", type=click.IntRange(-100, 100), required=True, help="Larger is sooner; 0 is the usual one.")
def prioritise(choice: Choice, priority: int) -> int:
    """Give waiting jobs another priority. They go to the back of it."""
    where = read_where(choice)
    with opened(choice.url) as app:
        return change(
            "prioritise",
            choice,
            lambda rehearsal: app.client.prioritise(where, priority, dry_run=rehearsal),
            turn=f"now of priority {priority}",
        )
