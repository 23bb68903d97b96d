"""`treadle queues`: what waits where, and stopping and starting it."""

from typing import TYPE_CHECKING

import click

from treadle.app.view import QueueView
from treadle.cli.exits import Exit, Quit
from treadle.cli.output import clean, say, show_json, show_table, span
from treadle.cli.store import json_option, opened, url_option
from treadle.cli.words import duration_option
from treadle.model.state import State
from treadle.policy.pressure import ACTIONS, Action, Cap

if TYPE_CHECKING:
    from treadle.app.app import Treadle

_SHOWN = (State.QUEUED, State.RUNNING, State.SCHEDULED, State.RETRYING, State.BLOCKED)


@click.group("queues")
def command() -> None:
    """List, pause and resume queues; cap what waits in them, give them hours and shares."""


@command.command("list")
@url_option
@json_option
def list_queues(url: str | None, as_json: bool) -> None:
    """List the queues that hold live jobs or are paused."""
    with opened(url) as app:
        queues = app.client.queues()
        suspects = app.client.suspects()
    if as_json:
        show_json(
            [
                {
                    "name": each.name,
                    "depth": {state.value: each.depth.get(state, 0) for state in _SHOWN},
                    "oldest": each.oldest,
                    "oldest_blocked": each.oldest_blocked,
                    "paused": each.paused,
                    "paused_by": each.paused_by,
                    "paused_why": each.paused_why,
                    "cap": each.cap,
                    "window": each.window,
                    "weight": each.weight,
                    "age": each.age,
                    "suspects": suspects.get(each.name, 0),
                }
                for each in queues
            ]
        )
        return
    rows = [
        (
            each.name,
            *(each.depth.get(state, 0) for state in _SHOWN),
            "" if each.oldest is None else span(each.oldest),
            "" if each.oldest_blocked is None else span(each.oldest_blocked),
            f"by {each.paused_by}: {each.paused_why}".rstrip(": ") if each.paused else "",
            _said(each),
        )
        for each in queues
    ]
    names = ("queue", *(state.value for state in _SHOWN), "oldest", "oldest blocked", "paused", "said")
    show_table(names, rows, empty="No queue holds a live job.")
    for name, count in suspects.items():
        why = "a worker was lost with them in hand, so they run alone, one at a time in each worker"
        say(f"{clean(name)}: {count:,} of the oldest jobs are suspects: {why}.", err=True)


@command.command("pause")
@click.argument("name")
@click.option("--reason", default="", help="Shown to whoever wonders.")
@url_option
def pause(name: str, reason: str, url: str | None) -> None:
    """Hand out no more jobs of a queue, anywhere, until it is resumed. Running jobs go on."""
    with opened(url) as app:
        hint = _stranger(app, name)
        app.client.pause(name, reason)
    say(f"{clean(name)} is paused.")
    _say_hint(hint)


@command.command("resume")
@click.argument("name")
@url_option
def resume(name: str, url: str | None) -> None:
    """Hand out jobs of a queue again. One that its hours keep closed is left to them."""
    with opened(url) as app:
        if not app.client.resume(name):
            raise Quit(f"{name} was not paused.", Exit.NOT_FOUND)
        kept = [each for each in app.client.queues() if each.name == name and each.paused]
    say(f"{clean(name)} is resumed.")
    if kept:
        say(f"its hours keep it closed until they begin: {clean(kept[0].paused_why)}.", err=True)


