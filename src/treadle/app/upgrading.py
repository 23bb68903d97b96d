"""Old arguments for new code: a job that was stored before a deploy runs after it."""

from collections.abc import Callable, Mapping
from traceback import extract_tb
from typing import Any

import msgspec

from treadle.app.failure import ErrorRecord
from treadle.model.errors import InvalidArguments

Upgrader = Callable[[dict[str, Any]], dict[str, Any]]
"""From the arguments of one version, by name and as JSON has them, to those of the next."""

TOO_NEW = "NewerVersion"
"""What stands for the class of the error where a worker puts off a job that its code is too old for."""


def too_new(task: str, stored: int, mine: int) -> str:
    """What such an attempt leaves: the JSON text of an `ErrorRecord`."""
    message = f"its arguments were stored for version {stored} of {task}, and the code of that worker has version {mine}"
    return msgspec.json.encode(ErrorRecord(TOO_NEW, message)).decode()


def upgraded(task: str, payload: str, stored: int, wanted: int, upgraders: Mapping[int, Upgrader]) -> str:
    """Stored arguments as the wanted version takes them. Raises `InvalidArguments`."""
    if stored > wanted:
        raise InvalidArguments(
            f"stored arguments of {task}",
            f"they were stored for version {stored}, and this code has version {wanted}",
            "Serve them with the newer code.",
        )
    steps = [version for version in range(stored + 1, wanted + 1) if version in upgraders]
    if not steps:
        return payload
    args: dict[str, Any] = msgspec.json.decode(payload)
    for version in steps:
        try:
            args = upgraders[version](args)
        except Exception as error:
            raise InvalidArguments(
                f"stored arguments of {task}",
                f"the upgrade to version {version} raised {type(error).__name__}: {error} ({_place(error)})",
                "Correct it and replay the job.",
            ) from error
        if not isinstance(args, dict):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidArguments(
                f"stored arguments of {task}",
                f"the upgrade to version {version} returned no arguments by name",
                "Return a dict.",
            )
    return msgspec.json.encode(args).decode()


def _place(error: Exception) -> str:
    """The file and line that raised."""
    frame = extract_tb(error.__traceback__)[-1]
    return f"{frame.filename}:{frame.lineno}"
