"""Schedules as an operator sees and changes them: each as a plan over what the store keeps."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice, takewhile
from typing import NamedTuple, TypeVar

import msgspec

from treadle.app.book import Book, Declared, Pause, read_book
from treadle.app.ids import new_id
from treadle.app.near import near
from treadle.app.schedule import Schedule, stored_rule
from treadle.app.slot import TAG, Slot, SlotKind, local_time, read_slot, slot_id
from treadle.app.view import Job, moment, view_job
from treadle.engine.contract import Engine
from treadle.engine.plan import Plan, Steps
from treadle.model.errors import InvalidOption, InvalidTime, UnknownSchedule
from treadle.model.filter import Filter, Page
from treadle.model.job import JobId, Micros, Stored
from treadle.model.record import Space, Write
from treadle.policy.catching_up import ON_TIME
from treadle.policy.slots import Rule

T = TypeVar("T")

_MOST = 10_000
_CHUNK = 500


class DroppedSlots(NamedTuple):
    """Slots that were let go: the first, the last, how many, and why."""

    first: datetime
    last: datetime
    number: int
    why: str


class Upcoming(NamedTuple):
    """A slot to come: in UTC, as a clock in the zone shows it, and what a change of the clock does to it."""

    at: datetime
    local: datetime
    remark: str


class Filled(NamedTuple):
    """One slot of a range that was filled in: its job, and whether it was enqueued now (else it is stored already)."""

    at: datetime
    local: datetime
    job: JobId
    enqueued: bool


class Past(NamedTuple):
    """One job of a schedule, and the slot it stands for."""

    slot: Slot
    job: Job


@dataclass(slots=True, frozen=True, kw_only=True)
class ScheduleView:
    """One schedule as an operator sees it. `window` and `jitter` are seconds.

    `next` is the slot that comes next, None while it is paused. `late` is how many seconds ago a slot came that nobody
    has dealt with, None when all is well. `drift` says in words what is not as declared. `drops` are the latest slots let
    go; `dropped` counts them all. Times are in the schedule's zone.
    """

    name: str
    task: str
    queue: str
    rule: str
    zone: str
    catch_up: str
    window: float
    overlap: str
    jitter: float
    next: datetime | None
    last: datetime | None
    last_job: JobId | None
    late: float | None
    fired: int
    dropped: int
    drops: tuple[DroppedSlots, ...]
    paused: bool
    paused_by: str | None
    paused_why: str | None
    drift: tuple[str, ...]


def see(engine: Engine, declared: Mapping[str, Schedule], now: Micros) -> Plan[list[ScheduleView]]:
    """Every schedule, declared or stored, by name."""

    def begin() -> Steps[list[ScheduleView]]:
        books = {each.key: read_book(each) for each in (yield from engine.read(Space.SCHEDULE).begin())}
        names = sorted(books.keys() | declared.keys())
        return [_view(name, books.get(name), declared, now) for name in names]

    return Plan("read", begin)


def foresee(engine: Engine, declared: Mapping[str, Schedule], name: str, count: int, now: Micros) -> Plan[list[Upcoming]]:
    """The next slots, by what is declared here, or else by what the store keeps."""

    def begin() -> Steps[list[Upcoming]]:
        book, _ = yield from _open(engine, declared, name, now)
        rule = declared[name].rule if name in declared else stored_rule(book.declared)
        zone = declared[name].zone if name in declared else book.declared.zone
        return upcoming(rule, zone, now, count)

    return Plan("read", begin)


def upcoming(rule: Rule, zone: str, now: Micros, count: int) -> list[Upcoming]:
    """The next slots of a rule."""
    return [Upcoming(moment(slot), local_time(slot, zone), rule.remark(slot)) for slot in islice(rule.after(now), count)]


def remember(engine: Engine, declared: Mapping[str, Schedule], name: str, limit: int) -> Plan[list[Past]]:
    """The jobs of a schedule, the last enqueued first."""

    def begin() -> Steps[list[Past]]:
        jobs = yield from engine.find(Filter(tag=TAG + name), Page(limit=limit)).begin()
        if not jobs:
            yield from _open(engine, declared, name, 0)
        found: list[Past] = []
        for each in jobs:
            shown = view_job(each)
            slot = read_slot(shown.headers, each.claimed_at or each.enqueued_at)
            if slot is not None:
                found.append(Past(slot, shown))
        return found

    return Plan("find", begin)


def pause(engine: Engine, declared: Mapping[str, Schedule], name: str, actor: str, reason: str, now: Micros) -> Plan[None]:
    """Fire no slot until the schedule is resumed."""

    def change(book: Book) -> Book:
        return msgspec.structs.replace(book, paused=Pause(actor, reason, now))

    def begin() -> Steps[None]:
        yield from _change(engine, declared, name, now, change)

    return Plan("write", begin)


def resume(engine: Engine, declared: Mapping[str, Schedule], name: str, now: Micros) -> Plan[bool]:
    """Fire slots again, from now on; whether the schedule was paused."""

    def change(book: Book) -> Book | None:
        if book.paused is None:
            return None
        return msgspec.structs.replace(book, paused=None, through=max(book.through, now))

    def begin() -> Steps[bool]:
        return (yield from _change(engine, declared, name, now, change))

    return Plan("write", begin)


def run_now(engine: Engine, declared: Mapping[str, Schedule], name: str, now: Micros) -> Plan[tuple[JobId, str]]:
    """Enqueue one job beside the slots: its id and its task."""
    job = new_id()

    def begin() -> Steps[tuple[JobId, str]]:
        book, _ = yield from _open(engine, declared, name, now)
        said = book.declared
        yield from engine.enqueue([said.template.job(job, name, now, said.zone, SlotKind.RUN)]).begin()
        return job, said.template.task

    return Plan("enqueue", begin)


def fill_in(
    engine: Engine,
    declared: Mapping[str, Schedule],
    name: str,
    span: tuple[Micros, Micros],
    now: Micros,
    dry_run: bool,
) -> Plan[list[Filled]]:
    """Enqueue the jobs of the slots in a range of the past."""
    start, end = span
    if start >= end:
        raise InvalidTime(moment(end).isoformat(), "the range ends before it begins", "Name a later end, or an earlier start.")
    if end > now + ON_TIME:
        raise InvalidTime(
            moment(end).isoformat(),
            "this has not come yet, and slots to come fire by themselves",
            "End the range now or before.",
        )

    def begin() -> Steps[list[Filled]]:
        book, _ = yield from _open(engine, declared, name, now)
        said = book.declared
        slots = _slots(said, start, end)
        jobs = [said.template.job(slot_id(name, slot), name, slot, said.zone, SlotKind.BACKFILL) for slot in slots]
        if dry_run:
            ids = {
                each.id for each in (yield from engine.find(Filter(ids=[each.id for each in jobs]), Page(limit=_MOST)).begin())
            }
            new = {each.id for each in jobs} - ids
        else:
            new = set[JobId]()
            for first in range(0, len(jobs), _CHUNK):
                answers = yield from engine.enqueue(jobs[first : first + _CHUNK]).begin()
                new.update(each.id for each in answers if each.verdict is Stored.STORED)
        return [
            Filled(moment(slot), local_time(slot, said.zone), job.id, job.id in new)
            for slot, job in zip(slots, jobs, strict=True)
        ]

    return Plan("enqueue", begin)


def forget(engine: Engine, name: str) -> Plan[None]:
    """Remove a schedule's record."""

    def begin() -> Steps[None]:
        found = yield from engine.read(Space.SCHEDULE, [name]).begin()
        if not found:
            raise (yield from _unknown(engine, {}, name))
        yield from engine.write([Write(Space.SCHEDULE, name, None)]).begin()

    return Plan("write", begin)


