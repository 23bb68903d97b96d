"""The verbs that keep house: `promote`, `rescue`, `prune`."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice, takewhile

from treadle.engine.alteration import LINES
from treadle.engine.keying import Kind
from treadle.engine.memory.attempt import end_attempt
from treadle.engine.memory.family import settle_children
from treadle.engine.memory.gating import call_next, look
from treadle.engine.memory.row import Row
from treadle.engine.memory.turn import Turn
from treadle.model.filter import Retention
from treadle.model.job import Micros, Promoted, Rescued, Witness
from treadle.model.outcome import Crashed, Released
from treadle.model.state import LIVE, State


def promote(turn: Turn, limit: int) -> Promoted:
    """Expire what missed its start-by deadline and queue what is due, `limit` of each."""
    late = [job for start_by, _, _, job in turn.tables.deadlines[:limit] if start_by < turn.now]
    for job in late:
        turn.end(turn.tables.jobs[job], State.EXPIRED)
    due = list(islice(_due(turn), limit))
    for row in due:
        turn.queue(row)
    settle_children(turn)
    call_next(turn)
    freed = look(turn, limit)
    moments = [entry[0] for entry in turn.tables.due[:1]]
    moments += [wakes_at for wakes_at, _ in turn.tables.wakes[:1]]
    return Promoted(queued=len(due) + freed, expired=len(late), next_due=min(moments, default=None))


def _due(turn: Turn) -> Iterator[Row]:
    for due_at, _, _, job in turn.tables.due:
        if due_at > turn.now:
            return
        row = turn.tables.jobs[job]
        if not row.late(turn.now):
            yield row


def rescue(turn: Turn, witnesses: Sequence[Witness], delay: float) -> list[Rescued]:
    """Take back every job of leases that ran out or that a witness saw end, and remove those leases."""
    seen = {witness.lease: witness for witness in witnesses}
    ended = [lease for lease in sorted(turn.tables.leases) if lease in seen or not turn.holds(lease)]
    rescued: list[Rescued] = []
    for lease in ended:
        for row in turn.oldest_first(turn.tables.running.get(lease, set())):
            witness = seen.get(lease)
            exit_seen = None if witness is None else witness.exit
            if witness is not None and witness.spared and row.max_crashes > 1:
                after = end_attempt(turn, row, Released(), said="released", exit_seen=exit_seen)
            else:
                outcome = Crashed(exit_seen or "", delay)
                after = end_attempt(turn, replace(row, suspect=True), outcome, said="rescued", exit_seen=exit_seen)
            rescued.append(Rescued(row.id, row.attempt, lease, after.state))
        turn.tables.drop_lease(lease)
    settle_children(turn)
    call_next(turn)
    return rescued


def prune(turn: Turn, retention: Retention, limit: int) -> int:
    """Delete finished jobs older or more than `retention` allows, `limit` at most."""
    surplus = islice(_surplus(turn, retention), limit)
    doomed = list(surplus)
    for row in doomed:
        turn.tables.drop_job(row.id)
    for name, holding in list(turn.tables.keys.items()):
        kept = name[0] == Kind.UNIQUE and holding.job in turn.tables.jobs
        if not kept and (holding.until is None or holding.until <= turn.now):
            turn.tables.put_key(name, None)
    for key, meter in list(turn.tables.meters.items()):
        if meter.tat <= turn.now and meter.closed_until <= turn.now and meter.wakes_at is None:
            turn.tables.put_meter(key, None)
    old = takewhile(lambda line: _older(turn, line.at, retention.audit), turn.tables.audit[: LINES * limit])
    turn.tables.drop_audit(sum(1 for _ in old))
    return len(doomed)


def _surplus(turn: Turn, retention: Retention) -> Iterator[Row]:
    """What may go, state by state, the longest finished first."""
    completed = _finished(turn, State.COMPLETED)
    keep = len(completed) if retention.completed_count is None else retention.completed_count
    for place, row in enumerate(completed):
        if (place < len(completed) - keep or _older(turn, row.finished_at, retention.completed)) and not _needed(turn, row):
            yield row
    for state, age in ((State.CANCELLED, retention.cancelled), (State.EXPIRED, retention.expired)):
        for row in _finished(turn, state):
            if _older(turn, row.finished_at, age) and not _needed(turn, row):
                yield row
    for row in _finished(turn, State.DEAD):
        changed_at = None if row.dead is None or row.letter_open else row.dead.changed_at
        if _older(turn, changed_at, retention.dead) and not _needed(turn, row):
            yield row


def _finished(turn: Turn, state: State) -> list[Row]:
    rows = [row for row in turn.tables.jobs.values() if row.state is state]
    return sorted(rows, key=lambda row: (row.finished_at, row.age))


def _older(turn: Turn, since: Micros | None, age: float | None) -> bool:
    return since is not None and age is not None and since < turn.after(-age)


def _needed(turn: Turn, row: Row) -> bool:
    """True while a live job names this one as a parent."""
    return any(turn.tables.jobs[child].state in LIVE for child in turn.tables.children.get(row.id, ()))
