"""The `treadle` command: names its sub-commands without loading them, and turns errors into one message and a code."""

import os
import sys
from importlib import import_module
from typing import Any

import click

from treadle.cli.exits import MEANINGS, Exit, Quit, code_for
from treadle.cli.output import clean, colour_wanted
from treadle.model.errors import TreadleError

_COMMANDS = {
    "dev": ("dev", "Serve a module while you write it: one worker that reloads on change."),
    "worker": ("worker", "Serve a module's tasks: a supervisor and its worker processes."),
    "enqueue": ("enqueue", "Enqueue one job by its task's name, and wait for it if you like."),
    "jobs": ("jobs", "List, show, cancel and retry jobs."),
    "dead": ("dead", "List, show, replay, resolve and purge dead letters."),
    "prune": ("prune", "Delete finished jobs now, instead of when their time is over."),
    "queues": ("queues", "List, pause and resume queues."),
    "schedules": ("schedules", "List, preview, pause, resume, run and back-fill schedules."),
    "workers": ("workers", "List the workers that hold a lease."),
    "limits": ("limits", "List limits, change them, open and close their breakers."),
    "tasks": ("tasks", "Pause and resume tasks."),
    "scale": ("scale", "Say how many worker processes the waiting work wants."),
    "check-deploy": ("check_deploy", "List waiting jobs that a module's code cannot take."),
    "migrate": ("migrate", "Bring the store's schema up to date."),
    "doctor": ("doctor", "Examine the store and say what to do about what is wrong."),
    "health": ("health", "Answer in an instant whether the store, and a worker, is alive."),
    "demo": ("demo", "Take a census of real source code, on a store of its own."),
    "bench": ("bench", "Measure enqueue, drain and latency on a temporary database."),
}

_EPILOG = "\b\nExit codes:\n" + "\n".join(f"  {code.value:<4} {meaning}" for code, meaning in MEANINGS.items())


class _Lazy(click.Group):
    """A group that imports a sub-command only when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        found: click.Command = import_module(f"treadle.cli.commands.{_COMMANDS[cmd_name][0]}").command
        return found

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from difflib import get_close_matches

            meant = get_close_matches(args[0], _COMMANDS, n=1, cutoff=0.7)
            if not meant:
                raise
            raise click.UsageError(f"{error.message} Did you mean {meant[0]!r}?", ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


def _version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        click.echo(f"treadle {version('treadle')}")
        ctx.exit()


@click.group(cls=_Lazy, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Print the version.")
def treadle() -> None:
    """A job queue for Python: one file and no server to begin with."""


def run(args: list[str] | None = None) -> int:
    """Run one command line; returns the exit code. Nothing of ours is shown but a message."""
    stdout = sys.stdout
    try:
        answer: Any = treadle.main(args=args, prog_name="treadle", standalone_mode=False)
        return answer if isinstance(answer, int) else Exit.OK
    except Quit as quitting:
        _complain(quitting.message)
        return quitting.code
    except click.exceptions.Exit as leaving:
        return leaving.exit_code
    except (click.Abort, KeyboardInterrupt):
        _complain("Interrupted.")
        return Exit.INTERRUPTED
    except click.ClickException as error:
        error.show()
        return Exit.USAGE
    except TreadleError as error:
        _complain(str(error))
        return code_for(error)
    except SystemExit:
        # When whoever read our output has gone, click puts another stream in its place, and leaves with 1.
        if sys.stdout is stdout:
            raise
        return Exit.OK
    except BrokenPipeError:
        # As above, met outside of click; the interpreter must not stumble over the same pipe when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.OK


def _complain(message: str) -> None:
    if message:
        click.echo(f"{click.style('treadle:', fg='red')} {clean(message, lines=True)}", err=True, color=colour_wanted())


def main() -> None:
    """The entry point of the console script."""
    sys.exit(run())
