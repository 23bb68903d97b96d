"""Which files a census counts: those of the folder, by package, and the deliberately broken ones."""

import hashlib
import os
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from treadle.model.errors import BadInput

BROKEN = "deliberately broken"
TOP = "(top level)"
_FLAKY = 6


@dataclass(frozen=True, slots=True)
class Source:
    """One file to measure: where it is, what it is called in the report, and its package.

    `flaky` files fail to be read the first time, so that retries can be seen.
    """

    path: str
    name: str
    package: str
    flaky: bool


@dataclass(frozen=True, slots=True)
class Inventory:
    """Every file of one census, in order of package and name. `skipped` have names that are not text."""

    folder: str
    sources: Sequence[Source]
    skipped: int

    def packages(self) -> dict[str, list[Source]]:
        """The files by package, in order."""
        found: dict[str, list[Source]] = {}
        for source in self.sources:
            found.setdefault(source.package, []).append(source)
        return found


def standard_library() -> Path:
    """Where the running Python keeps its own library."""
    return Path(sysconfig.get_path("stdlib"))


def broken_folder() -> Path:
    """The folder of files that cannot be parsed: inside an installed package, or beside a source checkout.

    Raises `BadInput` when neither exists.
    """
    installed = Path(__file__).parent / "broken"
    checkout = Path(__file__).parents[4] / "examples" / "census" / "broken"
    for folder in (installed, checkout):
        if folder.is_dir():
            return folder
    raise BadInput(str(installed), "the examples of broken files are missing", "Install treadle again.")


def take_inventory(folder: Path) -> Inventory:
    """Every `.py` file below `folder`, and the broken examples.

    The standard library is taken without the packages installed into it. Raises `BadInput` when `folder` cannot be read
    or holds no Python.
    """
    folder = folder.resolve()
    if not folder.is_dir() or not os.access(folder, os.R_OK | os.X_OK):
        raise BadInput(str(folder), "is not a folder that can be read", "Name a folder of Python files.")
    bare = folder == standard_library().resolve()
    found = sorted(_walk(folder, {"site-packages", "dist-packages"} if bare else set()))
    texts = [name for name in found if _is_text(name)]
    if not texts:
        raise BadInput(str(folder), "holds no .py file", "Name a folder of Python files.")
    flaky = set(sorted(texts, key=lambda name: hashlib.sha256(name.encode()).digest())[:_FLAKY])
    sources = [Source(str(folder / name), name, str(Path(name).parent), name in flaky) for name in texts]
    sources = [Source(each.path, each.name, TOP if each.package == "." else each.package, each.flaky) for each in sources]
    broken = broken_folder()
    if folder != broken.resolve():
        sources += [Source(str(broken / name), f"{BROKEN}/{name}", BROKEN, False) for name in sorted(_walk(broken, set()))]
    sources.sort(key=lambda each: (each.package, each.name))
    return Inventory(str(folder), sources, len(found) - len(texts))


def _walk(folder: Path, without: set[str]) -> Iterator[str]:
    """The names of `.py` files below `folder`, relative to it. Links to folders are not followed; pipes are no files."""
    for where, folders, names in os.walk(folder):
        folders[:] = [each for each in folders if each not in without and each != "__pycache__"]
        for name in names:
            path = Path(where, name)
            if name.endswith(".py") and (path.is_file() or path.is_symlink()):
                yield str(path.relative_to(folder))


def _is_text(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
