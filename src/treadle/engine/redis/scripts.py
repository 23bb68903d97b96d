"""Puts scripts together from the Lua files beside this one: the verbs of a plan, the parts they include, one end.

A file that begins with `-- NAME:` is a verb; its line `-- include:` names the parts that it stands on. The verbs of one
plan run as one script, because a script is what Redis carries out whole.
"""

import hashlib
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

from treadle.engine.plan import READS

FOLDER = Path(__file__).parent / "lua"
GROWS = frozenset({"enqueue", "append"})
"""What is refused when the server's memory is full. All other verbs go on, so that workers can settle what they hold."""

_INCLUDE = re.compile(r"^-- include: ([a-z ]+)$", re.MULTILINE)
_COMMENT = re.compile(r"^\s*--.*$\n?", re.MULTILINE)
_PARTS = (
    "ground", "rows", "ranking", "slots", "turns", "lines", "admission", "gating", "wakes", "holders", "records", "family",
    "attempts", "keyring", "removal", "looking", "picking",
)  # fmt: skip


class Script(NamedTuple):
    """One script: its text, and the hash under which a server knows it."""

    text: bytes
    sha: bytes


@cache
def script(verbs: frozenset[str]) -> Script:
    """The script that can carry out these verbs. Raises `LookupError` for a verb without a file: a mistake in the engine."""
    wanted = {"ground", "wakes"}
    for verb in verbs:
        found = _INCLUDE.search(_read(verb))
        if found is None:
            raise LookupError(f"{verb}.lua names no part that it stands on")
        wanted.update(found[1].split())
    parts = [part for part in _PARTS if part in wanted]
    if wanted - set(parts):
        raise LookupError(f"no part {sorted(wanted - set(parts))} among {_PARTS}")
    # Lua allows 200 locals beside each other: what a verb keeps to itself is out of the way of the others.
    shut = [f"do\n{_COMMENT.sub('', _read(name))}\nend" for name in sorted(verbs)]
    body = "\n".join([*(_COMMENT.sub("", _read(name)) for name in parts), *shut, _COMMENT.sub("", _read("commit"))])
    text = f"#!lua{_flags(verbs)}\n{body}".encode()
    return Script(text, hashlib.sha1(text, usedforsecurity=False).hexdigest().encode())


@cache
def alone(name: str) -> bytes:
    """The text of one file as a script by itself, which a full server takes."""
    return f"#!lua flags=allow-oom\n{_COMMENT.sub('', _read(name))}".encode()


def _flags(verbs: frozenset[str]) -> str:
    if verbs <= READS:
        return " flags=no-writes"
    return "" if verbs & GROWS else " flags=allow-oom"


@cache
def _read(name: str) -> str:
    return (FOLDER / f"{name}.lua").read_text(encoding="utf-8")
