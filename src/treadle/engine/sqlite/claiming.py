"""Claims from a queue in which gated jobs wait: each is judged in its turn, started with what it holds, or parked."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from treadle.engine.admission import MOST_JUDGED, Admission, Obstacle, rooms_of
from treadle.engine.plan import Steps
from treadle.engine.rows import to_claimed, to_holds, to_text
from treadle.engine.source import Source
from treadle.engine.sqlite.rooms import read_rooms, write_rooms
from treadle.engine.sqlite.steps import Ask, Do
from treadle.model.flow import Hold
from treadle.model.job import Claimed

CHUNK = 100
"""Gated jobs read at a time; more where more may start, and one that says whether there are others."""


class Candidate(NamedTuple):
    """A queued job, sorted by where it stands. `place` and `first` are those of its line, and of the first in it."""

    priority: int
    seq: int
    n: int
    suspect: int
    holds: str | None = None
    place: int | None = None
    first: int | None = None


@dataclass(slots=True)
class GatedClaim:
    """What one claim may still take over all its queues, and what it has judged so far."""

    sql: Source
    values: dict[str, Any]
    suspects: int
    gated: int
    admission: Admission
    judged: int = 0
    more: bool = False
    _started: list[tuple[str, str, int]] = field(default_factory=list[tuple[str, str, int]])
    _parked: list[tuple[Any, ...]] = field(default_factory=list[tuple[Any, ...]])

    def take(self, queue: str, wanted: int) -> Steps[list[Claimed]]:
        """Claim the first jobs of a queue that may start; gated ones that may not are parked on the way."""
        values = self.values | {"queue": queue, "take": wanted, "suspects": self.suspects}
        if wanted <= 0 or (yield Ask(self.sql("claim", "paused"), values))[0][0]:
            return []
        ungated = [Candidate(*row) for row in (yield Ask(self.sql("claim", "ungated"), values))]
        picked: list[int] = []
        while True:
            left = min(self.gated, MOST_JUDGED - self.judged)
            chunk = max(CHUNK, left + 1) if left > 0 else 1
            rows = yield Ask(self.sql("claim", "gated"), values | {"chunk": chunk, "suspects": self.suspects})
            waiting = [Candidate(*row) for row in rows]
            ours = [to_holds(each.holds) for each in waiting]
            missing = [key for key in rooms_of(hold for holds in ours for hold in holds) if key not in self.admission.rooms]
            self.admission.rooms |= yield from read_rooms(self.sql, missing, self.admission.now)
            last = waiting[-1][:3] if len(rows) == chunk else None
            goes_on = yield from self._merge(iter(ungated), dict(zip(waiting, ours, strict=True)), last, wanted, picked)
            ungated = [each for each in ungated if last is not None and each[:3] > last]
            if not goes_on:
                return (yield from self._answer(picked))

    def _merge(
        self,
        ungated: Iterator[Candidate],
        waiting: dict[Candidate, tuple[Hold, ...]],
        last: Any,
        wanted: int,
        picked: list[int],
    ) -> Steps[bool]:
        """Pick in order, up to the `last` gated job that was read; false when the queue is done with."""
        before = len(picked)
        goes_on = last is not None
        for each in sorted([*waiting, *(one for one in ungated if last is None or one[:3] < last)]):
            if len(picked) == wanted:
                goes_on = False
                break
            if each.suspect and self.suspects <= 0:
                continue
            if each in waiting:
                if self.gated <= 0 or self.judged >= MOST_JUDGED:
                    self.more, goes_on = True, False
                    break
                if self._judge(each, waiting[each]) is not None:
                    continue
            picked.append(each.n)
            self.suspects -= each.suspect
        yield from self._write(picked[before:])
        return goes_on and len(picked) < wanted

    def _judge(self, each: Candidate, holds: tuple[Hold, ...]) -> Obstacle | None:
        self.judged += 1
        obstacle = self.admission.judge(holds, each[:3], first=each.place == each.first)
        if obstacle is None:
            self.gated -= 1
            self._started += [(hold.limit, hold.key, each.n) for hold in holds]
        else:
            cost = next((hold.cost for hold in holds if (hold.limit, hold.key) == obstacle.at), 1)
            limit, key = obstacle.at or (None, None)
            self._parked.append((each.n, obstacle.cause, limit, key, cost, each.priority, each.seq))
        return obstacle

    def _write(self, picked: Sequence[int]) -> Steps[None]:
        """Start and park what was decided since the last time."""
        if self._started:
            yield Do(self.sql("flows", "hold"), {"rows": to_text(self._started)})
        if self._parked:
            rows = {"rows": to_text(self._parked)}
            yield Do(self.sql("flows", "park"), rows)
            yield Do(self.sql("flows", "block"), rows)
        if picked:
            yield Do(self.sql("claim", "take"), self.values | {"ns": to_text(picked)})
        self._started.clear()
        self._parked.clear()

    def _answer(self, picked: Sequence[int]) -> Steps[list[Claimed]]:
        if not picked:
            return []
        rows = yield Ask(self.sql("claim", "chosen"), {"ns": to_text(picked)})
        return to_claimed(rows[0][0])

    def close(self) -> Steps[None]:
        """Write down what the keys of limits have come to."""
        yield from write_rooms(self.sql, self.admission.rooms.values(), self.admission.now)
