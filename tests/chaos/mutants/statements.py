"""Changes statements and scripts of the engines before they are read."""

from pathlib import Path

from treadle.engine import source
from treadle.engine.redis import scripts

Changes = dict[str, tuple[str, str]]

TRUE_LUA = scripts._read


def rewrite(engine: str, changes: Changes) -> None:
    """Replace, in each statement of an engine named `verb/part`, one text by another. A text that is not there is an error:
    a mutant that no longer breaks anything must not pass for one that was caught.
    """
    before = source._read

    def read(folder: Path) -> dict[str, str]:
        parts = dict(before(folder))
        if folder.parent.name == engine:
            for name, change in changes.items():
                parts[name] = replaced(name, parts[name], change)
        return parts

    source._read = read


def rewrite_script(verb: str, *changes: tuple[str, str]) -> None:
    """The same for the script of a verb of the Redis engine."""

    def read(name: str) -> str:
        text = TRUE_LUA(name)
        for change in changes if name == verb else ():
            text = replaced(name, text, change)
        return text

    scripts._read = read


def replaced(name: str, text: str, change: tuple[str, str]) -> str:
    old, new = change
    assert old in text, f"{name} no longer holds {old!r}"
    return text.replace(old, new)
