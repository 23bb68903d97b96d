"""The engine's SQL, made ready for the server: names become places, and a few words are written out."""

import re
from functools import cache
from pathlib import Path

from treadle.engine.postgres.steps import Statement
from treadle.engine.source import Source, named

CLOCK = "(date_part('epoch', clock_timestamp()) * 1e6)::int8"
"""This moment in microseconds. Not `now()`, which stands still within a transaction of the user's. Two roundings of a double
stay below half a microsecond until the year 2100; `extract`, exact by nature, reckons in decimals and takes longer."""

WORDS = {
    "{clock}": CLOCK,
    # Whether tenants share any queue: asked once in a statement, whatever it enters.
    "{shared}": "(SELECT EXISTS (SELECT 1 FROM {ns}.tenants))",
    # The keys asked for; where they are null, those of the candidates that this transaction read last. Asked in a question of
    # its own: else the plan is made for as many as there are at first, and kept.
    "{names}": "(SELECT coalesce(:name::text, nullif(current_setting('treadle.names', true), '')))::text[]",
    "{keys}": "(SELECT coalesce(:key::text, nullif(current_setting('treadle.keys', true), '')))::text[]",
    # The candidates that this transaction read last, and their lines.
    "{candidates}": "(SELECT nullif(current_setting('treadle.candidates', true), ''))::int8[]",
    "{lines}": "(SELECT nullif(current_setting('treadle.lines', true), ''))::text[]",
    # The limits whose starts this transaction has to itself.
    "{limits}": "(SELECT nullif(current_setting('treadle.limits', true), ''))::text[]",
    # Whether the queue is paused, and the names of the tasks that are not.
    "{paused}": "SELECT EXISTS (SELECT 1 FROM {ns}.records WHERE space = 'paused' AND key = :queue::text) AS queue, "
    "CASE WHEN EXISTS (SELECT 1 FROM {ns}.records WHERE space = 'paused' AND key > E'task\\n' AND key < E'task\\x0b') "
    "THEN ARRAY(SELECT t.task FROM unnest(:tasks::text::text[]) AS t(task) WHERE NOT EXISTS (SELECT 1 FROM {ns}.records "
    "WHERE space = 'paused' AND key = E'task\\n' || t.task)) ELSE :tasks::text::text[] END AS tasks",
    # What `live` says of the holds of a job, or would say.
    "{hold}": "(SELECT (x.holds::json #>> '{0,0}') || E'\\n' || (x.holds::json #>> '{0,1}') FROM {ns}.flows AS x "
    "WHERE x.n = j.n AND json_array_length(x.holds::json) = 1)",
    # What `live` says of the line of a job, and of what the first of its holds costs.
    "{line}": "(SELECT x.line FROM {ns}.flows AS x WHERE x.n = j.n)",
    "{cost}": "(SELECT (x.holds::json #>> '{0,2}')::int8 FROM {ns}.flows AS x WHERE x.n = j.n)",
    # Whether the attempts of any limit are counted over all its keys.
    "{probed}": "(SELECT EXISTS (SELECT 1 FROM {ns}.records WHERE space = 'limit' AND value NOT LIKE '%\"closed_until\"_null%' "
    "AND value::json ->> 'closed_until' IS NOT NULL))",
    # What `live` says of the flow of a job, or would say.
    "{flow}": "coalesce((SELECT CASE WHEN x.holds IS NOT NULL OR x.line IS NOT NULL THEN 2 "
    "WHEN x.tenant IS NOT NULL THEN 1 END FROM {ns}.flows AS x WHERE x.n = j.n), 0)::int2",
}
"""What is written out in a statement, beside the namespace."""

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
            found = self._compiled[key] = self._compile(self._source(verb, *parts))
        return found

    def joined(self, *pieces: tuple[str, ...]) -> Statement:
        """Parts of several files as one statement; each piece is a verb and its parts."""
        key = tuple(word for piece in pieces for word in ("/", *piece))
        found = self._compiled.get(key)
        if found is None:
            found = self._compiled[key] = self._compile("\n".join(self._source(*piece) for piece in pieces))
        return found

    def _compile(self, text: str) -> Statement:
        for word, written in WORDS.items():
            text = text.replace(word, written)
        return compiled(named(text, self.namespace))

    def names(self) -> list[str]:
        """Every statement there is, as `verb/part`."""
        return self._source.names()


@cache
def statements(namespace: str) -> Statements:
    """The statements of a namespace, read once."""
    return Statements(namespace)
