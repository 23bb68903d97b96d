"""`treadle enqueue`: one job by its task's name."""

import json
from typing import Any

import click

from treadle.cli.output import clean, say, show_json
from treadle.cli.store import app_at, name_store, namespace_option
from treadle.cli.views import job_json
from treadle.cli.words import duration_option, read_object
from treadle.model.errors import UnknownTask


@click.command("enqueue")
@click.argument("name")
@click.argument("arguments", metavar="[JSON]", default="{}")
@click.option("--app", "target", metavar="MODULE[:APP]", help="Where the task is declared. [default: NAME up to its last dot]")
@click.option("--wait", is_flag=True, help="Wait for the job to end and print its result.")
@duration_option("--timeout", help="How long to wait.")
@duration_option("--delay", help="Not before so long from now.")
@click.option("--priority", type=int, help="From -100 to 100; larger is sooner.")
@click.option("--queue", help="Another queue than the task's own.")
@click.option("--key", help="A key to find or erase the job by.")
@click.option("--tag", "tags", multiple=True, help="A tag to find or erase the job by; may be repeated.")
@click.option("--url", metavar="URL", help="The store. [default: the app's own, TREADLE_URL, sqlite:///treadle.db]")
@namespace_option
@click.option("--json", "as_json", is_flag=True, help="Print the job as JSON.")
def command(
    name: str,
    arguments: str,
    target: str | None,
    wait: bool,
    timeout: float | None,
    url: str | None,
    as_json: bool,
    **words: Any,
) -> None:
    """Enqueue the task NAME (as in tasks.hello) with the arguments in JSON, an object by parameter name.

    Prints the job's id; with --wait, what the job returned.
    """
    args = read_object(arguments, "the arguments")
    app = app_at(url, target or _module(name))
    given = {option: value for option, value in words.items() if value not in (None, ())}
    call = app.call(name, args, **given)
    name_store(app)
    handle = call.enqueue()
    try:
        result = handle.result(timeout) if wait else None
    finally:
        # However the wait ended, a script gets its JSON; the exit code and standard error say the rest.
        if as_json:
            show_json(job_json(handle.job(), details=True))
    if not as_json:
        say(handle.id) if not wait else show_result(result)


def show_result(result: Any) -> None:
    """What a job returned: text as it is, everything else as JSON."""
    import msgspec

    if isinstance(result, str):
        say(clean(result, lines=True))
    else:
        say(json.dumps(msgspec.to_builtins(result)))


def _module(name: str) -> str:
    module = name.rpartition(".")[0]
    if not module:
        raise UnknownTask(name, "does not say which module it is in", f"Write MODULE.{name}, or add --app MODULE.")
    return module
