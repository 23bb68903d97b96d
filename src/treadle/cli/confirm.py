"""The question before anything is destroyed."""

import sys

import click

from treadle.cli.exits import Exit, Quit


def confirm(what: str, *, yes: bool) -> None:
    """Ask whether `what` (which holds the count) shall happen; return only if so.

    Without a terminal there is nobody to ask: the command is refused unless `yes`.
    """
    if yes:
        return
    if not _attended():
        raise Quit(
            f"{what}: this needs a yes, and there is no terminal to ask on. Add --yes, or --dry-run to look.", Exit.USAGE
        )
    if not click.confirm(f"{what}. Go on?", err=True):
        raise Quit("Nothing was changed.", Exit.FAILED)


def _attended() -> bool:
    return sys.stdin.isatty()
