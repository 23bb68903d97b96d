"""Append-only files that treadle knows nothing about: one JSON object per line, each written by one system call.

A line is written whole or not at all, also by a process that is killed the next instant, and lines of many processes
never mix: the kernel holds the file while it appends.
"""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Line = dict[str, Any]

BODIES = "bodies.jsonl"
OFFERED = "offered.jsonl"
ACKNOWLEDGED = "acknowledged.jsonl"
FAULTS = "faults.jsonl"
LEDGER = "ledger.jsonl"
COUNTS = "counts.jsonl"


class Journal:
    """One file, opened for appending. Safe in threads, in many processes and after a fork."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def write(self, **line: Any) -> None:
        """Append one line, stamped with the wall clock (`t`)."""
        text = (json.dumps({"t": time.time(), **line}) + "\n").encode()
        written = os.write(self._file, text)
        assert written == len(text), f"only {written} of {len(text)} bytes were written"

    def close(self) -> None:
        os.close(self._file)


def read(path: Path) -> list[Line]:
    """Every line of a file, in the order of writing; none when there is no file."""
    return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


class Tail:
    """Reads on where it stopped the last time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def news(self) -> Iterator[Line]:
        """The lines written since the last call. A line under way is left for the next."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._offset += len(line)
                yield json.loads(line)
