"""Commands as a cure names them: they can be typed as they stand."""

import shlex
from itertools import takewhile


def typed(command: str, *names: str) -> str:
    """A command in back quotes, its names quoted for a shell, behind `--` where one would be taken for an option."""
    plain = list(takewhile(lambda name: not name.startswith("-"), names))
    dashed = names[len(plain) :]
    return f"`treadle {command} {shlex.join([*plain, *(['--', *dashed] if dashed else [])])}`"
