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


_NAMESPACE = "treadle.namespace"


def _remember(context: click.Context, _: click.Parameter, value: str | None) -> None:
    context.meta[_NAMESPACE] = value


def namespace_option(command: F) -> F:
    """Add `--namespace`, for the few who share a store: it is remembered beside the command, for `said_namespace`."""
    words = "What treadle's tables or keys there are named by. [default: the app's own, TREADLE_NAMESPACE, treadle]"
    option = click.option("--namespace", metavar="NAME", help=words, expose_value=False, callback=_remember)
    return option(command)


def said_namespace() -> str | None:
    """What `--namespace` of the running command says; None where nothing was said."""
    said: str | None = click.get_current_context().meta.get(_NAMESPACE)
    return said


def url_option(command: F) -> F:
    """Add `--url` and `--namespace`: the store, when it is not what TREADLE_URL says or `treadle.db` here."""
    command = namespace_option(command)
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
    app = app_at(url, target)
    try:
        must_exist(app.store.location)
        if announce:
            name_store(app)
        yield app
    finally:
        app.close()


def app_at(url: str | None, target: str | None = None) -> "Treadle":
    """The app of `target`, else one without tasks, on the store at `url` and in the namespace that was said."""
    if target is not None:
        from treadle.cli.serving import load_target

        return load_target(target, url, said_namespace())
    from treadle.app.app import Treadle

    return Treadle(url, namespace=said_namespace())


def name_store(app: "Treadle") -> None:
    """Say on standard error which store is meant."""
    say(f"store: {clean(app.store.location)}", err=True)