def _slots(said: Declared, start: Micros, end: Micros) -> Sequence[Micros]:
    found = list(islice(takewhile(lambda slot: slot < end, stored_rule(said).after(start - 1)), _MOST + 1))
    if len(found) > _MOST:
        raise InvalidOption(
            f"{moment(start).isoformat()} to {moment(end).isoformat()}",
            f"this range holds more than {_MOST:,} slots",
            "Fill it in by shorter ranges.",
        )
    return found


def _open(engine: Engine, declared: Mapping[str, Schedule], name: str, now: Micros) -> Steps[tuple[Book, int]]:
    """What is kept of a schedule, and the version of it: 0 if it is declared here and no worker has served it yet."""
    found = yield from engine.read(Space.SCHEDULE, [name]).begin()
    if found:
        return read_book(found[0]), found[0].version
    if name in declared:
        return Book(declared[name].declared(), through=now, by="", since=now), 0
    raise (yield from _unknown(engine, declared, name))


def _unknown(engine: Engine, declared: Mapping[str, Schedule], name: str) -> Steps[UnknownSchedule]:
    known = sorted({each.key for each in (yield from engine.read(Space.SCHEDULE).begin())} | declared.keys())
    meant = near(name, known)
    cure = "A schedule is known once a worker has served its module."
    if meant:
        cure = f"Did you mean {', '.join(meant)}?"
    elif known:
        cure = f"It knows: {', '.join(known[:10])}."
    return UnknownSchedule(name, "this store knows no such schedule", cure)


