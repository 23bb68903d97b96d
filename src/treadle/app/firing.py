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
from treadle.model.record import Guard, Record, Space
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
    for passed in decision.passed:
        book = book.after_passing(passed)
    jobs: list[NewJob] = []
    books: list[Book] = []
    for slot in decision.fire:
        if going == "waiting" or (going == "begun" and overlap is Overlap.SKIP):
            book = book.after_passing(Passed(slot, slot, 1, "the job of an earlier slot has not ended"))
            continue
        job = _job(move.name, book.declared, slot, now)
        if going == "begun" and book.last is not None:
            job.edges = (Edge(book.last, OnDead.RUN),)
        book = book.after_firing(slot, job.id)
        job.guard = Guard(book.write(move.name, move.version + len(jobs)))
        jobs.append(job)
        books.append(book)
        going = None if overlap is Overlap.ALLOW else "waiting"
    answers = (yield from engine.enqueue(jobs).begin()) if jobs else []
    stored = next((place for place, each in enumerate(answers) if each.verdict is not Stored.STORED), len(jobs))
    fired = tuple(each.through for each in books[:stored])
    if stored < len(jobs):
        if answers[stored].verdict is Stored.ALREADY:
            # Somebody filled this slot in beforehand: its job is there, so only the book has to follow.
            yield from engine.write([books[stored].write(move.name, move.version + stored)]).begin()
        return Moved(fired, again=True)
    if books[-1:] != [book]:
        yield from engine.write([book.write(move.name, move.version + stored)]).begin()
    return Moved(fired, again=len(decision.fire) == AT_ONCE)


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
