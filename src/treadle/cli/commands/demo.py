"""`treadle demo`: the census of real source code."""

from pathlib import Path
from typing import Any

import click


@click.command("demo")
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option("--exit", "leave", is_flag=True, help="Leave when the census is done instead of serving until Ctrl-C.")
@click.option("--fresh", is_flag=True, help="Begin a new census even if the last one is unfinished.")
@click.option(
    "--keep", type=click.Path(path_type=Path), help="Where to keep the store and the report. [default: the user's cache]"
)
@click.option("--processes", type=int, help="Worker processes. [default: 1]")
@click.option("--children", type=int, help="Files measured at once, per process. [default: the cores]")
def command(folder: Path | None, leave: bool, fresh: bool, keep: Path | None, **given: Any) -> int:
    """Take a census of the Python files in FOLDER (the standard library when none is given), as jobs.

    Ctrl-C stops it; started again, it goes on where it stopped. A census that was finished begins anew.
    """
    from treadle.cli.census.inventory import standard_library
    from treadle.cli.census.progress import desk_for
    from treadle.cli.census.show import play

    source = folder or standard_library()
    return play(source, desk_for(source, keep), fresh=fresh, leave=leave, given=given)
