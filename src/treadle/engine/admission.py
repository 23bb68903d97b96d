"""Whether a gated job may start, and which parked ones may be judged again: pure, from what an engine has read to what it
shall write. Engines that judge in their own language do as is done here.

A *room* is one key of a limit as it stands in this step; the room under the key `WHOLE` is the limit as a whole, at which is
parked what waits for a closed limit. Rates are counted by one moment per room (`tat`, the theoretical arrival time of the
generic cell rate algorithm): the moment at which nothing that has started counts any more.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from treadle.model.errors import InvalidOption
from treadle.model.flow import Hold, Rule
from treadle.model.job import Micros
from treadle.model.record import Space, Write
from treadle.model.state import BlockedOn

MOST_JUDGED = 1000
"""Gated jobs judged in one claim: the bound on what those that may not start cost it."""
RECHECK: Micros = 1_000_000
"""How long those who were freed have time to start before others are freed in their stead."""
FAR: Micros = 2**62
"""No debt of a rate reaches further: stores keep moments in 64 bits, and the largest cost at the longest interval has more."""
LEAST_WEIGHT = 0.001
"""Of a tenant: with less the places of its jobs would leave the whole numbers that engines keep."""
WHOLE = "\n"
"""The key of the room that is a limit as a whole. No hold can have it: keys hold no line breaks."""

Key = tuple[str, str]
Stand = tuple[int, int, int]
"""Where a job stands in its queue: its priority with the sign turned, its seq, and a number that grows with its age."""


class Obstacle(NamedTuple):
    """What stops a job: the room it is parked at (None: it is not its turn), the cause, and until when if that is known."""

    at: Key | None
    cause: BlockedOn
    until: Micros | None = None


@dataclass(slots=True)
class Room:
    """One key of a limit, or a limit as a whole, as it stands in this step.

    `interval` is that of the rule under which `tat` was counted. `log` holds (moment, cost) of the starts under a strict rule,
    oldest first. `closed_until` is a throttle. `front` is the first that is parked here, `wakes_at` when that is looked at.
    """

    limit: str
    key: str
    rule: Rule
    running: int = 0
    front: Stand | None = None
    paused: bool = False
    tat: Micros = 0
    interval: int = 0
    closed_until: Micros = 0
    wakes_at: Micros | None = None
    log: list[tuple[Micros, int]] = field(default_factory=list[tuple[Micros, int]])
    started: int = 0
    changed: bool = False

    def wake(self, at: Micros | None) -> None:
        """Look at what is parked here at `at`, if that is earlier than before."""
        if at is not None and (self.wakes_at is None or at < self.wakes_at):
            self.wakes_at = at
            self.changed = True

    def obstacle(self, cost: int, now: Micros) -> Obstacle | None:
        """What this room alone has against a start of this cost."""
        rule, here = self.rule, (self.limit, self.key)
        if self.key == WHOLE:
            if rule.closed_until is None:
                return None
            if now < rule.closed_until:
                return Obstacle(here, BlockedOn.LIMIT, rule.closed_until)
            return Obstacle(here, BlockedOn.LIMIT) if self.running >= rule.probes else None
        if self.paused:
            return Obstacle(here, BlockedOn.KEY)
        if now < self.closed_until:
            return Obstacle(here, BlockedOn.LIMIT, self.closed_until)
        if rule.concurrency is not None and self.running >= rule.concurrency:
            return Obstacle(here, BlockedOn.KEY)
        if rule.rate is None:
            return None
        self.adapt(now)
        opens_at = self._opens_at(cost, now)
        return Obstacle(here, BlockedOn.LIMIT, opens_at) if opens_at > now else None

    def most(self) -> int | None:
        """How many jobs could start here at once at most; None if nothing bounds them."""
        rule = self.rule
        if self.key == WHOLE:
            return None if rule.closed_until is None else rule.probes
        rated = None if rule.rate is None else rule.rate if rule.strict else rule.burst
        return min((bound for bound in (rated, rule.concurrency) if bound is not None), default=None)

    def start(self, cost: int, now: Micros) -> None:
        """Take a slot, and charge the rate."""
        self.running += 1
        rule = self.rule
        if self.key == WHOLE or rule.rate is None or rule.period is None:
            return
        self.changed = True
        if rule.strict:
            self.tat, self.interval = now + rule.period, rule.period
            self.log.append((now, cost))
            self.started += cost
        else:
            self.interval = rule.interval
            self.tat = min(FAR, max(self.tat, now) + cost * self.interval)

    def _opens_at(self, cost: int, now: Micros) -> Micros:
        """The moment from which a start of this cost fits the rate; now or before, if it does."""
        rule = self.rule
        if rule.rate is None or rule.period is None:
            return now
        if not rule.strict:
            return self.tat - max(rule.burst - cost, 0) * rule.interval
        counted = [(at, spent) for at, spent in self.log if at > now - rule.period]
        used = sum(spent for _, spent in counted)
        for at, spent in counted:
            if used + cost <= rule.rate:
                return now
            used -= spent
            if used == 0 or used + cost <= rule.rate:
                return at + rule.period
        return now

    def adapt(self, now: Micros) -> None:
        """Count on under the rule of today: what is owed stays owed in starts, whatever a start is worth now."""
        if self.interval == 0 or self.rule.strict:
            return
        interval = self.rule.interval
        if interval in (0, self.interval):
            return
        if self.tat > now:
            self.tat = min(FAR, now - (now - self.tat) * interval // self.interval)
        self.interval = interval
        self.changed = True


@dataclass(slots=True)
class Admission:
    """Judges one claim's gated jobs one after the other, each seeing the starts before it.

    `wakes_at` is the earliest moment at which those that were parked, or others because of them, are looked at.
    """

    now: Micros
    rooms: dict[Key, Room] = field(default_factory=dict[Key, Room])
    wakes_at: Micros | None = None

    def judge(self, holds: tuple[Hold, ...], stand: Stand, *, first: bool) -> Obstacle | None:
        """Start a job, or say what stops it; `first` tells whether it is first in line of its ordering, if it has one."""
        if not first:
            return self._park(Obstacle(None, BlockedOn.KEY), holds, stand)
        rooms, now = self.rooms, self.now
        for hold in holds:
            obstacle = self._at(rooms[hold.limit, WHOLE], hold, stand) or self._at(rooms[hold.limit, hold.key], hold, stand)
            if obstacle is not None:
                return self._park(obstacle, holds, stand)
        for hold in holds:
            rooms[hold.limit, hold.key].start(hold.cost, now)
        for limit in {hold.limit for hold in holds} if len(holds) > 1 else [hold.limit for hold in holds]:
            rooms[limit, WHOLE].start(1, now)
        return None

    def _at(self, room: Room, hold: Hold, stand: Stand) -> Obstacle | None:
        obstacle = room.obstacle(hold.cost, self.now)
        if obstacle is None and room.front is not None and room.front < stand:
            # Whoever fits where others wait before it would take their room each time, and a large cost would wait for ever.
            return Obstacle((room.limit, room.key), BlockedOn.KEY, self.now)
        return obstacle

    def _park(self, obstacle: Obstacle, holds: Sequence[Hold], stand: Stand) -> Obstacle:
        if obstacle.at is not None:
            room = self.rooms[obstacle.at]
            room.front = stand if room.front is None else min(room.front, stand)
            self._wake(room, obstacle.until)
        for hold in holds:
            other = self.rooms[hold.limit, hold.key]
            if other.front is not None and obstacle.at != (hold.limit, hold.key):
                self._wake(other, self.now)
        return obstacle

    def _wake(self, room: Room, at: Micros | None) -> None:
        room.wake(at)
        self.wakes_at = min((each for each in (self.wakes_at, room.wakes_at) if each is not None), default=None)


def release(room: Room, costs: Iterable[int], *, more: bool, now: Micros, ended: bool = False) -> int:
    """How many of those parked first in a room, with these costs, go back to be judged; sets when to look again.

    `more` says that others are parked behind them. `ended`: it is the end of attempts that brings us here, so that what was
    to be looked at earlier still is.
    """
    room.adapt(now)
    trial = replace(room, log=list(room.log))
    freed, stopped = 0, False
    until: Micros | None = None
    for cost in costs:
        obstacle = trial.obstacle(cost, now)
        if obstacle is not None:
            until, stopped = obstacle.until, True
            break
        trial.start(cost, now)
        freed += 1
    if more and not stopped:
        until = now + RECHECK if ended else now
    elif stopped and freed:
        until = now + RECHECK if until is None else min(until, now + RECHECK)
    if ended and (more or stopped) and room.wakes_at is not None:
        until = room.wakes_at if until is None else min(until, room.wakes_at)
    room.changed = room.changed or until != room.wakes_at
    room.wakes_at = until
    return freed


def rooms_of(holds: Iterable[Hold]) -> list[Key]:
    """The rooms that must be known to judge jobs with these holds."""
    return list(dict.fromkeys(key for hold in holds for key in ((hold.limit, WHOLE), (hold.limit, hold.key))))


def distinct(holds: Sequence[Hold]) -> tuple[Hold, ...]:
    """Holds without those on a limit and key named before."""
    first: dict[Key, Hold] = {}
    for hold in holds:
        first.setdefault((hold.limit, hold.key), Hold(*hold))
    return tuple(first.values())


def throttled_for(value: str) -> float:
    """The seconds that a throttle note asks for; 0 for what is no number of them."""
    try:
        seconds: object = json.loads(value)
    except ValueError:
        return 0.0
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 < seconds < 1e9:
        return 0.0
    return float(seconds)


def check_write(write: Write) -> None:
    """Raise `InvalidOption` for a rule or for weights that do not read as such."""
    if write.value is None or write.space not in (Space.LIMIT, Space.FAIR):
        return
    if write.space is Space.LIMIT:
        Rule.from_text(write.value)
    else:
        weights(write.value)
    _check_readable(write.value)


def _check_readable(text: str) -> None:
    """Raise `InvalidOption` for JSON that Python reads and another engine does not, wherever it stands."""
    rule = "what engines judge by is JSON without NaN, infinities, NUL and halves of characters"

    def refuse(word: str) -> None:
        raise InvalidOption(word, rule, "Leave it out.")

    plain = json.dumps(json.loads(text, parse_constant=refuse), ensure_ascii=False)
    if "\\u0000" in plain or any("\ud800" <= each <= "\udfff" for each in plain):
        raise InvalidOption(text, rule, "Leave it out.")


def rooms_woken_by(write: Write) -> tuple[str, str | None] | None:
    """The limit, and its key (None: all of them), that the next `promote` looks at because of this write."""
    if write.space is Space.LIMIT:
        return write.key, None
    kind, _, rest = write.key.partition("\n")
    if write.space is Space.PAUSED and kind == "key" and write.value is None:
        limit, _, key = rest.partition("\n")
        return limit, key
    return None


def weights(text: str | None) -> dict[str, float]:
    """The weights of a queue's tenants, from its record. Raises `InvalidOption`."""
    try:
        found: object = {} if text is None else json.loads(text)
    except ValueError:
        found = None
    checked: dict[str, float] = {}
    if isinstance(found, dict):
        for tenant, weight in found.items():  # pyright: ignore[reportUnknownVariableType]
            if isinstance(weight, (int, float)) and not isinstance(weight, bool) and LEAST_WEIGHT <= weight <= 1e6:
                checked[str(tenant)] = weight  # pyright: ignore[reportUnknownArgumentType]
        if len(checked) == len(found):  # pyright: ignore[reportUnknownArgumentType]
            return checked
    raise InvalidOption(
        text, "weights are a JSON object of numbers from 0.001 to a million by tenant", 'Write for example {"paid": 3}.'
    )
