"""What the checker judges: files written by others than treadle, and treadle's own account of the same time."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from . import journal
from .journal import Line


class Body(NamedTuple):
    """A line that a job's body wrote when it began or when it was done. `worker` is the pid of the worker it ran under."""

    event: str
    job: str
    attempt: int
    t: float
    kind: str
    pid: int
    worker: int


class Fault(NamedTuple):
    """One thing done to the fleet or to its store. `what` names the target, `workers` the worker pids it ended or froze.

    `supervised` says that whoever watches over the victim lived on. `until` is when a frozen victim was woken, or when an
    outage of the store, which hits everybody, was over.
    """

    act: str
    what: str
    t: float
    workers: tuple[int, ...]
    supervised: bool
    until: float | None = None


class Try(NamedTuple):
    """One attempt that the store says did not complete. Times are seconds of the wall clock."""

    attempt: int
    outcome: str
    worker: int
    started: float
    ended: float
    delay: float
    exit: str | None


class Entry(NamedTuple):
    """One job as the store tells it in the end. `result_attempt` is the attempt that wrote the result, as the body said.

    `claimed` is when its last attempt was claimed.
    """

    job: str
    state: str
    attempt: int
    claimed: float | None
    result_attempt: int | None
    cause: str | None
    crashes: int
    tries: tuple[Try, ...]

    def recorded(self, *outcomes: str) -> set[int]:
        """The attempts that the store recorded with one of these outcomes."""
        return {each.attempt for each in self.tries if each.outcome in outcomes}


@dataclass(frozen=True)
class History:
    """One run. `offered` are the ids of enqueues that were tried, `acknowledged` of those that were answered."""

    offered: frozenset[str]
    acknowledged: tuple[str, ...]
    bodies: tuple[Body, ...]
    faults: tuple[Fault, ...]
    ledger: tuple[Entry, ...]
    counts: dict[str, int]
    lease: float


def load(folder: Path, *, lease: float) -> History:
    """The history that lies in a folder; `lease` is the workers' lease in seconds."""
    return History(
        offered=frozenset(line["job"] for line in journal.read(folder / journal.OFFERED)),
        acknowledged=tuple(line["job"] for line in journal.read(folder / journal.ACKNOWLEDGED)),
        bodies=tuple(_body(line) for line in journal.read(folder / journal.BODIES)),
        faults=_faults(journal.read(folder / journal.FAULTS)),
        ledger=tuple(_entry(line) for line in journal.read(folder / journal.LEDGER)),
        counts={line["state"]: line["count"] for line in journal.read(folder / journal.COUNTS)},
        lease=lease,
    )


def _body(line: Line) -> Body:
    return Body(**{name: line[name] for name in Body._fields})


def _entry(line: Line) -> Entry:
    fields = {name: line[name] for name in Entry._fields if name != "tries"}
    return Entry(**fields, tries=tuple(Try(**each) for each in line["tries"]))


def _faults(lines: list[Line]) -> tuple[Fault, ...]:
    """Faults in order; a freeze and an outage learn from the line that ended them how long they lasted."""
    ends = {(line["ends"], line["number"]): line["t"] for line in lines if "ends" in line}
    return tuple(
        Fault(
            line["act"],
            line["what"],
            line["t"],
            tuple(line["workers"]),
            line["supervised"],
            ends.get((line["act"], line.get("number"))),
        )
        for line in lines
        if line["act"] in ("kill", "freeze", "outage")
    )
