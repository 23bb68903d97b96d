"""Two stores driven as one: the memory engine says what is right, the subject must say the same."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from conformance.desk import Bench
from treadle.engine.contract import Engine
from treadle.engine.plan import Plan
from treadle.engine.session import Session
from treadle.model.filter import Filter, Order, Page
from treadle.model.flow import Gate
from treadle.model.job import Claimed, Job, JobId, Lease, LeaseId
from treadle.model.outcome import Note, NoteKind, Outcome, Settlement
from treadle.model.record import Record, Space

EVERYTHING = Page(limit=100_000, order=Order.OLDEST, details=True)


class Held(NamedTuple):
    """One claimed attempt, as each of the two stores handed it out, and the lease it was claimed under."""

    oracle: Claimed
    subject: Claimed
    lease: LeaseId


class Seen(NamedTuple):
    """All that one store shows."""

    jobs: list[Job]
    leases: list[Lease]
    records: list[Record]
    gates: list[Gate]


class Double:
    """Runs every plan on both stores and compares the answers."""

    def __init__(self, oracle: Bench, subject: Bench) -> None:
        self._oracle: tuple[Engine, Session] = (oracle.store.engine, oracle.store.session())
        self._subject: tuple[Engine, Session] = (subject.store.engine, subject.store.session())

    def close(self) -> None:
        for _, session in (self._oracle, self._subject):
            session.close()

    def ask(self, make: Callable[[Engine], Plan[Any]], shape: Callable[[Any], Any] = lambda answer: answer) -> Any:
        """Run one plan on both; `shape` takes out of the answer what the contract leaves open."""
        right, given = (shape(session.run(make(engine))) for engine, session in (self._oracle, self._subject))
        assert given == right
        return right

    def claim(self, lease: LeaseId, make: Callable[[Engine], Plan[Any]]) -> list[Held]:
        """Claim on both: the same jobs, each with its own address."""
        right, given = (session.run(make(engine)) for engine, session in (self._oracle, self._subject))
        assert (given.lost, given.more, given.wakes_at) == (right.lost, right.more, right.wakes_at)
        taken, expected = ([job._replace(ref=0) for job in claims.jobs] for claims in (given, right))
        assert taken == expected, f"claimed {[job.id for job in taken]} and not {[job.id for job in expected]}"
        return [Held(*pair, lease) for pair in zip(right.jobs, given.jobs, strict=True)]

    def settle(self, lease: LeaseId, ends: Sequence[tuple[Held, Outcome]], now: int) -> Any:
        """Settle on both, each with its own address."""

        def settlements(side: int) -> list[Settlement]:
            return [Settlement(held[side].ref, held[side].id, held[side].attempt, outcome, 0.5) for held, outcome in ends]

        return self._both_sides(lambda engine, side: engine.settle(lease, settlements(side), now=now))

    def note(self, lease: LeaseId, held: Held, kind: NoteKind, name: str, value: str, now: int) -> Any:
        """Write a note on both."""

        def notes(side: int) -> list[Note]:
            return [Note(held[side].ref, held[side].id, held[side].attempt, kind, name, value)]

        return self._both_sides(lambda engine, side: engine.note(lease, notes(side), now=now))

    def look(self, now: int) -> Seen:
        """Everything both stores show, which must be the same."""
        right, given = (self._seen(*each, now) for each in (self._oracle, self._subject))
        assert given == right
        return right

    def _both_sides(self, make: Callable[[Engine, int], Plan[Any]]) -> Any:
        right, given = (session.run(make(engine, side)) for side, (engine, session) in enumerate((self._oracle, self._subject)))
        assert given == right
        return right

    @staticmethod
    def _seen(engine: Engine, session: Session, now: int) -> Seen:
        jobs = [settled(job) for job in session.run(engine.find(Filter(), EVERYTHING))]
        records = [record for space in Space for record in session.run(engine.read(space))]
        return Seen(jobs, session.run(engine.leases(now=now)), records, session.run(engine.gates()))


def settled(job: Job) -> Job:
    """The job without what the contract leaves open: which of several bad parents is named."""
    if job.reason is not None and job.reason.startswith("parent "):
        named = job.reason.removeprefix("parent ")
        assert is_id(named)
        return replace(job, reason="parent")
    return job


def is_id(text: str) -> bool:
    return len(text) == len(new_id(0))


def new_id(number: int) -> JobId:
    """An id that sorts by its number."""
    return f"018bcfe5-6800-7000-8000-{number:012x}"
