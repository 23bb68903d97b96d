"""The verbs of producers, `enqueue`, and of small shared facts, `write`."""

from collections.abc import Sequence
from dataclasses import replace

from treadle.engine.memory.family import Fate, because_of, fate, is_free, tell_children
from treadle.engine.memory.row import Row
from treadle.engine.memory.turn import Turn
from treadle.model.job import Edge, Enqueued, JobId, NewJob, Stored, micros
from treadle.model.record import Record, Space, Write, Written
from treadle.model.state import State


def enqueue(turn: Turn, jobs: Sequence[NewJob]) -> list[Enqueued]:
    """Store every job, or say of each why not."""
    verdicts = _judge(turn, jobs)
    if Stored.UNKNOWN_PARENT in verdicts:
        return [_refused(turn, job, verdict) for job, verdict in zip(jobs, verdicts, strict=True)]
    stored = [job for job, verdict in zip(jobs, verdicts, strict=True) if verdict is Stored.STORED]
    for job in stored:
        if job.guard is not None:
            write_one(turn, job.guard.write)
        turn.tables.put_job(_row(turn, job))
    for job in stored:
        _judge_parents(turn, turn.tables.jobs[job.id])
    while turn.ended:
        ended, turn.ended = turn.ended, []
        tell_children(turn, ended)
    for job in stored:
        row = turn.tables.jobs[job.id]
        if is_free(row):
            turn.enter(row)
    return [
        Enqueued(job.id, verdict, None if verdict is Stored.GUARDED else turn.tables.jobs[job.id].state)
        for job, verdict in zip(jobs, verdicts, strict=True)
    ]


def _judge(turn: Turn, jobs: Sequence[NewJob]) -> list[Stored]:
    """What would become of each job; nothing is written yet."""
    batch: set[JobId] = set()
    versions: dict[tuple[Space, str], int] = {}
    verdicts: list[Stored] = []
    for job in jobs:
        if job.id in turn.tables.jobs or job.id in batch:
            verdicts.append(Stored.ALREADY)
        elif job.guard is not None and not _passes(turn, job.guard.write, versions):
            verdicts.append(Stored.GUARDED)
        else:
            batch.add(job.id)
            verdicts.append(Stored.STORED)
    for index, job in enumerate(jobs):
        if verdicts[index] is Stored.STORED and any(
            edge.parent not in turn.tables.jobs and edge.parent not in batch for edge in job.edges
        ):
            verdicts[index] = Stored.UNKNOWN_PARENT
    return verdicts


def _passes(turn: Turn, write: Write, versions: dict[tuple[Space, str], int]) -> bool:
    """Whether a guard holds, given the versions that the guards before it will leave behind."""
    at = (write.space, write.key)
    version = versions.get(at, _version(turn, write))
    if write.expect is not None and write.expect != version:
        return False
    versions[at] = 0 if write.value is None else version + 1
    return True


def _refused(turn: Turn, job: NewJob, verdict: Stored) -> Enqueued:
    stored = turn.tables.jobs.get(job.id)
    if verdict is Stored.STORED or (verdict is Stored.ALREADY and stored is None):
        verdict = Stored.REFUSED
    return Enqueued(job.id, verdict, stored.state if stored else None)


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
    )


def _judge_parents(turn: Turn, row: Row) -> None:
    """Let go of the parents that no longer matter, or cancel the row with one that ended badly."""
    fates = {edge.parent: fate(turn.tables.jobs[edge.parent], edge.on_dead) for edge in row.edges}
    cancelled_by = next((parent for parent, its in fates.items() if its is Fate.CANCEL), None)
    if cancelled_by is not None:
        turn.end(row, State.CANCELLED, because_of(cancelled_by))
    elif fates:
        waits_for = frozenset(parent for parent, its in fates.items() if its is Fate.WAIT)
        turn.tables.put_job(replace(row, waits_for=waits_for))


def write(turn: Turn, writes: Sequence[Write]) -> list[Written]:
    """Compare-and-set each record on its own, in order."""
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
        return Written(True, 0)
    turn.tables.put_record(write.space, write.key, Record(write.space, write.key, write.value, version + 1))
    return Written(True, version + 1)


def _version(turn: Turn, write: Write) -> int:
    record = turn.tables.records.get((write.space, write.key))
    return 0 if record is None else record.version
