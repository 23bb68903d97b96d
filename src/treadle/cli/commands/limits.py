"""`treadle limits`: what limits let through, and changing that without a deploy."""

from dataclasses import asdict
from typing import Any

import click

from treadle.app.limits import KeyView, LimitView
from treadle.app.pausing import Pause
from treadle.app.stopping import NO_KEY
from treadle.app.typed import typed
from treadle.cli.confirm import confirm
from treadle.cli.exits import Exit, Quit
from treadle.cli.output import clean, moment, say, show_json, show_table
from treadle.cli.store import json_option, opened, url_option
from treadle.cli.words import duration_option


@click.group("limits")
def command() -> None:
    """List limits, change and forget them, open and close their breakers, pause their keys."""


@command.command("list")
@url_option
@json_option
def list_limits(url: str | None, as_json: bool) -> None:
    """List the limits that the store knows: what they let through, who waits, and where their breakers stand."""
    with opened(url) as app:
        limits = app.client.limits.list()
    if as_json:
        show_json([_limit_json(each) for each in limits])
        return
    rows = [
        (
            each.name,
            "" if each.rate is None else each.rate + (" strict" if each.strict else f" burst {each.burst}"),
            each.concurrency,
            each.running,
            each.waiting,
            _breaker(each),
            "; ".join(_paused(key, pause) for key, pause in each.paused.items()),
            "" if each.set_by is None else f"by {each.set_by}; code says {each.declared}",
        )
        for each in limits
    ]
    names = ("limit", "rate", "at once", "running", "waiting", "breaker", "paused", "changed")
    show_table(names, rows, empty="The store knows no limit. A worker that declares one makes it known.")


@command.command("keys")
@click.argument("name")
@url_option
@json_option
def keys(name: str, url: str | None, as_json: bool) -> None:
    """List the keys of a limit at which jobs run or wait, and those that are paused."""
    with opened(url) as app:
        seen = app.client.limits.keys(name)
        if not seen and name not in {each.name for each in app.client.limits.list()}:
            raise Quit(f"no worker has told of a limit {name}. See `treadle limits list`.", Exit.NOT_FOUND)
    if as_json:
        show_json([_key_json(each) for each in seen])
        return
    rows = [
        (
            "(whole limit)" if each.key is None else each.key or "(no key)",
            each.running,
            each.waiting,
            "" if each.looked_at is None else moment(each.looked_at),
            "" if each.paused is None else _paused("", each.paused),
        )
        for each in seen
    ]
    names = ("key", "running", "waiting", "next look", "paused")
    show_table(names, rows, empty=f"Nothing runs or waits at limit {clean(name)}, and no key of it is paused.")


@command.command("set")
@click.argument("name")
@click.option("--rate", help='Such as "100/min"; "unlimited" takes it away.')
@click.option("--burst", type=int, help="How many may start at once after a quiet while.")
@click.option("--strict/--even", default=None, help="Never more than the rate in any stretch of time, or evenly spread.")
@click.option("--concurrency", help='How many at once; "unlimited" takes it away.')
@url_option
def set_limit(name: str, concurrency: str | None, url: str | None, **words: Any) -> None:
    """Change what a limit lets through, from the next start on, until it is reset. Deploys do not undo it."""
    if concurrency is None and all(each is None for each in words.values()):
        raise click.UsageError("Say --rate, --burst, --strict or --even, or --concurrency.")
    number = int(concurrency) if concurrency is not None and concurrency.isascii() and concurrency.isdigit() else concurrency
    with opened(url) as app:
        app.client.limits.set(name, concurrency=number, **words)
        (view,) = [each for each in app.client.limits.list() if each.name == name]
    rate = "no rate" if view.rate is None else view.rate + (", strict" if view.strict else f", burst {view.burst}")
    say(f"{clean(name)}: {rate}; " + ("any number at once" if view.concurrency is None else f"{view.concurrency} at once"))


@command.command("reset")
@click.argument("name")
@url_option
def reset(name: str, url: str | None) -> None:
    """Let a limit be what code declares again."""
    with opened(url) as app:
        if not app.client.limits.reset(name):
            raise Quit(f"{name} is what code declares: nobody had changed it.", Exit.NOT_FOUND)
    say(f"{clean(name)} is what code declares again.")


@command.command("open")
@click.argument("name")
@duration_option("--for", "duration", help="Let jobs try again after so long. [default: until it is closed]")
@click.option("--reason", default="", help="Shown to whoever wonders.")
@url_option
def open_breaker(name: str, duration: float | None, reason: str, url: str | None) -> None:
    """Open a limit's breaker: no job that holds the limit starts. Those that run go on."""
    with opened(url) as app:
        app.client.limits.open(name, duration=duration, reason=reason)
    say(f"the breaker of {clean(name)} is open: no job that holds it starts.")


