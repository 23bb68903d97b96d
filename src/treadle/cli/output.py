"""What reaches the terminal: cleaned of control characters, in colour only where colour is wanted, JSON when asked for."""

import json
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import click

_STATE_COLOURS = {
    "completed": "green",
    "running": "cyan",
    "queued": "blue",
    "retrying": "yellow",
    "dead": "red",
    "error": "red",
    "warning": "yellow",
    "ok": "green",
}


def _hidden() -> dict[int, str | None]:
    """Everything that can move a cursor, ring, recolour or turn the writing direction."""
    control = [*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x061C]
    gone: dict[int, str | None] = dict.fromkeys(control)
    return gone | {0x09: " ", 0x0A: " ", 0x0D: " ", 0x2028: " ", 0x2029: " "}


_ONE_LINE = _hidden()
_LINES = {code: to for code, to in _ONE_LINE.items() if code not in {0x09, 0x0A}}


def clean(text: object, *, lines: bool = False) -> str:
    """`text` without terminal control characters; on one line unless `lines`. Lone surrogates become question marks."""
    plain = str(text).translate(_LINES if lines else _ONE_LINE)
    return plain.encode("utf-8", "replace").decode("utf-8")


def colour_wanted() -> bool | None:
    """False when NO_COLOR is set or the terminal is dumb; None leaves it to whether the stream is a terminal."""
    return False if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" else None


def say(text: str = "", *, err: bool = False) -> None:
    """Print one line."""
    click.echo(text, err=err, color=colour_wanted())


def tint(word: str, width: int = 0) -> str:
    """A state or level in its colour, padded to `width`."""
    padded = word.ljust(width)
    return click.style(padded, fg=_STATE_COLOURS[word]) if word in _STATE_COLOURS else padded


def show_json(value: Any) -> None:
    """Print `value` as indented JSON. Pure ASCII, so that nothing in it can reach the terminal as a control character."""
    click.echo(json.dumps(value, indent=2))


def show_table(names: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str = "Nothing.") -> None:
    """Print rows in columns as wide as their content; on a terminal the last column gives way."""
    cells = [[clean(cell) if cell is not None else "" for cell in row] for row in rows]
    if not cells:
        say(empty)
        return
    widths = [max(len(name), *(len(row[place]) for row in cells)) for place, name in enumerate(names)]
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else 10_000
    last = max(8, room - sum(widths[:-1]) - 2 * (len(widths) - 1))
    say("  ".join(name.ljust(width) for name, width in zip(names, widths, strict=True)).rstrip())
    for row in cells:
        if len(row[-1]) > last:
            row[-1] = row[-1][: last - 1] + "…"
        say("  ".join(tint(cell, width) for cell, width in zip(row, widths, strict=True)).rstrip())


def moment(at: datetime | None) -> str | None:
    """A time in UTC as ISO 8601, to the millisecond."""
    return None if at is None else at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def ago(at: datetime | None, now: float) -> str:
    """How long before `now` (seconds) something was, as short as can be; the future begins with `in`."""
    if at is None:
        return ""
    seconds = now - at.timestamp()
    return f"in {span(-seconds)}" if seconds < -0.5 else span(max(0.0, seconds))


def span(seconds: float) -> str:
    """A duration in its largest fitting unit: 850ms, 12s, 5m, 3h, 2d."""
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.0f}s"
