"""Which store a command works on, and how it says so."""

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from treadle.cli.output import clean, say
from treadle.model.errors import CannotOpen

if TYPE_CHECKING:
    from treadle.app.app import Treadle

F = TypeVar("F", bound=Callable[..., Any])


def url_option(command: F) -> F:
    """Add `--url`: the store, when it is not what TREADLE_URL says or `treadle.db` here."""
    return click.option("--url", metavar="URL", help="The store. [default: TREADLE_URL, else sqlite:///treadle.db]")(command)


def json_option(command: F) -> F:
    """Add `--json`: the answer as JSON on standard output."""
    return click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")(command)


def url_of(url: str | None) -> str:
    """The store that is meant when `url` is what was said."""
    return url or os.environ.get("TREADLE_URL") or "sqlite:///treadle.db"


def must_exist(where: str) -> None:
    """Raise `CannotOpen` for a database file that is not there: looking must not make one."""
    if where.startswith("/") and not Path(where).exists():
        cure = "Check --url and the working directory. `treadle worker` and enqueue make a database, looking does not."
        raise CannotOpen(f"{clean(where)}: there is no database here. {cure}")


@contextmanager
def opened(url: str | None, *, announce: bool = True, target: str | None = None) -> Generator["Treadle"]:
    """The app of `target`, else one without tasks, on the store at `url`, which must exist. Says on standard error where it is.

    Raises `CannotOpen` for a database that is not there.
    """
    app = _app(url, target)
    try:
        must_exist(app.store.location)
        if announce:
            name_store(app)
        yield app
    finally:
        app.close()


def _app(url: str | None, target: str | None) -> "Treadle":
    if target is not None:
        from treadle.cli.serving import load_target

        return load_target(target, url)
    from treadle.app.app import Treadle

    return Treadle(url)


def name_store(app: "Treadle") -> None:
    """Say on standard error which store is meant."""
    say(f"store: {clean(app.store.location)}", err=True)
