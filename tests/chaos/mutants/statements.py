"""Changes statements of the SQLite engine before it reads them."""

from treadle.engine import source

TRUE = source._read


def rewrite(changes: dict[str, tuple[str, str]]) -> None:
    """Replace, in each statement named `verb/part`, one text by another. A text that is not there is an error: a mutant
    that no longer breaks anything must not pass for one that was caught.
    """

    def read(package: str) -> dict[str, str]:
        parts = dict(TRUE(package))
        for name, (old, new) in changes.items():
            assert old in parts[name], f"{name} no longer holds {old!r}"
            parts[name] = parts[name].replace(old, new)
        return parts

    source._read = read
