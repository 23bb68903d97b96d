"""The verbs of producers, `enqueue`, and of small shared facts, `write`."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from treadle.engine.admission import check_write, distinct, rooms_woken_by
from treadle.engine.keying import Keyring, names_of
from treadle.engine.keying import because_of as replaced_by
from treadle.engine.memory.family import Fate, because_of, fate, is_free, settle_children, tell_children
from treadle.engine.memory.gating import call_next, look_soon
from treadle.engine.memory.row import Row
from treadle.engine.memory.turn import Turn
from treadle.model.job import Edge, Enqueued, JobId, NewJob, Stored, micros
from treadle.model.record import Record, Space, Write, Written
from treadle.model.state import State


class _Verdict(NamedTuple):
    """What would become of a job, and which other job has its key, if one speaks against it."""

    stored: Stored
    holder: JobId | None = None


def enqueue(turn: Turn, jobs: Sequence[NewJob]) -> list[Enqueued]:
    """Store every job, or say of each why not."""
    for job in jobs:
        if job.guard is not None:
            check_write(job.guard.write)
    ring = _keyring(turn, jobs)
    verdicts = _judge(turn, jobs, ring)
    if any(verdict.stored is Stored.UNKNOWN_PARENT for verdict in verdicts):
        return [_refused(turn, job, verdict, ring) for job, verdict in zip(jobs, verdicts, strict=True)]
    stored = [job for job, verdict in zip(jobs, verdicts, strict=True) if verdict.stored is Stored.STORED]
    _take_keys(turn, ring)
    for job in stored:
        if job.guard is not None:
            write_one(turn, job.guard.write)
        turn.tables.put_job(_row(turn, job))
    _settle_families(turn, [job.id for job in stored], ring)
    for job in stored:
        row = turn.tables.jobs[job.id]
        if is_free(row):
            turn.enter(row)
    call_next(turn)
    return [_answer(turn, job, verdict) for job, verdict in zip(jobs, verdicts, strict=True)]


def _take_keys(turn: Turn, ring: Keyring) -> None:
    """Give the new jobs their keys; who waited with one of them is cancelled."""
    for name, holding in ring.taken.items():
        turn.tables.put_key(name, holding)
    for old, new in ring.replaced.items():
        if old not in ring.batch:
            turn.end(turn.tables.jobs[old], State.CANCELLED, replaced_by(new))
    settle_children(turn)


def _settle_families(turn: Turn, stored: list[JobId], ring: Keyring) -> None:
    """Cancel those of the batch that were replaced in it, and tell every new job how its parents stand."""
    for old in ring.batch & ring.replaced.keys():
        turn.end(turn.tables.jobs[old], State.CANCELLED, replaced_by(ring.replaced[old]))
    for job in stored:
        _judge_parents(turn, turn.tables.jobs[job])
    while turn.ended:
        ended, turn.ended = turn.ended, []
        tell_children(turn, ended)


def _keyring(turn: Turn, jobs: Sequence[NewJob]) -> Keyring:
    names = {name for job in jobs for name in names_of(job)}
    held = {name: turn.tables.keys[name] for name in names if name in turn.tables.keys}
    holders = {holding.job for holding in held.values()}
    states = {job: turn.tables.jobs[job].state for job in holders if job in turn.tables.jobs}
    return Keyring(turn.now, held, states)


def _judge(turn: Turn, jobs: Sequence[NewJob], ring: Keyring) -> list[_Verdict]:
    """What would become of each job; nothing is written yet."""
    versions: dict[tuple[Space, str], int] = {}
    verdicts = [_judge_one(turn, job, ring, versions) for job in jobs]
    for index, job in enumerate(jobs):
        if verdicts[index].stored is Stored.STORED and any(
            edge.parent not in turn.tables.jobs and edge.parent not in ring.batch for edge in job.edges
        ):
            verdicts[index] = _Verdict(Stored.UNKNOWN_PARENT)
    return verdicts


def _judge_one(turn: Turn, job: NewJob, ring: Keyring, versions: dict[tuple[Space, str], int]) -> _Verdict:
    if job.id in turn.tables.jobs or job.id in ring.batch:
        return _Verdict(Stored.ALREADY)
    against = ring.judge(job)
    if against is not None:
        return _Verdict(*against)
    if job.guard is not None and not _passes(turn, job.guard.write, versions):
        return _Verdict(Stored.GUARDED)
    ring.take(job)
    return _Verdict(Stored.STORED)


def _passes(turn: Turn, write: Write, versions: dict[tuple[Space, str], int]) -> bool:
    """Whether a guard holds, given the versions that the guards before it will leave behind."""
    at = (write.space, write.key)
    version = versions.get(at, _version(turn, write))
    if write.expect is not None and write.expect != version:
        return False
    versions[at] = 0 if write.value is None else version + 1
    return True


def _answer(turn: Turn, job: NewJob, verdict: _Verdict) -> Enqueued:
    told = verdict.holder or job.id
    row = None if verdict.stored is Stored.GUARDED else turn.tables.jobs.get(told)
    return Enqueued(told, verdict.stored, None if row is None else row.state)


def _refused(turn: Turn, job: NewJob, verdict: _Verdict, ring: Keyring) -> Enqueued:
    """The answer when nothing of the batch is stored: what was said because of another new job does not stand."""
    told = verdict.holder or job.id
    if verdict.stored is Stored.UNKNOWN_PARENT:
        return Enqueued(job.id, Stored.UNKNOWN_PARENT, None)
    if told in ring.batch and verdict.stored is not Stored.GUARDED:
        return Enqueued(job.id, Stored.REFUSED, None)
    row = None if verdict.stored is Stored.GUARDED else turn.tables.jobs.get(told)
    return Enqueued(told, verdict.stored, None if row is None else row.state)


def _row(turn: Turn, job: NewJob) -> Row:
    due_at = job.run_at if job.delay is None else turn.after(job.delay)
    start_by = None
    if job.start_within is not None:
        start_by = (turn.now if due_at is None else due_at) + micros(job.start_within)
    parents: dict[JobId, Edge] = {}
    for edge in job.edges:
        parents.setdefault(edge.parent, edge)
    return Row(
        id=job.id,
        number=turn.tables.next_number(),
        task=job.task,
        version=job.version,
        codec=job.codec,
        queue=job.queue,
        priority=job.priority,
        args=job.args,
        options=job.options,
        headers=job.headers,
        tags=tuple(job.tags),
        key=job.key,
        max_crashes=job.max_crashes,
        enqueued_at=turn.now,
        due_at=due_at,
        start_by=start_by,
        edges=tuple(parents.values()),
        waits_for=frozenset(parents),
        holds=distinct(job.holds),
        ordering=job.ordering,
        fair=job.fair,
        unique=job.unique,
    )


def _judge_parents(turn: Turn, row: Row) -> None:
    """Let go of the parents that no longer matter, or cancel the row with one that ended badly."""
    if row.state.final:
        return
    fates = {edge.parent: fate(turn.tables.jobs[edge.parent], edge.on_dead) for edge in row.edges}
    cancelled_by = next((parent for parent, its in fates.items() if its is Fate.CANCEL), None)
    if cancelled_by is not None:
        turn.end(row, State.CANCELLED, because_of(cancelled_by))
    elif fates:
        waits_for = frozenset(parent for parent, its in fates.items() if its is Fate.WAIT)
        turn.tables.put_job(replace(row, waits_for=waits_for))


def write(turn: Turn, writes: Sequence[Write]) -> list[Written]:
    """Compare-and-set each record on its own, in order."""
    for each in writes:
        check_write(each)
    return [write_one(turn, each) for each in writes]


def write_one(turn: Turn, write: Write) -> Written:
    """Compare-and-set one record."""
    version = _version(turn, write)
    if write.expect is not None and write.expect != version:
        return Written(False, version)
    if write.value is None:
        turn.tables.put_record(write.space, write.key, None)
        if write.space is Space.PAUSED:
            turn.topics.add(f"queue:{write.key}")
    else:
        turn.tables.put_record(write.space, write.key, Record(write.space, write.key, write.value, version + 1))
    rooms = rooms_woken_by(write)
    if rooms is not None:
        look_soon(turn, *rooms)
    return Written(True, 0 if write.value is None else version + 1)


def _version(turn: Turn, write: Write) -> int:
    record = turn.tables.records.get((write.space, write.key))
    return 0 if record is None else record.version
