"""Gated jobs: what a claim must know to judge one, where it is parked, and who comes back when there is room."""

from dataclasses import replace
from itertools import islice, takewhile

from treadle.engine.admission import WHOLE, Admission, Key, Obstacle, Room, release, rooms_of
from treadle.engine.memory.row import Row
from treadle.engine.memory.tables import Meter
from treadle.engine.memory.turn import Turn
from treadle.model.flow import Gate, Rule
from treadle.model.record import Space, paused_key
from treadle.model.state import BlockedOn, State


def room(turn: Turn, key: Key) -> Room:
    """One key of a limit as it stands."""
    tables = turn.tables
    record = tables.records.get((Space.LIMIT, key[0]))
    meter = tables.meters.get(key, Meter())
    parked = tables.parked.get(key)
    return Room(
        *key,
        rule=Rule() if record is None else Rule.from_text(record.value),
        running=len(tables.slots.get(key, ())),
        front=parked[0][:3] if parked else None,
        paused=(Space.PAUSED, paused_key(*key)) in tables.records,
        tat=meter.tat,
        interval=meter.interval,
        closed_until=meter.closed_until,
        wakes_at=meter.wakes_at,
        log=list(meter.log),
    )


def keep(turn: Turn, seen: Room) -> None:
    """Remember a room that has changed."""
    if seen.changed:
        span = seen.rule.period or 0
        log = tuple(entry for entry in seen.log if entry[0] > turn.now - span)
        turn.tables.put_meter((seen.limit, seen.key), Meter(seen.tat, seen.interval, seen.closed_until, seen.wakes_at, log))


def judge(turn: Turn, admission: Admission, row: Row) -> Obstacle | None:
    """Let a gated row start, or park it."""
    for key in rooms_of(row.holds):
        if key not in admission.rooms:
            admission.rooms[key] = room(turn, key)
    first = row.ordering is None or turn.tables.lines[row.ordering.key][0][-1] == row.id
    obstacle = admission.judge(row.holds, (-row.priority, row.seq, row.number), first=first)
    if obstacle is not None:
        turn.tables.put_job(replace(row, state=State.BLOCKED, blocked_on=obstacle.cause, parked_at=obstacle.at))
    return obstacle


def call_next(turn: Turn) -> None:
    """Call whom the ends of this turn made room for: the first in line, and the first parked of each key."""
    for line in sorted(turn.moved):
        _call_first(turn, line)
    for key in sorted(turn.freed):
        seen = room(turn, key)
        bounded = seen.rule.closed_until is not None if key[1] == WHOLE else seen.rule.concurrency is not None
        if bounded and seen.front is not None:
            _call(turn, seen, turn.freed[key], ended=True)
    turn.moved.clear()
    turn.freed.clear()


def look(turn: Turn, limit: int) -> int:
    """Look at the keys whose moment has come; returns how many jobs came back."""
    due = list(takewhile(lambda wake: wake[0] <= turn.now, islice(turn.tables.wakes, limit)))
    left = limit
    for _, key in due:
        if left > 0:
            left -= _call(turn, room(turn, key), left, ended=False)
    return limit - left


def _call_first(turn: Turn, line: str) -> None:
    waiting = turn.tables.lines.get(line)
    if waiting:
        row = turn.tables.jobs[waiting[0][-1]]
        if row.state is State.BLOCKED and row.blocked_on is BlockedOn.KEY and row.parked_at is None:
            _come_back(turn, row)


def _call(turn: Turn, seen: Room, most: int, *, ended: bool) -> int:
    at = (seen.limit, seen.key)
    parked = turn.tables.parked.get(at, [])
    # As many are looked at as go back, and one: with 20,000 parked at one key each look took 10 ms when all were.
    rows = (turn.tables.jobs[entry[-1]] for entry in islice(parked, most))
    costs = (next((h.cost for h in row.holds if (h.limit, h.key) == at), 1) for row in rows)
    count = release(seen, costs, more=len(parked) > most, now=turn.now, ended=ended)
    for row in [turn.tables.jobs[entry[-1]] for entry in parked[:count]]:
        _come_back(turn, row)
    keep(turn, seen)
    return count


def _come_back(turn: Turn, row: Row) -> None:
    turn.topics.add(f"queue:{row.queue}")
    turn.tables.put_job(replace(row, state=State.QUEUED, parked_at=None))


def throttle(turn: Turn, key: Key, seconds: float) -> None:
    """Close a key for some seconds from now, if it is not closed for longer."""
    until = turn.after(seconds)
    meter = turn.tables.meters.get(key, Meter())
    if until > max(turn.now, meter.closed_until):
        turn.tables.put_meter(key, meter._replace(closed_until=until))


def look_soon(turn: Turn, limit: str, key: str | None = None) -> None:
    """Have the next `promote` look at what is parked at a limit, or at one key of it."""
    for each in [each for each, parked in turn.tables.parked.items() if parked]:
        if each[0] == limit and key in (None, each[1]):
            seen = room(turn, each)
            seen.wake(turn.now)
            keep(turn, seen)


def gates(turn: Turn, limits: frozenset[str] | None, limit: int) -> list[Gate]:
    """The keys of limits at which jobs run or are parked."""
    tables = turn.tables
    keys = {key for key in tables.slots if key[1] != WHOLE} | {key for key, parked in tables.parked.items() if parked}
    chosen = sorted(key for key in keys if limits is None or key[0] in limits)[:limit]
    return [_gate(turn, key) for key in chosen]


def _gate(turn: Turn, key: Key) -> Gate:
    running = 0 if key[1] == WHOLE else len(turn.tables.slots.get(key, ()))
    parked = len(turn.tables.parked.get(key, ()))
    wakes_at = turn.tables.meters.get(key, Meter()).wakes_at
    return Gate(key[0], None if key[1] == WHOLE else key[1], running, parked, wakes_at)
