"""The engine's SQL, made ready for the server: names become places, and a few words are written out."""

import re
from functools import cache
from pathlib import Path

from treadle.engine.postgres.steps import Statement
from treadle.engine.source import Source

CLOCK = "(extract(epoch FROM clock_timestamp()) * 1000000)::int8"
"""This moment in microseconds. Not `now()`, which stands still within a transaction of the user's."""

_NAME = re.compile(r"(?<!:):([a-z_]+)")


def compiled(text: str) -> Statement:
    """A statement from text in which `:name` stands for a value."""
    places: dict[str, str] = {}

    def place(found: re.Match[str]) -> str:
        return places.setdefault(found[1], f"${len(places) + 1}")

    return Statement(_NAME.sub(place, text.replace("{clock}", CLOCK)), tuple(places))


class Statements:
    """The statements of one namespace, by verb and part."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self._source = Source(Path(__file__).parent / "sql", namespace)
        self._compiled: dict[tuple[str, ...], Statement] = {}

    def __call__(self, verb: str, *parts: str) -> Statement:
        """The text of `parts` of `verb`'s file, in order, as one statement. Raises `UnknownSource`."""
        key = (verb, *parts)
        found = self._compiled.get(key)
        if found is None:
            found = self._compiled[key] = compiled(self._source(verb, *parts))
        return found

    def joined(self, *pieces: tuple[str, ...]) -> Statement:
        """Parts of several files as one statement; each piece is a verb and its parts."""
        key = tuple(word for piece in pieces for word in ("/", *piece))
        found = self._compiled.get(key)
        if found is None:
            found = self._compiled[key] = compiled("\n".join(self._source(*piece) for piece in pieces))
        return found

    def names(self) -> list[str]:
        """Every statement there is, as `verb/part`."""
        return self._source.names()


@cache
def statements(namespace: str) -> Statements:
    """The statements of a namespace, read once."""
    return Statements(namespace)