def _change(
    engine: Engine, declared: Mapping[str, Schedule], name: str, now: Micros, change: Callable[[Book], Book | None]
) -> Steps[bool]:
    """Write a changed book, however often a scheduler comes in between; False when there is nothing to change."""
    while True:
        book, version = yield from _open(engine, declared, name, now)
        changed = change(book)
        if changed is None:
            return False
        [written] = yield from engine.write([changed.write(name, version)]).begin()
        if written.done:
            return True


def _view(name: str, book: Book | None, declared: Mapping[str, Schedule], now: Micros) -> ScheduleView:
    schedule = declared.get(name)
    kept = book or Book(_declared(schedule), through=now, by="", since=now)
    said = kept.declared
    rule = stored_rule(said)
    late = None if kept.paused else _late(next(rule.after(kept.through), now), now)
    upcoming = None if kept.paused else next(rule.after(now), None)
    return ScheduleView(
        name=name,
        task=said.template.task,
        queue=said.template.queue,
        rule=rule.text,
        zone=said.zone,
        catch_up=said.catch_up,
        window=said.window,
        overlap=said.overlap,
        jitter=said.jitter,
        next=None if upcoming is None else local_time(upcoming, said.zone),
        last=None if kept.last_slot is None else local_time(kept.last_slot, said.zone),
        last_job=kept.last,
        late=late,
        fired=kept.fired,
        dropped=kept.dropped,
        drops=tuple(
            DroppedSlots(local_time(each.first, said.zone), local_time(each.last, said.zone), each.number, each.why)
            for each in kept.drops
        ),
        paused=kept.paused is not None,
        paused_by=None if kept.paused is None else kept.paused.by,
        paused_why=None if kept.paused is None else kept.paused.why,
        drift=_drift(book, schedule, late, any_declared=bool(declared)),
    )


def _declared(schedule: Schedule | None) -> Declared:
    assert schedule is not None, "a name is declared, or stored, or not asked for"
    return schedule.declared()


def _late(slot: Micros, now: Micros) -> float | None:
    return (now - slot) / 1_000_000 if now - slot > ON_TIME else None


def _drift(book: Book | None, schedule: Schedule | None, late: float | None, *, any_declared: bool) -> tuple[str, ...]:
    """What is not as it should be. A look without an app's code cannot tell what is declared."""
    found: list[str] = []
    if book is None:
        found.append("no worker has served it yet")
    elif schedule is None and any_declared:
        found.append("this app does not declare it")
    elif schedule is not None:
        stored, mine = msgspec.structs.asdict(book.declared), msgspec.structs.asdict(schedule.declared())
        names = [name for name, value in mine.items() if value != stored[name]]
        if names:
            found.append(f"the store has it declared differently: {', '.join(names)}")
    if late is not None:
        found.append("slots have come that no worker has dealt with")
    return tuple(found)
