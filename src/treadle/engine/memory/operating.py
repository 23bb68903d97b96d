"""The verb of operators that changes things: `alter`."""

from dataclasses import replace

from treadle.engine.alteration import remark
from treadle.engine.keying import Kind, Returning, take_back
from treadle.engine.memory.family import settle_children
from treadle.engine.memory.gating import call_next
from treadle.engine.memory.looking import matching
from treadle.engine.memory.row import Row
from treadle.engine.memory.tables import AuditLine
from treadle.engine.memory.turn import Turn
from treadle.model.filter import Altered, Annotate, Cancel, Change, Erase, Filter, Prioritise, Replay, Resolve
from treadle.model.job import JobId
from treadle.model.state import BlockedOn, State

WAITING = frozenset({State.SCHEDULED, State.BLOCKED, State.QUEUED, State.RETRYING})
SENT_AT_ONCE = frozenset({State.SCHEDULED, State.RETRYING})
SENT_BACK = frozenset({State.DEAD, State.CANCELLED, State.EXPIRED})


def alter(turn: Turn, where: Filter, change: Change, actor: str | None, limit: int) -> list[Altered]:
    """Apply one change to the oldest jobs that match, and write the audit line."""
    rows = matching(turn.tables, where)[:limit]
    altered = [_alter_one(turn, row, change, actor) for row in rows]
    settle_children(turn)
    if isinstance(change, Erase):
        for each in altered:
            if each.done:
                turn.tables.drop_job(each.id)
                _forget_keys(turn, each.id)
    call_next(turn)
    changed = tuple(each.id for each in altered if each.done)
    if changed and actor is not None:
        turn.tables.put_audit(AuditLine(turn.now, actor, type(change).__name__.lower(), changed, remark(change)))
    return altered


def _alter_one(turn: Turn, row: Row, change: Change, actor: str | None) -> Altered:
    match change:
        case Cancel():
            after = _cancel(turn, row, change)
        case Replay():
            holder = _taken_by(turn, row, change)
            if holder is not None:
                return Altered(row.id, row.state, row.state, done=False, holder=holder)
            after = _replay(turn, row, change, actor)
        case Resolve():
            after = _resolve(turn, row, change, actor)
        case Annotate():
            after = _annotate(turn, row, change)
        case Prioritise():
            after = _prioritise(turn, row, change)
        case Erase():
            return _erase(turn, row)
    if after is None:
        return Altered(row.id, row.state, row.state, done=False)
    return Altered(row.id, row.state, after.state, done=True)


def _cancel(turn: Turn, row: Row, change: Cancel) -> Row | None:
    if row.state in WAITING:
        return turn.end(row, State.CANCELLED, change.reason)
    if row.state is not State.RUNNING:
        return None
    turn.topics.add(f"lease:{row.lease}")
    return turn.tables.put_job(replace(row, cancel_requested=True, reason=change.reason))


def _may_replay(row: Row, change: Replay) -> bool:
    return row.state in SENT_BACK or (row.state in SENT_AT_ONCE and change.delay <= 0)


def _taken_by(turn: Turn, row: Row, change: Replay) -> JobId | None:
    """Who has the key that this job wants back; if nobody, it has it from now on."""
    if row.unique is None or not _may_replay(row, change):
        return None
    name = (Kind.UNIQUE, row.unique.key)
    before = turn.tables.keys.get(name)
    held = {} if before is None else {row.unique.key: before}
    states = {job: turn.tables.jobs[job].state for job in (each.job for each in held.values()) if job in turn.tables.jobs}
    target = State.SCHEDULED if change.delay > 0 else State.QUEUED
    refused = take_back([Returning(row.id, row.unique.key, row.unique.during, row.enqueued_at)], held, states, target)
    if held.get(row.unique.key) != before:
        turn.tables.put_key(name, held[row.unique.key])
    return refused.get(row.id)


def _replay(turn: Turn, row: Row, change: Replay, actor: str | None) -> Row | None:
    if not _may_replay(row, change):
        return None
    letter = row.dead
    if row.state is State.DEAD and letter is not None:
        note = letter.note if change.note is None else change.note
        letter = letter._replace(status="replayed", changed_by=actor, changed_at=turn.now, note=note)
    fresh = replace(
        row,
        args=row.args if change.args is None else change.args,
        failures=0,
        crashes=0,
        snoozes=0,
        releases=0,
        first_failed_at=None,
        start_by=None,
        due_at=turn.after(change.delay) if change.delay > 0 else None,
        finished_at=None,
        suspect=False,
        result=None,
        reason=None,
        dead=letter,
    )
    return turn.enter(fresh)


def _resolve(turn: Turn, row: Row, change: Resolve, actor: str | None) -> Row | None:
    if not row.letter_open or row.dead is None:
        return None
    note = row.dead.note if change.note is None else change.note
    letter = row.dead._replace(status="resolved", changed_by=actor, changed_at=turn.now, note=note)
    closed = turn.tables.put_job(turn.leave_line(replace(row, dead=letter)))
    turn.ended.append(closed)
    return closed


def _annotate(turn: Turn, row: Row, change: Annotate) -> Row | None:
    if row.dead is None:
        return None
    return turn.tables.put_job(replace(row, dead=row.dead._replace(note=change.note)))


def _prioritise(turn: Turn, row: Row, change: Prioritise) -> Row | None:
    if row.state not in WAITING:
        return None
    if row.priority == change.priority:
        return row
    row = replace(row, priority=change.priority)
    if row.state is State.QUEUED or (row.state is State.BLOCKED and row.blocked_on is not BlockedOn.PARENTS):
        return turn.queue(replace(row, parked_at=None))
    return turn.tables.put_job(row)


def _erase(turn: Turn, row: Row) -> Altered:
    if row.state is State.RUNNING:
        return Altered(row.id, row.state, row.state, done=False)
    if row.state in WAITING:
        turn.end(row, State.CANCELLED)
    else:
        turn.ended.append(turn.tables.put_job(turn.leave_line(replace(row, state=State.CANCELLED))))
    return Altered(row.id, row.state, None, done=True)


def _forget_keys(turn: Turn, job: JobId) -> None:
    for name, holding in list(turn.tables.keys.items()):
        if holding.job == job:
            turn.tables.put_key(name, None)
