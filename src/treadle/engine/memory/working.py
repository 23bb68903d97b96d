"""The verbs of workers: `claim`, `settle`, `renew`, `note`."""

from collections.abc import Sequence
from dataclasses import replace

from treadle.engine.memory.attempt import end_attempt
from treadle.engine.memory.family import settle_children
from treadle.engine.memory.row import Row, claimed
from treadle.engine.memory.tables import Holding
from treadle.engine.memory.turn import Turn
from treadle.model.job import Claims, LeaseId, Renewal, Want, WorkerInfo, micros
from treadle.model.outcome import Crashed, Note, NoteKind, Settlement, Verdict
from treadle.model.record import Space
from treadle.model.state import State


def claim(turn: Turn, lease: LeaseId, wants: Sequence[Want], tasks: Sequence[str], suspects: int) -> Claims:
    """Move queued jobs to `running` under a lease."""
    if not turn.holds(lease):
        return Claims([], lost=True)
    known = frozenset(tasks)
    taken: list[list[Row]] = [[] for _ in wants]
    left = sum(want.take for want in wants)
    for shares in ([want.take for want in wants], [want.up_to for want in wants]):
        for want, share, got in zip(wants, shares, taken, strict=True):
            rows = _pick(turn, want.queue, min(share - len(got), left), known, suspects)
            suspects -= sum(row.suspect for row in rows)
            left -= len(rows)
            got.extend(_take(turn, row, lease) for row in rows)
    return Claims([claimed(row) for got in taken for row in got], lost=False)


def _pick(turn: Turn, queue: str, wanted: int, tasks: frozenset[str], suspects: int) -> list[Row]:
    """The first rows of a queue that may be claimed."""
    picked: list[Row] = []
    if (Space.PAUSED, queue) in turn.tables.records:
        return picked
    for _, _, job in turn.tables.ready.get(queue, ()):
        if len(picked) >= wanted:
            break
        row = turn.tables.jobs[job]
        if row.task not in tasks or row.late(turn.now):
            continue
        if row.suspect:
            if suspects <= 0:
                continue
            suspects -= 1
        picked.append(row)
    return picked


def _take(turn: Turn, row: Row, lease: LeaseId) -> Row:
    return turn.tables.put_job(
        replace(row, state=State.RUNNING, lease=lease, attempt=row.attempt + 1, claimed_at=turn.now),
    )


def settle(turn: Turn, lease: LeaseId, settlements: Sequence[Settlement]) -> list[Verdict]:
    """End attempts, then tell the children once for the whole batch."""
    verdicts = [_settle_one(turn, lease, each) for each in settlements]
    settle_children(turn)
    return verdicts


def _settle_one(turn: Turn, lease: LeaseId, settlement: Settlement) -> Verdict:
    row = turn.tables.jobs.get(settlement.id)
    if row is None or (row.number, row.attempt) != (settlement.ref, settlement.attempt):
        return Verdict.LOST
    if row.state is State.COMPLETED:
        return Verdict.ALREADY
    if row.lease != lease or not turn.holds(lease):
        return Verdict.LOST
    outcome = settlement.outcome
    seen = outcome.exit if isinstance(outcome, Crashed) else None
    end_attempt(turn, row, outcome, said=type(outcome).__name__.lower(), exit_seen=seen)
    return Verdict.DONE


def renew(turn: Turn, lease: LeaseId, beat: int, length: float, worker: WorkerInfo | None) -> Renewal:
    """Open or extend a lease, and collect cancel requests."""
    holding = turn.tables.leases.get(lease)
    if holding is None and beat == 0 and worker is not None:
        holding = Holding(lease, worker, turn.now, turn.now, turn.moment.tick)
    elif holding is None or not turn.holds(lease):
        return Renewal(lost=True, cancels=[])
    span = micros(length)
    turn.tables.put_lease(holding._replace(ends_at=turn.now + span, ends_tick=turn.moment.tick + span))
    running = turn.oldest_first(turn.tables.running.get(lease, set()))
    return Renewal(lost=False, cancels=[row.id for row in running if row.cancel_requested])


def note(turn: Turn, lease: LeaseId, notes: Sequence[Note]) -> list[Verdict]:
    """Write down what running jobs say in mid-run."""
    return [_note_one(turn, lease, each) for each in notes]


def _note_one(turn: Turn, lease: LeaseId, note: Note) -> Verdict:
    row = turn.tables.jobs.get(note.id)
    if row is None or (row.number, row.attempt) != (note.ref, note.attempt) or row.lease != lease or not turn.holds(lease):
        return Verdict.LOST
    row = replace(row, notes={**row.notes, (note.kind, note.name): note.value})
    match note.kind:
        case NoteKind.PROGRESS:
            row = replace(row, progress=note.value)
        case NoteKind.STUCK:
            row = replace(row, stuck=True)
    turn.tables.put_job(row)
    return Verdict.DONE
