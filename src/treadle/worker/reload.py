"""Notices when the Python files of a project change, for `treadle dev`."""

import importlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

IGNORED = frozenset({"__pycache__", "node_modules", "site-packages", "venv", "build", "dist"})
LOOK = 0.5
"""Seconds between two looks, where the system's own notices are not available."""


class Watch:
    """Calls `changed` with the paths of Python files below `folder` that were written, added or removed.

    In a thread of its own, until the block ends. Uses `watchfiles` when it is installed, else compares modification times.
    """

    def __init__(self, folder: Path, changed: Callable[[list[str]], None], *, by_notice: bool | None = None) -> None:
        self._folder = folder
        self._changed = changed
        self._stop = threading.Event()
        self._notices = _watchfiles() if by_notice in (None, True) else None
        self._thread = threading.Thread(target=self._serve, name="treadle reload", daemon=True)

    def __enter__(self) -> "Watch":
        # Taken before the thread starts: a change right after this line counts.
        self._seen = dict(modified(self._folder))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(5.0)

    def _serve(self) -> None:
        if self._notices is None:
            while not self._stop.wait(LOOK):
                self._look()
            return
        # The notices say when to look; the times say what changed, so that both ways agree on what counts.
        for _ in self._notices(
            self._folder, stop_event=self._stop, watch_filter=_python, debounce=200, rust_timeout=500, yield_on_timeout=True
        ):
            self._look()

    def _look(self) -> None:
        now = dict(modified(self._folder))
        changed = sorted(path for path in self._seen.keys() | now.keys() if self._seen.get(path) != now.get(path))
        self._seen = now
        if changed:
            self._changed(changed)


def modified(folder: Path) -> Iterator[tuple[str, tuple[int, int]]]:
    """Each Python file below a folder with its modification time and size; hidden and generated folders are left out."""
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".") and name not in IGNORED]
        for name in files:
            if name.endswith(".py"):
                path = os.path.join(place, name)  # noqa: PTH118 - the hot line of a walk
                try:
                    found = os.stat(path)  # noqa: PTH116
                except OSError:
                    continue
                yield path, (found.st_mtime_ns, found.st_size)


def _watchfiles() -> Callable[..., Any] | None:
    try:
        watch: Callable[..., Any] = importlib.import_module("watchfiles").watch
    except ImportError:
        return None
    return watch


def _python(_: object, path: str) -> bool:
    """Whether a notice is about a Python file: the store beside the code changes all the time."""
    return path.endswith(".py")
