"""What a role must be allowed to do in the schema, what it is not allowed, and the statements that mend that."""

from collections.abc import Mapping, Sequence

NEEDED: Mapping[str, Sequence[str]] = {
    "SCHEMA": ("USAGE",),
    "ALL TABLES IN SCHEMA": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "ALL SEQUENCES IN SCHEMA": ("USAGE",),
}
"""Everything that a producer or a worker needs, by what it is granted on."""


def quoted(name: str) -> str:
    """A name as SQL writes it, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'


def grants(lacking: Mapping[str, Sequence[str]], namespace: str, role: str) -> str:
    """The statements that grant what a role lacks."""
    return " ".join(
        f"GRANT {', '.join(words)} ON {what} {quoted(namespace)} TO {quoted(role)};" for what, words in lacking.items()
    )


def lacking(rows: "Sequence[tuple[str, str, str]]") -> dict[str, list[str]]:
    """What the rows of the question after a role's rights come to."""
    found: dict[str, list[str]] = {}
    order = list(NEEDED)
    for _, what, word in sorted(rows, key=lambda row: (order.index(row[1]) if row[1] in order else len(order), row[2])):
        found.setdefault(what, []).append(word)
    return found
