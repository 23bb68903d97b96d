"""What running bodies say in mid-run, coalesced until the next exchange with the store."""

import threading
from collections.abc import Callable

from treadle.model.job import Claimed
from treadle.model.outcome import Note, NoteKind


class Notes:
    """Keeps the latest note of each (job, kind, name): a body may report a million times and write a few."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._lock = threading.Lock()
        self._pending: dict[tuple[str, NoteKind, str], Note] = {}

    def add(self, claimed: Claimed, kind: NoteKind, name: str, value: str) -> None:
        """Replace what was pending under the same name. Any thread may call; never blocks on the store."""
        note = Note(claimed.ref, claimed.id, claimed.attempt, kind, name, value)
        with self._lock:
            first = not self._pending
            self._pending[(claimed.id, kind, name)] = note
        if first:
            self._changed()

    def __bool__(self) -> bool:
        return bool(self._pending)

    def take(self) -> list[Note]:
        """Everything pending; the caller writes it or puts it back."""
        with self._lock:
            notes = list(self._pending.values())
            self._pending.clear()
        return notes

    def put_back(self, notes: list[Note]) -> None:
        """The store was not reached: keep these unless something newer was said meanwhile."""
        with self._lock:
            for note in notes:
                self._pending.setdefault((note.id, note.kind, note.name), note)
