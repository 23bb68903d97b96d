"""The verbs of workers: `claim`, `settle`, `renew`, `note`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from treadle.engine.admission import MOST_JUDGED, Admission, throttled_for
from treadle.engine.memory.attempt import end_attempt
from treadle.engine.memory.family import settle_children
from treadle.engine.memory.gating import call_next, judge, keep, throttle
from treadle.engine.memory.row import Row, claimed
from treadle.engine.memory.tables import Holding
from treadle.engine.memory.turn import Turn
from treadle.model.job import Claims, LeaseId, Renewal, Want, WorkerInfo, micros
from treadle.model.outcome import Crashed, Note, NoteKind, Settlement, Verdict
from treadle.model.record import Space, paused_task
from treadle.model.state import State


@dataclass(slots=True)
class _Taking:
    """What one claim may still take, over all its wants."""

    tasks: frozenset[str]
    suspects: int
    gated: int
    judged: int
    more: bool
    admission: Admission

    def pick(self, turn: Turn, queue: str, wanted: int) -> Iterator[Row]:
        """The first rows of a queue that may start; gated ones that may not are parked on the way."""
        if (Space.PAUSED, queue) in turn.tables.records:
            return
        for *_, job in list(turn.tables.ready.get(queue, ())):
            row = turn.tables.jobs[job]
            if row.task not in self.tasks or row.late(turn.now) or (row.suspect and self.suspects <= 0):
                continue
            if wanted <= 0:
                return
            if row.gated:
                if self.gated <= 0 or self.judged <= 0:
                    self.more = True
                    return
                self.judged -= 1
                if judge(turn, self.admission, row) is not None:
                    continue
                self.gated -= 1
            wanted -= 1
            self.suspects -= row.suspect
            yield row


def claim(turn: Turn, lease: LeaseId, wants: Sequence[Want], tasks: Sequence[str], suspects: int, gated: int) -> Claims:
    """Move queued jobs to `running` under a lease."""
    if not turn.holds(lease):
        return Claims([], lost=True)
    known = frozenset(task for task in tasks if (Space.PAUSED, paused_task(task)) not in turn.tables.records)
    taking = _Taking(known, suspects, gated, MOST_JUDGED, False, Admission(turn.now))
    taken: list[list[Row]] = [[] for _ in wants]
    left = sum(want.take for want in wants)
    for shares in ([want.take for want in wants], [want.up_to for want in wants]):
        for want, share, got in zip(wants, shares, taken, strict=True):
            rows = [_take(turn, row, lease) for row in taking.pick(turn, want.queue, min(share - len(got), left))]
            left -= len(rows)
            got.extend(rows)
    for seen in taking.admission.rooms.values():
        keep(turn, seen)
    jobs = [claimed(row) for got in taken for row in got]
    return Claims(jobs, lost=False, more=taking.more, wakes_at=taking.admission.wakes_at)


def _take(turn: Turn, row: Row, lease: LeaseId) -> Row:
    return turn.tables.put_job(
        replace(row, state=State.RUNNING, lease=lease, attempt=row.attempt + 1, claimed_at=turn.now),
    )


def settle(turn: Turn, lease: LeaseId, settlements: Sequence[Settlement]) -> list[Verdict]:
    """End attempts, then tell the children once for the whole batch."""
    verdicts = [_settle_one(turn, lease, each) for each in settlements]
    settle_children(turn)
    call_next(turn)
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
        case NoteKind.THROTTLE:
            limit, _, key = note.name.partition("\n")
            throttle(turn, (limit, key), throttled_for(note.value))
    turn.tables.put_job(row)
    return Verdict.DONE
