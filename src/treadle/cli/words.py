"""What people write on the command line, read into what the house works with."""

import json
from collections.abc import Callable
from typing import Any, TypeVar, cast

import click

from treadle.model.errors import InvalidArguments, InvalidOption
from treadle.policy.duration import seconds

F = TypeVar("F", bound=Callable[..., Any])


def duration_option(*names: str, **words: Any) -> Callable[[F], F]:
    """An option that takes a duration such as `90s` or `5m`, or a bare number of seconds, and gives seconds."""
    # The type is said, or click would take that of a default for it and refuse "5m" beside a default of 0.0.
    return click.option(*names, metavar="DURATION", type=str, callback=_duration, **words)


def _duration(_: click.Context, __: click.Parameter, value: str | float | None) -> float | None:
    if not isinstance(value, str):
        return value
    try:
        return seconds(float(value))
    except ValueError:
        return seconds(value)


def read_queue(text: str) -> tuple[str, int]:
    """`name` or `name:weight` as a pair; the weight is 1 when none is written. Raises `InvalidOption`."""
    name, colon, weight = text.partition(":")
    if colon and not (weight.isascii() and weight.isdigit()):
        rule = "the weight after the colon must be a whole number"
        raise InvalidOption(f"queue {text}", rule, "Write `--queue name:weight`, as in `--queue critical:60`.")
    return name, int(weight) if colon else 1


def read_processes(text: str) -> tuple[int, int | None]:
    """`2` or `1:8` as the fewest and the most; None where no most is written. Raises `InvalidOption`."""
    least, colon, most = text.partition(":")
    if not all(each.isascii() and each.isdigit() for each in ((least, most) if colon else (least,))):
        rule = "processes are a whole number, or two with a colon between"
        raise InvalidOption(f"processes {text}", rule, "Write `--processes 4`, or `--processes 1:8`.")
    return int(least), int(most) if colon else None


def read_object(text: str, what: str) -> dict[str, Any]:
    """A JSON object. Raises `InvalidArguments` that says what is wrong, and where."""
    cure = """Write an object with the arguments by name, as in '{"name": "Ada"}'."""
    try:
        found = json.loads(text, parse_constant=_refuse_constant)
    except ValueError as error:
        raise InvalidArguments(text, f"{what} must be JSON ({error})", cure) from None
    except RecursionError:
        raise InvalidArguments(text, f"{what} is nested too deeply", cure) from None
    if not isinstance(found, dict):
        raise InvalidArguments(text, f"{what} must be a JSON object, not {_kind(found)}", cure)
    return cast(dict[str, Any], found)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _kind(value: object) -> str:
    match value:
        case list():
            return "a list"
        case str():
            return "text"
        case bool():
            return "a truth value"
        case None:
            return "null"
        case _:
            return "a number"
