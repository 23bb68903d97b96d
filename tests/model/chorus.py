"""Several stores driven as one: the first says what is right, the others must say the same."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from conformance.desk import AuditEntry, Bench
from treadle.engine.contract import Engine
from treadle.engine.plan import Plan
from treadle.engine.session import Session
from treadle.model.filter import Filter, Order, Page
from treadle.model.flow import Gate
from treadle.model.job import Claimed, Claims, Job, JobId, Lease, LeaseId
from treadle.model.outcome import Note, NoteKind, Outcome, Settlement
from treadle.model.record import Record, Space

EVERYTHING = Page(limit=100_000, order=Order.OLDEST, details=True)

Make = Callable[[Engine], Plan[Any]]
MakeFor = Callable[[Engine, int], Plan[Any]]
"""A plan for the store at this place of the chorus: what it handed out bears addresses of its own."""


class Held(NamedTuple):
    """One claimed attempt, as each of the stores handed it out, and the lease it was claimed under."""

    copies: tuple[Claimed, ...]
    lease: LeaseId

    @property
    def first(self) -> Claimed:
        """As the store that is right handed it out."""
        return self.copies[0]

    def drifted(self, attempt: int) -> "Held":
        """The same under another fence."""
        return self._replace(copies=tuple(each._replace(attempt=attempt) for each in self.copies))


class Seen(NamedTuple):
    """All that one store shows."""

    jobs: list[Job]
    leases: list[Lease]
    records: list[Record]
    gates: list[Gate]
    audit: list[AuditEntry]


class Voice(NamedTuple):
    """One store of the chorus."""

    name: str
    engine: Engine
    session: Session
    audit: Callable[[], list[AuditEntry]]


class Chorus:
    """Runs every plan on all stores, and compares each answer with that of the first."""

    def __init__(self, benches: dict[str, Bench]) -> None:
        self._voices = [Voice(name, bench.store.engine, bench.store.session(), bench.audit) for name, bench in benches.items()]

    def close(self) -> None:
        for voice in self._voices:
            voice.session.close()

    def ask(self, make: Make, shape: Callable[[Any], Any] = lambda answer: answer) -> Any:
        """Run one plan on each; `shape` takes out of the answer what the contract leaves open."""
        return self._same([shape(voice.session.run(make(voice.engine))) for voice in self._voices])

    def each(self, make: MakeFor, shape: Callable[[Any], Any] = lambda answer: answer) -> list[Any]:
        """Run one plan on each, made for its place; the answers of all, as they came."""
        answers = [voice.session.run(make(voice.engine, place)) for place, voice in enumerate(self._voices)]
        self._same([shape(answer) for answer in answers])
        return answers

    def claim(self, lease: LeaseId, make: Make) -> list[Held]:
        """Claim on each: the same jobs, each with its own address."""
        return held(lease, self.each(lambda engine, _: make(engine), without_addresses))

    def settle(self, lease: LeaseId, ends: Sequence[tuple[Held, Outcome]], now: int) -> Any:
        """Settle on each."""
        return self.each(lambda engine, place: engine.settle(lease, settlements(ends, place), now=now))[0]

    def note(self, lease: LeaseId, held: Held, kind: NoteKind, name: str, value: str, now: int) -> Any:
        """Write a note on each."""

        def notes(place: int) -> list[Note]:
            claimed = held.copies[place]
            return [Note(claimed.ref, claimed.id, claimed.attempt, kind, name, value)]

        return self.each(lambda engine, place: engine.note(lease, notes(place), now=now))[0]

    def look(self, now: int) -> Seen:
        """Everything that the stores show."""
        return self._same([_seen(voice, now) for voice in self._voices])

    def _same(self, answers: Sequence[Any]) -> Any:
        """The answer that all gave."""
        for voice, answer in zip(self._voices, answers, strict=True):
            assert answer == answers[0], f"{voice.name} differs from {self._voices[0].name}: {_difference(answers[0], answer)}"
        return answers[0]


def held(lease: LeaseId, answers: Sequence[Claims]) -> list[Held]:
    """What one claim brought, from the answers of all stores."""
    return [Held(copies, lease) for copies in zip(*(claims.jobs for claims in answers), strict=True)]


def settlements(ends: Sequence[tuple[Held, Outcome]], place: int) -> list[Settlement]:
    """Ends as they are told to the store at this place."""
    told = [(held.copies[place], outcome) for held, outcome in ends]
    return [Settlement(claimed.ref, claimed.id, claimed.attempt, outcome, 0.5) for claimed, outcome in told]


def without_addresses(claims: Claims) -> Claims:
    """The answer of a claim without what each store calls the jobs."""
    return claims._replace(jobs=[job._replace(ref=0) for job in claims.jobs])


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


def _seen(voice: Voice, now: int) -> Seen:
    engine, run = voice.engine, voice.session.run
    jobs = [settled(job) for job in run(engine.find(Filter(), EVERYTHING))]
    records = [record for space in Space for record in run(engine.read(space))]
    return Seen(jobs, run(engine.leases(now=now)), records, run(engine.gates()), voice.audit())


def _difference(right: Any, given: Any) -> str:
    """Where two answers part, as far down as just one of their members does."""
    while isinstance(right, (list, tuple)) and type(right) is type(given) and len(right) == len(given):
        apart = [(one, other) for one, other in zip(right, given, strict=True) if one != other]
        if len(apart) != 1:
            break
        [(right, given)] = apart
    return f"{given!r}\nand not {right!r}"
