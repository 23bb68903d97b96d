"""`treadle schedules`: what the clock enqueues, when next, and how to step in."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar
from zoneinfo import ZoneInfo

import click

from treadle.cli.confirm import confirm
from treadle.cli.exits import Exit, Quit
from treadle.cli.output import clean, moment, say, show_json, show_table, span
from treadle.cli.store import json_option, opened, url_option
from treadle.cli.words import duration_option
from treadle.model.errors import InvalidTime

if TYPE_CHECKING:
    from treadle.app.app import Treadle
    from treadle.app.timetable import Filled, ScheduleView, Upcoming

F = TypeVar("F", bound=Callable[..., Any])

_COUNT = click.IntRange(1, 10_000)


def _app_option(command: F) -> F:
    said = "The code that declares it; else what the store keeps is meant."
    return click.option("--app", "target", metavar="MODULE[:APP]", help=said)(command)


@click.group("schedules")
def command() -> None:
    """List, preview, pause, resume, run and back-fill schedules."""


@command.command("list")
@_app_option
@url_option
@json_option
def list_schedules(target: str | None, url: str | None, as_json: bool) -> None:
    """List the schedules that workers have served, and, with --app, those that are declared but were never served.

    With --app, what the code declares is compared with what the store keeps.
    """
    with opened(url, target=target) as app:
        views = app.schedules.list()
    if as_json:
        show_json([_view_json(each) for each in views])
        return
    rows = [
        (each.name, each.rule, each.zone, _clock(each.next), _clock(each.last), each.fired, each.dropped, _condition(each))
        for each in views
    ]
    names = ("schedule", "rule", "zone", "next", "last", "fired", "dropped", "condition")
    show_table(names, rows, empty="No worker has served a schedule here. Name its module: --app MODULE.")


@command.command("preview")
@click.argument("name", metavar="[NAME|EXPRESSION]", required=False)
@click.option("--tz", help="The zone of an EXPRESSION. [default: UTC]")
@duration_option("--every", help="Preview an interval instead.")
@click.option("-n", "--count", type=_COUNT, default=20, show_default=True, help="How many slots.")
@_app_option
@url_option
@json_option
def preview(
    name: str | None, tz: str | None, every: float | None, count: int, target: str | None, url: str | None, as_json: bool
) -> None:
    """Show the next slots of a schedule, in its zone and in UTC, and what changes of the clock do to them.

    An EXPRESSION, such as "30 2 * * *" or @daily, is shown without looking at any store.
    """
    if name is None and every is None:
        raise click.UsageError("Name a schedule, or an expression such as '30 2 * * *', or an interval with --every.")
    if name is None or " " in name.strip() or name.startswith("@") or every is not None:
        slots = _slots_of(name, every, tz, count)
    elif tz is not None:
        raise click.UsageError("--tz is for an expression; a schedule has its zone already.")
    else:
        with opened(url, target=target) as app:
            slots = app.schedules.preview(name, count)
    if as_json:
        found = [{"at": moment(each.at), "local": each.local.isoformat(), "remark": each.remark} for each in slots]
        show_json(found)
        return
    rows = [(f"{each.local:%a %Y-%m-%d %H:%M:%S %z}", f"{each.at:%Y-%m-%d %H:%M:%S}", each.remark) for each in slots]
    show_table(("local", "utc", ""), rows)


@command.command("pause")
@click.argument("name")
@click.option("--reason", default="", help="Shown to whoever wonders.")
@_app_option
@url_option
def pause(name: str, reason: str, target: str | None, url: str | None) -> None:
    """Fire no slot of a schedule until it is resumed. Jobs that are enqueued already go on."""
    with opened(url, target=target) as app:
        app.schedules.pause(name, reason)
    say(f"{clean(name)} is paused.")


@command.command("resume")
@click.argument("name")
@_app_option
@url_option
def resume(name: str, target: str | None, url: str | None) -> None:
    """Fire slots again, from now on. Those that passed meanwhile are not caught up with: back-fill them if they matter."""
    with opened(url, target=target) as app:
        was_paused = app.schedules.resume(name)
    if not was_paused:
        raise Quit(f"{clean(name)} was not paused.", Exit.NOT_FOUND)
    say(f"{clean(name)} is resumed.")


@command.command("run")
@click.argument("name")
@_app_option
@url_option
@json_option
def run(name: str, target: str | None, url: str | None, as_json: bool) -> None:
    """Enqueue a schedule's job now, beside its slots. Prints the job's id."""
    with opened(url, target=target) as app:
        job = app.schedules.run(name)
    if as_json:
        show_json({"id": job.id})
    else:
        say(job.id)


@command.command("backfill")
@click.argument("name")
@click.option("--from", "start", metavar="TIME", required=True, help="The first slot may be at this time.")
@click.option("--to", "end", metavar="TIME", required=True, help="The last slot comes before this time.")
@click.option("--dry-run", is_flag=True, help="Say what would be enqueued, and enqueue nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_app_option
@url_option
@json_option
def backfill(
    name: str, start: str, end: str, dry_run: bool, yes: bool, target: str | None, url: str | None, as_json: bool
) -> None:
    """Enqueue the jobs of past slots, all at once. A slot whose job is still stored is left alone.

    A TIME is a date or a date and a time, as in 2026-03-01 or 2026-03-01T12:00; without an offset it is meant in the
    schedule's zone.
    """
    with opened(url, target=target) as app:
        zone = _zone_of(app, name)
        span = _read_time(start, zone), _read_time(end, zone)
        filled = app.schedules.backfill(name, *span, dry_run=True)
        number = sum(each.enqueued for each in filled)
        if number and not dry_run:
            confirm(f"enqueue {number} job{'s' * (number != 1)} of {clean(name)}", yes=yes)
            filled = app.schedules.backfill(name, *span)
    if as_json:
        show_json([_filled_json(each) for each in filled])
    else:
        _say_filled(filled, dry_run)


@command.command("history")
@click.argument("name")
@click.option("--limit", type=_COUNT, default=50, show_default=True, help="How many at most.")
@_app_option
@url_option
@json_option
def history(name: str, limit: int, target: str | None, url: str | None, as_json: bool) -> None:
    """List the jobs of a schedule that are still stored, the last enqueued first, and the slots let go lately."""
    with opened(url, target=target) as app:
        jobs = app.schedules.history(name, limit)
        drops = next((each.drops for each in app.schedules.list() if each.name == name), ())
    if as_json:
        found = [
            {"slot": moment(slot.at), "kind": slot.kind.value, "late_by": slot.late_by, "job": job.id, "state": job.state.value}
            for slot, job in jobs
        ]
        show_json({"jobs": found, "dropped": [_dropped_json(each) for each in drops]})
        return
    rows = [(_clock(slot.local), slot.kind.value, span(slot.late_by), job.state.value, job.id) for slot, job in jobs]
    show_table(("slot", "kind", "late", "state", "job"), rows, empty="None of its jobs is stored.")
    for each in reversed(drops):
        which = _clock(each.first) if each.number == 1 else f"{each.number} slots, {_clock(each.first)} to {_clock(each.last)}"
        say(f"not enqueued: {which}: {clean(each.why)}")


@command.command("forget")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@url_option
def forget(name: str, yes: bool, url: str | None) -> None:
    """Remove what the store keeps of a schedule that no code declares any more. Its jobs stay."""
    with opened(url) as app:
        confirm(f"forget how far {clean(name)} has fired", yes=yes)
        app.schedules.forget(name)
    say(f"{clean(name)} is forgotten.")


def _slots_of(cron: str | None, every: float | None, tz: str | None, count: int) -> "Sequence[Upcoming]":
    from treadle.app.schedule import read_rule
    from treadle.app.storetime import here
    from treadle.app.timetable import upcoming

    return upcoming(read_rule(cron, every, tz), tz or "UTC", here(), count)


def _zone_of(app: "Treadle", name: str) -> str:
    return next((each.zone for each in app.schedules.list() if each.name == name), "UTC")


def _read_time(text: str, zone: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidTime(text, "this is not a time", "Write 2026-03-01, 2026-03-01T12:00 or 2026-03-01T12:00+01:00.") from None
    return found if found.tzinfo is not None else found.replace(tzinfo=ZoneInfo(zone))


def _say_filled(filled: "Sequence[Filled]", dry_run: bool) -> None:
    rows = [(_clock(each.local), each.job, "" if each.enqueued else "is stored already") for each in filled]
    show_table(("slot", "job", ""), rows, empty="There is no slot in this range.")
    number = sum(each.enqueued for each in filled)
    if filled:
        say(f"{'would enqueue' if dry_run else 'enqueued'} {number} job{'s' * (number != 1)}.")


def _condition(view: "ScheduleView") -> str:
    if view.paused:
        return f"paused by {view.paused_by}: {view.paused_why}".rstrip(": ")
    late = [] if view.late is None else [f"late by {span(view.late)}"]
    return "; ".join([*late, *view.drift]) or "ok"


def _clock(at: datetime | None) -> str:
    return "" if at is None else at.isoformat(" ", timespec="seconds")


def _view_json(view: "ScheduleView") -> dict[str, Any]:
    return {
        "name": view.name,
        "task": view.task,
        "queue": view.queue,
        "rule": view.rule,
        "zone": view.zone,
        "catch_up": view.catch_up,
        "window": view.window,
        "overlap": view.overlap,
        "jitter": view.jitter,
        "next": _utc(view.next),
        "last": _utc(view.last),
        "last_job": view.last_job,
        "late": view.late,
        "fired": view.fired,
        "dropped": view.dropped,
        "drops": [_dropped_json(each) for each in view.drops],
        "paused": view.paused,
        "paused_by": view.paused_by,
        "paused_why": view.paused_why,
        "drift": list(view.drift),
    }


def _dropped_json(dropped: Any) -> dict[str, Any]:
    return {"first": _utc(dropped.first), "last": _utc(dropped.last), "number": dropped.number, "why": dropped.why}


def _filled_json(filled: "Filled") -> dict[str, Any]:
    return {"at": moment(filled.at), "local": filled.local.isoformat(), "job": filled.job, "enqueued": filled.enqueued}


def _utc(at: datetime | None) -> str | None:
    return None if at is None else moment(at.astimezone(UTC))
