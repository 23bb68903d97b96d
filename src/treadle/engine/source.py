"""Loads the engines' SQL by name: one file per verb, with a header comment and named parts.

A part begins with a line `-- part: NAME` and ends at the next one. `{ns}` stands for the namespace and is replaced once,
at load: where a dot follows it is a schema, and quoted. A row written as `{row: (?, ?)}` is repeated as often as the caller
of `repeated` asks.
"""

import re
from functools import cache
from pathlib import Path

_PART = re.compile(r"^-- part: ([a-z0-9-]+)\s*$", re.MULTILINE)
_ROW = re.compile(r"\{row: (?P<row>[^}]*)\}")
_COMMENT = re.compile(r"^\s*--.*$\n?", re.MULTILINE)
_NAMESPACE = re.compile(r"[a-z_][a-z0-9_]{0,40}")


class UnknownSource(LookupError):
    """A statement was asked for that no file holds: a mistake in the engine, never in the user's input."""


def named(text: str, namespace: str) -> str:
    """A text of SQL with the namespace written in. As a schema it is quoted, so that it may be a word of SQL's own."""
    return text.replace("{ns}.", f'"{namespace}".').replace("{ns}", namespace)


class Source:
    """The statements of one engine in one namespace."""

    def __init__(self, folder: Path, namespace: str) -> None:
        if _NAMESPACE.fullmatch(namespace) is None:
            raise ValueError(f"{namespace!r}: a namespace is a lower-case word of at most 41 letters, digits and underscores")
        self.namespace = namespace
        self._parts = {name: named(text, namespace) for name, text in _read(folder).items()}
        self._joined: dict[tuple[str | int, ...], str] = {}

    def __call__(self, verb: str, *parts: str) -> str:
        """The text of `parts` of `verb`'s file, in order, as one statement. Raises `UnknownSource`."""
        key = (verb, *parts)
        text = self._joined.get(key)
        if text is None:
            text = self._joined[key] = "\n".join(self._part(verb, part) for part in parts)
        return text

    def repeated(self, verb: str, part: str, times: int) -> str:
        """The text of one part with its `{row: ...}` written `times` times over. Raises `UnknownSource`."""
        key = (verb, part, times)
        text = self._joined.get(key)
        if text is None:
            text = _ROW.sub(lambda found: ", ".join([found["row"]] * times), self._part(verb, part))
            self._joined[key] = text
        return text

    def names(self) -> list[str]:
        """Every statement there is, as `verb/part`."""
        return sorted(self._parts)

    def _part(self, verb: str, part: str) -> str:
        try:
            return self._parts[f"{verb}/{part}"]
        except KeyError:
            raise UnknownSource(f"no part {part!r} in {verb}.sql; there are: {', '.join(self.names())}") from None


@cache
def _read(folder: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for file in sorted(folder.glob("*.sql")):
        pieces = _PART.split(file.read_text(encoding="utf-8"))
        verb = file.stem
        for name, text in zip(pieces[1::2], pieces[2::2], strict=True):
            if f"{verb}/{name}" in found:
                raise UnknownSource(f"{verb}.sql has two parts named {name!r}")
            found[f"{verb}/{name}"] = _COMMENT.sub("", text).strip().rstrip(";")
    return found
