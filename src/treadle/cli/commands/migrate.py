"""`treadle migrate`: the store's schema, brought up to date."""

import click

from treadle.cli.output import clean, say, show_json
from treadle.cli.store import app_at, json_option, name_store, url_option


@click.command("migrate")
@click.option("--app", "target", metavar="MODULE[:APP]", help="The app whose store and namespace are meant.")
@url_option
@click.option("--plan", "plan_only", is_flag=True, help="Name what would be applied, and change nothing.")
@click.option("--sql", "sql_only", is_flag=True, help="Print the SQL that would be applied, and change nothing.")
@json_option
def command(target: str | None, url: str | None, plan_only: bool, sql_only: bool, as_json: bool) -> None:
    """Apply the migrations that the store has not seen. Safe to repeat."""
    app = app_at(url, target)
    try:
        name_store(app)
        pending = app.store.pending_migrations()
        look_only = plan_only or sql_only
        names = [name for name, _ in pending] if look_only else app.store.migrate()
    finally:
        app.close()
    if as_json:
        show_json({"applied": [] if look_only else names, "pending": names if look_only else []})
    elif sql_only:
        for name, sql in pending:
            say(f"-- {clean(name)}\n{sql.rstrip()}")
    else:
        for name in names:
            say(f"{'would apply' if plan_only else 'applied'} {clean(name)}")
        if not names:
            say("The schema is up to date.")
