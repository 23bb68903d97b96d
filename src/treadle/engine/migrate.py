"""Forward-only, numbered migrations: what there is, what is missing, and what is too new to touch."""

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

from treadle.engine.source import named
from treadle.model.errors import SchemaMismatch

_STATEMENT = re.compile(r"(?:\$\$.*?\$\$|[^;])+", re.DOTALL)
_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")


class Migration(NamedTuple):
    """One step of the schema, never edited once released. `statements` are to be run in one transaction."""

    number: int
    name: str
    text: str

    def statements(self, namespace: str) -> list[str]:
        """The single statements, for one namespace. What stands between two `$$` is one piece."""
        lines = (line for line in self.text.splitlines() if not line.lstrip().startswith("--"))
        parts = _STATEMENT.findall(named("\n".join(lines), namespace))
        return [one.strip() for one in parts if one.strip()]


@cache
def migrations(folder: Path) -> tuple[Migration, ...]:
    """Every migration of an engine, in order. Numbers begin at 1 and have no gap."""
    found: list[Migration] = []
    for file in sorted(folder.glob("*.sql")):
        match = _NAME.fullmatch(file.name)
        if match is not None:
            found.append(Migration(int(match[1]), file.stem, file.read_text(encoding="utf-8")))
    found.sort()
    if [each.number for each in found] != list(range(1, len(found) + 1)):
        raise ValueError(f"{folder}: migrations must be numbered 1, 2, 3, ...: {[each.name for each in found]}")
    return tuple(found)


def pending(known: tuple[Migration, ...], version: int, location: str) -> tuple[Migration, ...]:
    """The migrations that a store at `version` still needs. Raises `SchemaMismatch` for a store newer than this code."""
    if version > len(known):
        raise SchemaMismatch(
            f"{location}: its schema is version {version}, and this treadle knows versions up to {len(known)}. "
            "Upgrade treadle on this machine to at least the version that wrote the store."
        )
    return known[version:]
