"""Which jobs a command means: by id or by filter, counted and confirmed before anything changes."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import wraps
from time import time
from typing import TYPE_CHECKING, Any, TypeVar

import click

from treadle.app.where import Filter, Where
from treadle.cli.confirm import confirm
from treadle.cli.exits import Exit
from treadle.cli.output import clean, say, show_json
from treadle.cli.store import json_option, url_option
from treadle.cli.words import duration_option
from treadle.model.errors import InvalidOption
from treadle.model.filter import Altered
from treadle.model.job import JobId
from treadle.model.state import State

if TYPE_CHECKING:
    from treadle.app.client import Client

F = TypeVar("F", bound=Callable[..., Any])

_NARROW = [
    click.option("--queue", "queues", multiple=True, help="Only this queue; may be repeated."),
    click.option("--task", "tasks", multiple=True, help="Only this task; may be repeated."),
    click.option("--tag", help="Only jobs with this tag."),
    click.option("--key", help="Only jobs with this key."),
    duration_option("--older", help="Only jobs enqueued longer ago than this."),
    duration_option("--newer", help="Only jobs enqueued since this long ago."),
]

_CHANGE = [
    click.option(
        "--all", "everything", is_flag=True, help="Every job the command can change; else ids or a filter are needed."
    ),
    click.option("--dry-run", is_flag=True, help="Say what would be changed, and change nothing."),
    click.option("--yes", is_flag=True, help="Do not ask."),
]


@dataclass(frozen=True, slots=True)
class Choice:
    """What was said about which jobs to change, and how to go about it."""

    ids: tuple[str, ...]
    narrow: dict[str, Any]
    everything: bool
    dry_run: bool
    yes: bool
    url: str | None
    as_json: bool


def narrow_options(command: F) -> F:
    """Add the options that narrow which jobs are meant."""
    for option in reversed(_NARROW):
        command = option(command)
    return command


def choosing(command: Callable[..., int]) -> Callable[..., int]:
    """Add ids and the options of every command that changes many jobs; the command takes them as one `Choice`."""

    @wraps(command)
    def chosen(**given: Any) -> int:
        narrow = {name: given.pop(name) for name in ("queues", "tasks", "tag", "key", "older", "newer")}
        said = {name: given.pop(name) for name in ("ids", "everything", "dry_run", "yes", "url", "as_json")}
        return command(Choice(narrow=narrow, **said), **given)

    ids = click.argument("ids", metavar="[ID]...", nargs=-1)
    for option in (json_option, url_option, *reversed(_CHANGE), narrow_options, ids):
        chosen = option(chosen)
    return chosen


def read_filter(
    *,
    queues: Sequence[str] = (),
    tasks: Sequence[str] = (),
    tag: str | None = None,
    key: str | None = None,
    older: float | None = None,
    newer: float | None = None,
    states: Sequence[State] = (),
    status: str | None = None,
    fingerprint: str | None = None,
) -> Filter:
    """The filter that the options describe; what was not given does not narrow."""
    return Filter(
        queues=queues or None,
        tasks=tasks or None,
        tag=tag,
        key=key,
        states=states or None,
        status=status,
        fingerprint=fingerprint,
        enqueued_before=_before_now(older),
        enqueued_after=_before_now(newer),
    )


def _before_now(age: float | None) -> datetime | None:
    """The moment that was so many seconds ago; no job is older than 1970."""
    return None if age is None else datetime.fromtimestamp(max(0.0, time() - age), UTC)


def read_where(choice: Choice, **more: Any) -> Where:
    """What a changing command means: ids, or a filter, which `more` narrows by the command's own options.

    Raises `InvalidOption` for both, and for nothing at all.
    """
    narrowed = read_filter(**choice.narrow, **more)
    nothing = narrowed == Filter()
    if choice.ids and (not nothing or choice.everything):
        raise InvalidOption(", ".join(choice.ids), "ids and a filter cannot be mixed", "Give the ids, or the filter.")
    if choice.ids:
        return list(choice.ids)
    if nothing and not choice.everything:
        raise InvalidOption("no selection", "nothing says which jobs are meant", "Give ids, a filter, or --all.")
    return narrowed


def change(
    verb: str,
    choice: Choice,
    act: Callable[[bool], list[Altered]],
    *,
    noun: str = "job",
    turn: str | None = None,
    ways: Callable[[JobId], str] | None = None,
) -> int:
    """Foresee, confirm with the count, act, and say what became of it. `act` is told whether it is a rehearsal.

    `turn` says what becomes of a job whose state does not change, `ways` what to do about a letter whose twin is in its way.

    Exits with 1 when a job was left alone because its state does not allow the change.
    """
    foreseen = act(True)
    possible = sum(each.done for each in foreseen)
    if not choice.dry_run and possible:
        confirm(f"{verb} {_many(possible, noun)}", yes=choice.yes)
    altered = foreseen if choice.dry_run or not possible else act(False)
    if choice.as_json:
        show_json(
            {
                "dry_run": choice.dry_run,
                "changed": sum(each.done for each in altered),
                "refused": sum(not each.done for each in altered),
                "jobs": [each._asdict() for each in altered],
            }
        )
    else:
        _say_changes(verb, altered, noun, turn, ways, dry_run=choice.dry_run)
    return Exit.OK if all(each.done for each in altered) else Exit.FAILED


def ways_on(client: "Client") -> Callable[[JobId], str]:
    """Asks the store what is to be done about a dead letter that its newer twin keeps from being replayed."""

    def ask(job: JobId) -> str:
        found = client.obstacles([client.get(job)]).get(job)
        return "" if found is None else found.cure

    return ask


def _say_changes(
    verb: str,
    altered: Sequence[Altered],
    noun: str,
    turn: str | None,
    ways: Callable[[JobId], str] | None,
    *,
    dry_run: bool,
) -> None:
    moves = Counter((each.before, each.after) for each in altered if each.done)
    say(f"{'would ' if dry_run else ''}{verb} {_many(moves.total(), noun)}{':' if moves else '.'}")
    for (before, after), count in moves.items():
        became = turn if turn is not None and before == after else f"{before} -> {after or 'erased'}"
        say(f"  {count} {became}")
    for each in altered:
        if not each.done:
            taken = "" if each.holder is None else _taken(each, each.holder, ways)
            say(f"left alone: {clean(each.id)} is {each.before}{taken}", err=True)


def _taken(refused: Altered, holder: JobId, ways: Callable[[JobId], str] | None) -> str:
    """Why a job is not sent back whose unique key another has by now, and what to do about it."""
    # With ordered_by and on_dead="stop" the other may stand behind this very letter: its end would never come.
    cure = "" if ways is None or refused.before is not State.DEAD else ways(refused.id)
    if not cure:
        cure = f"Cancel that one first (`treadle jobs cancel {holder}`), or wait for its end."
    return clean(f", and {holder} has its unique key. {cure}")


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
