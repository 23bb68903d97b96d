"""Turns stored rows into the model's values, and values into the JSON text that carries a batch. Shared by engines."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from treadle.engine.admission import WHOLE
from treadle.model.flow import Hold, Parked
from treadle.model.job import AttemptRecord, Claimed, DeadLetter, Job, JobId, OnDead, WorkerInfo
from treadle.model.state import State

Row = Sequence[Any]
Kin = tuple[JobId, OnDead, State]

_encode = msgspec.json.Encoder().encode
_decode_holds = msgspec.json.Decoder(tuple[Hold, ...]).decode
_decode_states = msgspec.json.Decoder(tuple[State, ...]).decode
_decode_strings = msgspec.json.Decoder(tuple[str, ...]).decode

to_claimed: Callable[[str], list[Claimed]] = msgspec.json.Decoder(list[Claimed]).decode
"""Decode one JSON text of rows, in the order of `Claimed`, straight into claimed jobs."""


def to_text(batch: object) -> str:
    """The JSON text of a batch: an array of arrays."""
    return _encode(batch).decode()


def to_strings(text: str | None) -> tuple[str, ...]:
    """A stored JSON array of strings; None is empty."""
    return () if text is None else _decode_strings(text)


def to_states(text: str) -> tuple[State, ...]:
    """A stored JSON array of states."""
    return _decode_states(text)


@lru_cache(maxsize=4096)
def to_holds(text: str | None) -> tuple[Hold, ...]:
    """Stored holds, as JSON arrays; None is empty. Many jobs ask for the same."""
    return () if text is None else _decode_holds(text)


def to_parked(row: Row) -> Parked:
    """Where a job is parked, from (limit, key, the first in line, its state); the first in line is null for the job itself."""
    limit, key, behind, state = row
    if limit is not None:
        return Parked(limit, None if key == WHOLE else key)
    return Parked() if behind is None else Parked(behind=behind, state=State(state))


def to_dead(row: Row) -> DeadLetter | None:
    """A dead letter from its eight columns, or None where they are all null."""
    return None if row[0] is None else DeadLetter(*row)


def to_job(row: Row) -> Job:
    """A job without details, from the columns of `Job` (id to progress, tags as JSON text) and the eight of a dead letter."""
    values: list[Any] = [
        *row[:6], State(row[6]), *row[7:20], bool(row[20]), bool(row[21]), bool(row[22]), row[23], to_strings(row[24]),
        *row[25:31], to_dead(row[31:39]),
    ]  # fmt: skip
    return Job(*values)


def to_attempts(rows: Iterable[Row]) -> dict[int, tuple[AttemptRecord, ...]]:
    """Attempts by job number, from rows of (number, the columns of `AttemptRecord`)."""
    found: dict[int, list[AttemptRecord]] = {}
    for row in rows:
        found.setdefault(row[0], []).append(AttemptRecord(*row[1:]))
    return {n: tuple(each) for n, each in found.items()}


def to_kin(rows: Iterable[Row]) -> dict[int, tuple[Kin, ...]]:
    """Parents or children by job number, from rows of (number, id, on_dead, state)."""
    found: dict[int, list[Kin]] = {}
    for n, job, on_dead, state in rows:
        found.setdefault(n, []).append((job, OnDead(on_dead), State(state)))
    return {n: tuple(each) for n, each in found.items()}


def to_notes(rows: Iterable[Row]) -> dict[int, Mapping[str, str]]:
    """Notes by job number, named `KIND` or `KIND/NAME`, from rows of (number, kind, name, value)."""
    found: dict[int, dict[str, str]] = {}
    for n, kind, name, value in rows:
        found.setdefault(n, {})[f"{kind}/{name}" if name else kind] = value
    return dict(found)


def to_worker(name: str, host: str, pid: int, queues: str, tasks: str, slots: int) -> WorkerInfo:
    """Who holds a lease, from its columns."""
    return WorkerInfo(name, host, pid, to_strings(queues), to_strings(tasks), slots)
