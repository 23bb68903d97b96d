"""What the store keeps of a schedule, in one record: how it was last declared, and up to which slot all is decided.

The record's version is what schedulers race for. Every slot's job carries the next state of the record as its guard, so
that of any number of schedulers one enqueues the slot and the others find that it is taken; pruning jobs changes nothing.
"""

from typing import Any

import msgspec

from treadle.app.slot import TAG, SlotKind, write_slot
from treadle.model.errors import InvalidSchedule
from treadle.model.flow import Hold, Ordering
from treadle.model.job import JobId, LeaseId, Micros, NewJob
from treadle.model.record import Record, Space, Write
from treadle.policy.catching_up import Passed

REMEMBERED = 20
"""How many of the latest slots that were let go are listed; all are counted."""


class Template(msgspec.Struct, frozen=True, omit_defaults=True):
    """The job of each slot, but for its id and its slot: an operator can have it enqueued without the code at hand."""

    task: str
    args: str
    queue: str
    priority: int
    start_within: float | None = None
    version: int = 1
    options: str | None = None
    headers: str | None = None
    tags: tuple[str, ...] = ()
    max_crashes: int = 3
    holds: tuple[Hold, ...] = ()
    ordering: Ordering | None = None
    fair: str | None = None

    @classmethod
    def of(cls, job: NewJob) -> "Template":
        """What there is to keep of a job that stands for all."""
        return cls(**{name: getattr(job, name) for name in cls.__struct_fields__})

    def job(self, job: JobId, schedule: str, at: Micros, zone: str, kind: SlotKind) -> NewJob:
        """The job of one slot."""
        headers: dict[str, Any] = msgspec.json.decode(self.headers) if self.headers else {}
        tags = (*self.tags, TAG + schedule)
        headers |= {"tags": tags, "slot": write_slot(schedule, at, zone, kind)}
        words: dict[str, Any] = msgspec.structs.asdict(self)
        words.update(headers=msgspec.json.encode(headers).decode(), tags=tags)
        return NewJob(job, **words)


class Declared(msgspec.Struct, frozen=True):
    """A schedule as its code declares it. `rule` is a cron expression, or empty with a `period` in microseconds."""

    rule: str
    period: Micros
    zone: str
    catch_up: str
    window: float
    overlap: str
    jitter: float
    template: Template


class Pause(msgspec.Struct, frozen=True):
    """Who paused a schedule, why and when."""

    by: str
    why: str
    at: Micros


class Dropped(msgspec.Struct, frozen=True):
    """Slots that were not fired: the first, the last, how many, and why."""

    first: Micros
    last: Micros
    number: int
    why: str


class Book(msgspec.Struct, frozen=True, omit_defaults=True):
    """The record's value. `by` is the lease of the worker that declared the schedule last, at `since`."""

    declared: Declared
    through: Micros
    by: LeaseId
    since: Micros
    last: JobId | None = None
    last_slot: Micros | None = None
    fired: int = 0
    dropped: int = 0
    drops: tuple[Dropped, ...] = ()
    paused: Pause | None = None

    def after_firing(self, slot: Micros, job: JobId) -> "Book":
        """The book once the slot's job is enqueued."""
        return msgspec.structs.replace(self, through=slot, last=job, last_slot=slot, fired=self.fired + 1)

    def after_passing(self, passed: Passed) -> "Book":
        """The book once these slots are let go."""
        drops = (*self.drops, Dropped(*passed))[-REMEMBERED:]
        through = max(self.through, passed.last)
        return msgspec.structs.replace(self, through=through, dropped=self.dropped + passed.number, drops=drops)

    def redeclared(self, declared: Declared, by: LeaseId, now: Micros) -> "Book":
        """The book under a new declaration. Where the slots themselves change, none of the past is fired."""
        old = self.declared
        same_slots = (old.rule, old.period, old.zone) == (declared.rule, declared.period, declared.zone)
        through = self.through if same_slots else max(self.through, now)
        return msgspec.structs.replace(self, declared=declared, by=by, since=now, through=through)

    def write(self, name: str, expect: int) -> Write:
        """The compare-and-set that stores this book."""
        return Write(Space.SCHEDULE, name, msgspec.json.encode(self).decode(), expect)


_decoder = msgspec.json.Decoder(Book)


def read_book(record: Record) -> Book:
    """The book in a record. Raises `InvalidSchedule` for one that no version known here wrote."""
    try:
        return _decoder.decode(record.value)
    except msgspec.MsgspecError as error:
        cure = f"It was written by another version of treadle. `treadle schedules forget {record.key}` begins it anew."
        raise InvalidSchedule(record.key, f"what the store keeps of this schedule cannot be read ({error})", cure) from None
