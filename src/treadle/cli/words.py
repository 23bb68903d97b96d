"""What people write on the command line, read into what the house works with."""

import json
from typing import Any

import click

from treadle.model.errors import InvalidArguments, InvalidOption
from treadle.policy.duration import seconds


class DurationType(click.ParamType):
    """A duration such as `90s` or `5m`, or a bare number of seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:  # noqa: ARG002
        """The duration in seconds. Raises `InvalidDuration`."""
        if isinstance(value, str):
            try:
                return seconds(float(value))
            except ValueError:
                return seconds(value)
        return seconds(value)


DURATION = DurationType()


def read_queue(text: str) -> tuple[str, int]:
    """`name` or `name:weight` as a pair; the weight is 1 when none is written. Raises `InvalidOption`."""
    name, colon, weight = text.partition(":")
    if colon and not (weight.isascii() and weight.isdigit()):
        rule = "the weight after the colon must be a whole number"
        raise InvalidOption(f"queue {text}", rule, "Write `--queue name:weight`, as in `--queue critical:60`.")
    return name, int(weight) if colon else 1


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
    return found


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _kind(value: object) -> str:
    names = {list: "a list", str: "text", bool: "a truth value", int: "a number", float: "a number", type(None): "null"}
    return names[type(value)]