@command.command("cap")
@click.argument("name")
@click.option("--depth", type=int, help="How many jobs may wait.")
@duration_option("--age", help="How long the oldest may have been due.")
@click.option("--action", type=click.Choice(ACTIONS), default="reject", show_default=True, help="What becomes of more.")
@duration_option("--timeout", help="How long `block` waits for room. [default: 30s]")
@click.option("--none", is_flag=True, help="Take no cap, whatever code says.")
@click.option("--declared", is_flag=True, help="Leave it to the code again.")
@url_option
def cap(
    name: str,
    depth: int | None,
    age: float | None,
    action: Action,
    timeout: float | None,
    none: bool,
    declared: bool,
    url: str | None,
) -> None:
    """Cap what may wait in a queue, by --depth, --age or both. Producers heed it within ten seconds.

    It stands in place of the whole cap that code declares, action and all.
    """
    if (depth is not None or age is not None) + none + declared != 1:
        raise click.UsageError("Say --depth or --age, or --none, or --declared.")
    word = None if none or declared else Cap(depth, age=age, action=action, timeout=timeout)
    with opened(url) as app:
        hint = _stranger(app, name)
        app.client.describe(name, cap=word or ("none" if none else "declared"))
    say(f"cap of {clean(name)}: {word or ('none' if none else 'what code declares')}")
    _say_hint(hint)
    if word is not None and (depth is None or age is None):
        other = "--depth" if depth is None else "--age"
        say(
            f"it stands in place of the whole cap that code declares: say {other} too if code has one and it is to hold.",
            err=True,
        )


@command.command("window")
@click.argument("name")
@click.argument("hours", required=False)
@click.option("--tz", default="UTC", show_default=True, help="The zone of the hours.")
@click.option("--none", is_flag=True, help="Serve it at all hours, whatever code says.")
@click.option("--declared", is_flag=True, help="Leave it to the code again.")
@url_option
def window(name: str, hours: str | None, tz: str, none: bool, declared: bool, url: str | None) -> None:
    """Serve a queue in these HOURS only, such as "22:00-06:00" or "sat-sun 00:00-24:00". Workers heed it within seconds."""
    if (hours is not None) + none + declared != 1:
        raise click.UsageError("Say hours, or --none, or --declared.")
    with opened(url) as app:
        hint = _stranger(app, name)
        app.client.describe(name, window="none" if none else "declared" if declared else hours, tz=tz)
    what = "what code declares" if declared else "all" if none else f"{clean(str(hours))} {clean(tz)}"
    say(f"hours of {clean(name)}: {what}")
    _say_hint(hint)


@command.command("weight", context_settings={"ignore_unknown_options": True})  # so that -1 is a weight, if a wrong one
@click.argument("name")
@click.argument("weight", type=click.IntRange(0, 1_000_000))
@url_option
def weight(name: str, weight: int, url: str | None) -> None:
    """Give a queue another share of each worker that serves it; 0 leaves it to how they were started."""
    with opened(url) as app:
        hint = _stranger(app, name)
        app.client.describe(name, weight=weight)
    say(f"weight of {clean(name)}: {weight or 'as workers were started'}")
    _say_hint(hint)


@command.command("age")
@click.argument("name")
@click.argument("after", required=False)
@click.option("--none", is_flag=True, help="Let jobs wait as they are.")
@url_option
def age(name: str, after: str | None, none: bool, url: str | None) -> None:
    """Let a job gain 10 of priority each time that it has waited for so long, such as 10m."""
    if (after is not None) + none != 1:
        raise click.UsageError("Say how long, or --none.")
    with opened(url) as app:
        hint = _stranger(app, name)
        app.client.describe(name, age="none" if none else after)
    say(f"age of {clean(name)}: {'none' if none else clean(str(after))}")
    _say_hint(hint)


def _stranger(app: "Treadle", name: str) -> str | None:
    """What to say of a queue that holds no job and that no live worker serves; asked before anything is said of it."""
    known = {each.name for each in app.client.queues()}.union(*(each.queues for each in app.client.workers()))
    if name in known:
        return None
    return f"no job and no live worker is of a queue {clean(name)}: is that its name? See `treadle queues list`."


def _say_hint(hint: str | None) -> None:
    if hint is not None:
        say(hint, err=True)


def _said(queue: QueueView) -> str:
    words = (
        ("cap", queue.cap),
        ("hours", queue.window),
        ("weight", queue.weight),
        ("age", None if queue.age is None else span(queue.age)),
    )
    return ", ".join(f"{word} {value}" for word, value in words if value is not None)