@command.command("close")
@click.argument("name")
@url_option
def close_breaker(name: str, url: str | None) -> None:
    """Close a limit's breaker: jobs start again, as the limit allows."""
    with opened(url) as app:
        if not app.client.limits.close(name):
            raise Quit(f"the breaker of {name} was closed.", Exit.NOT_FOUND)
    say(f"the breaker of {clean(name)} is closed: jobs start again.")


class _Dashed(click.Command):
    """A command one of whose names may begin with a dash: -5 is the key of a number. Two dashes begin an option."""

    ignore_unknown_options = True

    def get_help_option_names(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - the promise of click
        """Only the long one: the other would be found in -acme-h."""
        return ["--help"]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the words, and refuse what looks like an option that does not exist, unless it stands behind `--`."""
        said = ["--help"] if args == ["-h"] else list(args)
        args = list(said)
        rest = super().parse_args(ctx, args)
        key = ctx.params.get("key") or ""
        if key.startswith("--") and "--" not in said:
            way = f"A key that begins so stands behind `--`: {typed(f'limits {ctx.info_name}', ctx.params['name'], key)}."
            raise click.UsageError(f"No such option: {clean(key)}. {clean(way)}", ctx)
        return rest


@command.command("pause", cls=_Dashed)
@click.argument("name")
@click.argument("key", required=False)
@click.option("--reason", default="", help="Shown to whoever wonders.")
@url_option
def pause(name: str, key: str | None, reason: str, url: str | None) -> None:
    """Start no job under one key of a limit until it is resumed. Those that run go on.

    Without KEY it is for limits that have none; one that has keys is stopped whole by `open`.
    """
    with opened(url) as app:
        app.client.pause(limit=name, key=NO_KEY if key is None else key, reason=reason)
    say(f"{_key(name, key)} is paused.")


@command.command("resume", cls=_Dashed)
@click.argument("name")
@click.argument("key", required=False)
@url_option
def resume(name: str, key: str | None, url: str | None) -> None:
    """Start jobs under one key of a limit again."""
    with opened(url) as app:
        if not app.client.resume(limit=name, key=key or ""):
            raise Quit(f"{_key(name, key)} was not paused.", Exit.NOT_FOUND)
    say(f"{_key(name, key)} is resumed.")


@command.command("forget")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Say what would happen; change nothing.")
@url_option
def forget(name: str, yes: bool, dry_run: bool, url: str | None) -> None:
    """Remove what the store keeps of a limit that no code declares any more. Jobs that wait there go on without it."""
    with opened(url) as app:
        waiting = app.client.limits.forget(name, dry_run=True)
        effect = _released(waiting)
        if dry_run:
            say(f"would forget limit {clean(name)}: {effect}.")
            return
        confirm(f"forget limit {clean(name)}: {effect}", yes=yes)
        app.client.limits.forget(name)
    say(f"{clean(name)} is forgotten: {effect}. A worker that declares it makes it known again when it starts.")


def _released(waiting: int) -> str:
    if waiting == 0:
        return "no job waits there"
    return "1 job that waits there goes on without it" if waiting == 1 else f"{waiting:,} jobs that wait there go on without it"


def _limit_json(limit: LimitView) -> dict[str, Any]:
    paused = [{"key": key, **pause._asdict()} for key, pause in limit.paused.items()]
    return asdict(limit) | {"open_until": moment(limit.open_until), "paused": paused}


def _key_json(key: KeyView) -> dict[str, Any]:
    return asdict(key) | {"looked_at": moment(key.looked_at), "paused": None if key.paused is None else key.paused._asdict()}


def _paused(key: str, pause: Pause) -> str:
    """A pause in a table: of which key, by whom, and why."""
    who = f"by {pause.by}" + (f": {pause.why}" if pause.why else "")
    return f"{key} {who}" if key else who


def _key(name: str, key: str | None) -> str:
    if key is None:
        return f"limit {clean(name)}"
    return f"key {clean(key)} of limit {clean(name)}" if key else f"the empty key of limit {clean(name)}"


def _breaker(limit: LimitView) -> str:
    if limit.breaker == "closed":
        return "closed"
    until = "" if limit.breaker != "open" or limit.open_until is None else f" until {moment(limit.open_until)}"
    who = "" if limit.opened_by is None else f" by {limit.opened_by}"
    return f"{limit.breaker}{until}{who}" + (f": {limit.why}" if limit.why else "")
