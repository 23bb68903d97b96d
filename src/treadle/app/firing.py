"""Firing slots: what one scheduler finds to do, as a value, and the plan that does it.

Looking and doing are two steps, so that nothing is held in between: a scheduler may stop there for a week, or for good.
What it then does rests on the record's version that it saw, and comes to nothing if anybody was faster.
"""

from collections.abc import Sequence
from typing import NamedTuple

from treadle.app.book import Book, Declared, read_book
from treadle.app.schedule import Schedule, stored_catch_up
from treadle.app.slot import SlotKind, slot_id, spread
from treadle.engine.contract import Engine
from treadle.engine.plan import Plan, Steps
from treadle.model.filter import Filter, Page
from treadle.model.job import Edge, JobId, LeaseId, Micros, NewJob, OnDead, Stored
from treadle.model.record import Guard, Record, Space, Write
from treadle.model.state import State
from treadle.policy.catching_up import AT_ONCE, ON_TIME, Decision, Overlap, Passed, decide


class Move(NamedTuple):
    """Something to do about a schedule, seen at one version of its record (0: there is none yet).

    Without a decision, the schedule is to be declared as `declared`.
    """

    name: str
    declared: Declared
    book: Book | None
    version: int
    decision: Decision | None


class Moved(NamedTuple):
    """What came of a move: the slots whose jobs were enqueued here, and whether to look again at once.

    `aside` names the lease of a newer worker that declares the schedule differently, where there is one: nothing was done.
    """

    fired: tuple[Micros, ...] = ()
    again: bool = False
    aside: LeaseId | None = None


def look(engine: Engine, names: Sequence[str]) -> Plan[dict[str, Record]]:
    """What the store keeps of these schedules, by name."""

    def begin() -> Steps[dict[str, Record]]:
        return {each.key: each for each in (yield from engine.read(Space.SCHEDULE, sorted(names)).begin())}

    return Plan("read", begin)


def judge(schedule: Schedule, record: Record | None, now: Micros) -> Move | None:
    """What there is to do about a schedule at this moment; None for nothing."""
    declared = schedule.declared()
    if record is None:
        return Move(schedule.name, declared, None, 0, None)
    book = read_book(record)
    if book.declared != declared:
        return Move(schedule.name, declared, book, record.version, None)
    if book.paused is not None:
        return None
    decision = decide(schedule.rule, book.through, now, *stored_catch_up(declared))
    return None if decision is None else Move(schedule.name, declared, book, record.version, decision)


def carry_out(engine: Engine, move: Move, now: Micros, me: LeaseId) -> Plan[Moved]:
    """Do what was found to do, unless somebody else did. `me` is the lease of the worker that does it."""

    def begin() -> Steps[Moved]:
        if move.book is None:
            first = Book(move.declared, through=now, by=me, since=now)
            yield from engine.write([first.write(move.name, 0)]).begin()
            return Moved(again=True)
        if move.decision is None:
            return (yield from _declare(engine, move, move.book, now, me))
        return (yield from _fire(engine, move, move.book, move.decision, now))

    return Plan("schedule", begin)


def _declare(engine: Engine, move: Move, book: Book, now: Micros, me: LeaseId) -> Steps[Moved]:
    """Of workers that declare a schedule differently, the one that started last has the say, for as long as it lives."""
    alive = {each.id: (each.started_at, each.id) for each in (yield from engine.leases().begin()) if each.expires_in > 0}
    if book.by in alive and me in alive and alive[book.by] > alive[me]:
        return Moved(aside=book.by)
    yield from engine.write([book.redeclared(move.declared, me, now).write(move.name, move.version)]).begin()
    return Moved(again=True)


def _fire(engine: Engine, move: Move, book: Book, decision: Decision, now: Micros) -> Steps[Moved]:
    overlap = Overlap(book.declared.overlap)
    going = None if overlap is Overlap.ALLOW else (yield from _going(engine, book.last))
    fired: list[Micros] = []
    kept, version = book, move.version
    for passed in decision.passed:
        book = book.after_passing(passed)
    for slot in decision.fire:
        if going == "waiting" or (going == "begun" and overlap is Overlap.SKIP):
            book = book.after_passing(Passed(slot, slot, 1, "the job of an earlier slot has not ended"))
            continue
        job = _job(move.name, book.declared, slot, now)
        if going == "begun" and book.last is not None:
            job.edges = (Edge(book.last, OnDead.RUN),)
        book = book.after_firing(slot, job.id)
        # One slot at a time: in a batch, a later guard could hold where an earlier one failed, by somebody else's one write.
        stored = yield from _enqueue(engine, job, book.write(move.name, version))
        if stored is None:
            return Moved(tuple(fired), again=True)
        if stored:
            fired.append(slot)
        kept, version = book, version + 1
        going = None if overlap is Overlap.ALLOW else "waiting"
    if book != kept:
        yield from engine.write([book.write(move.name, version)]).begin()
    return Moved(tuple(fired), again=len(decision.fire) == AT_ONCE)


def _enqueue(engine: Engine, job: NewJob, write: Write) -> Steps[bool | None]:
    """Store a slot's job and the book that says so: True. None if somebody else wrote the book since; then neither is done."""
    job.guard = Guard(write)
    [answer] = yield from engine.enqueue([job]).begin()
    if answer.verdict is Stored.STORED:
        return True
    if answer.verdict is Stored.ALREADY:
        # Somebody filled this slot in beforehand: its job is there, so only the book has to follow.
        [written] = yield from engine.write([write]).begin()
        return False if written.done else None
    return None


def _going(engine: Engine, last: JobId | None) -> Steps[str | None]:
    """Where the job of the latest slot is: `waiting` for its first start, `begun`, or None for ended and gone."""
    if last is None:
        return None
    found = yield from engine.find(Filter(ids=(last,)), Page(limit=1)).begin()
    if not found or found[0].state.final:
        return None
    return "begun" if found[0].attempt > 0 or found[0].state is State.RUNNING else "waiting"


def _job(name: str, declared: Declared, slot: Micros, now: Micros) -> NewJob:
    job = declared.template.job(slot_id(name, slot), name, slot, declared.zone, SlotKind.SLOT)
    due = spread(name, slot, declared.jitter)
    if due >= now - ON_TIME:
        # The store's own clock lets it go, should ours be ahead. One that is caught up with begins its start-by time now.
        job.run_at = due
    return job
