"""Claims from a queue in which gated jobs wait: each is judged in its turn, started with what it holds, or parked.

The rows of the keys that are judged by are held until the commit, so that two workers never give away the same room.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from treadle.engine.admission import MOST_JUDGED, RECHECK, WHOLE, Admission, Key
from treadle.engine.plan import Steps
from treadle.engine.postgres.rooms import hold_asks, to_rooms, watch, write_rooms
from treadle.engine.postgres.statements import Statements
from treadle.engine.postgres.steps import Ask, Asks, Do, Rows, columns, numbers
from treadle.engine.rows import to_holds
from treadle.model.flow import Hold
from treadle.model.job import Micros

CHUNK = 100
"""Gated jobs read at a time; more where more may start, and one that says whether there are others."""
_TOP = (-32767, -1, -1)
"""Before the first place of any queue."""

Stand = tuple[int, int, int]


class Candidate(NamedTuple):
    """A queued job, sorted by where it stands; `place` is its place in its `line`."""

    priority: int
    seq: int
    n: int
    suspect: int
    holds: str | None = None
    place: int | None = None
    line: str | None = None


class Judged(NamedTuple):
    """A gated job with its holds, and whether it is first in its line."""

    holds: tuple[Hold, ...]
    first: bool


@dataclass(slots=True)
class GatedClaim:
    """What one claim may still take over all its queues, and what it has judged so far.

    `seen` says of each queue that was looked at whether gated jobs wait there.
    """

    sql: Statements
    values: dict[str, Any]
    suspects: int
    gated: int
    admission: Admission
    judged: int = 0
    more: bool = False
    seen: dict[str, bool] = field(default_factory=dict[str, bool])
    _writing: set[str] = field(default_factory=set[str])
    _started: list[tuple[str, str, int]] = field(default_factory=list[tuple[str, str, int]])
    _parked: list[tuple[Any, ...]] = field(default_factory=list[tuple[Any, ...]])
    _full: set[Key] = field(default_factory=set[Key])
    _picked: list[int] = field(default_factory=list[int])
    _written: list[int] = field(default_factory=list[int])

    def asks(self, queue: str, wanted: int) -> list[Ask]:
        """What is to be asked before `take` begins."""
        values = self.values | {"queue": queue, "take": wanted, "suspects": self.suspects}
        return [Ask(self.sql("claim", "ungated"), values), *self._next(queue, self._chunk, _TOP)]

    def begin(self, k: int, now: Micros) -> None:
        """The lease holds, at this moment: it has this number."""
        self.values = self.values | {"k": k, "now": now}
        self.admission.now = now

    def take(self, queue: str, wanted: int, answers: Sequence[Rows] | None = None) -> Steps[list[int]]:
        """Claim the first jobs of a queue that may start; gated ones that may not are parked on the way."""
        if wanted <= 0:
            return []
        chunk = self._chunk
        yield from self._start()
        told: Sequence[Rows] = (yield Asks(self.asks(queue, wanted))) if answers is None else answers
        ungated = sorted(Candidate(*row) for row in told[0])
        waiting, answering = [Candidate(*row) for row in told[1]], told[2:]
        picked: list[int] = []
        self.seen[queue] = bool(waiting)
        while True:
            last: Stand | None = waiting[-1][:3] if len(waiting) == chunk else None
            known = yield from self._known(waiting, answering)
            goes_on = yield from self._merge(iter(ungated), waiting, known, last, wanted, picked)
            if not goes_on or last is None:
                return picked
            ungated = [each for each in ungated if each[:3] > last]
            chunk = self._chunk
            yield from self._start()
            told = yield Asks(self._next(queue, chunk, last))
            waiting, answering = [Candidate(*row) for row in told[0]], told[1:]

    @property
    def _chunk(self) -> int:
        return max(CHUNK, min(self.gated, MOST_JUDGED - self.judged) + 1) if self._judges else 1

    @property
    def _judges(self) -> bool:
        return self.gated > 0 and self.judged < MOST_JUDGED

    def _next(self, queue: str, chunk: int, last: Stand) -> list[Ask]:
        """What reads the next gated jobs, and holds what is needed to judge them."""
        values = {
            "queue": queue,
            "chunk": chunk,
            "suspects": self.suspects,
            "high": -last[0],
            "after": last[1],
            "behind": last[2],
        }
        read = Ask(self.sql("claim", "gated"), self.values | values)
        if not self._judges:
            return [read]
        none = {"name": None, "key": None}
        of_limits = [Ask(self.sql(*part), none) for part in (("claim", "lock-starts"), ("flows", "lock-limits"))]
        of_jobs = [Ask(self.sql("claim", part)) for part in ("first", "hold")]
        return [read, *of_limits, *hold_asks(self.sql, None), *of_jobs]

    def _known(self, waiting: Sequence[Candidate], answers: Sequence[Rows]) -> Steps[dict[int, Judged]]:
        """How these jobs can be judged; those about which somebody else decides now are not in the answer."""
        if not waiting or not answers:
            return {}
        self._writing |= {name for (name,) in answers[1]}
        rooms = yield from to_rooms(self.sql, answers[2:7], self.admission.now)
        self.admission.rooms = rooms | self.admission.rooms
        holds = {each.n: to_holds(each.holds) for each in waiting}
        firsts: dict[str, int] = dict(answers[-2])
        # Who was sent elsewhere and came back since he was read has another seq, and perhaps another place in his line.
        ours = set(answers[-1])
        standing = self.admission.rooms
        ready = {
            each: all((hold.limit, hold.key) in standing and (hold.limit, WHOLE) in standing for hold in each)
            for each in set(holds.values())
        }
        return {
            each.n: Judged(holds[each.n], each.line is None or each.place == firsts[each.line])
            for each in waiting
            if (each.n, each.seq) in ours and ready[holds[each.n]] and (each.line is None or each.line in firsts)
        }

    def _merge(
        self,
        ungated: Iterator[Candidate],
        waiting: Sequence[Candidate],
        known: dict[int, Judged],
        last: Stand | None,
        wanted: int,
        picked: list[int],
    ) -> Steps[bool]:
        """Pick in order, up to the `last` gated job that was read; false when the queue is done with."""
        before = len(picked)
        goes_on = True
        others = [one for one in ungated if last is None or one[:3] < last]
        for each in sorted([*waiting, *others]) if others else waiting:
            if len(picked) == wanted:
                goes_on = False
                break
            if each.suspect and self.suspects <= 0:
                continue
            if each.holds is not None or each.line is not None:
                if self.gated <= 0 or self.judged >= MOST_JUDGED:
                    self.more, goes_on = True, False
                    break
                if each.n not in known:
                    # Counted as well: where a whole limit was in others' hands, a claim read all 40,000 behind, and gave none.
                    self.judged += 1
                    self.more = True
                    continue
                if not self._judge(each, known[each.n]):
                    continue
            picked.append(each.n)
            self.suspects -= each.suspect
        yield from self._write(picked[before:])
        return goes_on and len(picked) < wanted

    def _judge(self, each: Candidate, known: Judged) -> bool:
        self.judged += 1
        obstacle = self.admission.judge(known.holds, each[:3], first=known.first)
        if obstacle is None:
            self.gated -= 1
            if len(known.holds) > 1:
                self._started += [(hold.limit, hold.key, each.n) for hold in known.holds]
            return True
        cost = next((hold.cost for hold in known.holds if (hold.limit, hold.key) == obstacle.at), 1)
        limit, key = obstacle.at or (None, None)
        self._parked.append((each.n, obstacle.cause, limit, key, cost, -each.priority, each.seq))
        if obstacle.at is not None and obstacle.until is None:
            self._full.add(obstacle.at)
        if limit in self._writing and obstacle.at is not None:
            # The rule that parked it is being changed, and whoever changes it may not see it here.
            self.admission.rooms[obstacle.at].wake(self.admission.now + RECHECK)
        return False

    def _write(self, picked: Sequence[int]) -> Steps[None]:
        """Park what was decided since the last time; what was picked starts before the next look at a queue."""
        if self._started:
            yield Do(self.sql("flows", "hold"), columns(("name", "key", "n"), self._started))
        if self._parked:
            names = ("n", "blocked_on", "name", "key", "cost", "priority", "seq")
            at = [row for row in self._parked if row[2] is not None]
            if at:
                yield Do(self.sql("flows", "park"), columns(names, at))
            yield Do(self.sql("flows", "block"), columns(names, self._parked))
        self._picked += picked
        self._started.clear()
        self._parked.clear()

    def _start(self) -> Steps[None]:
        if self._picked:
            yield Do(*self._starting())
            self._written += self._picked
            self._picked = []

    def _starting(self) -> Ask:
        return Ask(self.sql("claim", "start"), self.values | {"ns": numbers(self._picked)})

    def close(self) -> Steps[list[Ask]]:
        """Write down what the keys of limits have come to; returns what is asked for the jobs that were picked."""
        now = self.admission.now
        yield from write_rooms(self.sql, self.admission.rooms.values(), now)
        if self._full:
            yield from self._start()
            yield from watch(self.sql, [self.admission.rooms[key] for key in self._full], now)
        asks = [self._starting()] if self._picked else []
        if self._written or not asks:
            asks.append(Ask(self.sql("claim", "chosen"), {"ns": numbers(self._written)}))
        return asks
