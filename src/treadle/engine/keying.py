"""Who has a unique or an idempotency key: pure, from what an engine has read to what it shall write."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from treadle.model.flow import Idempotency, OnConflict, Unique
from treadle.model.job import JobId, Micros, NewJob, Stored, micros
from treadle.model.state import State


class Kind(StrEnum):
    """Which of the two kinds of keys."""

    UNIQUE = "unique"
    IDEMPOTENCY = "idempotency"


Name = tuple[str, str]


class Holding(NamedTuple):
    """A key as stored: the job that has it, since when, and until when at least (None: while the job is what it is)."""

    job: JobId
    digest: str
    since: Micros
    until: Micros | None


@dataclass(slots=True)
class Keyring:
    """Tries the keys of one batch one after the other, each seeing those before it.

    `states` holds the states of the jobs that have a key; who is not in it is gone. `batch` are the new jobs so far.
    """

    now: Micros
    held: dict[Name, Holding]
    states: dict[JobId, State]
    batch: set[JobId] = field(default_factory=set[JobId])
    taken: dict[Name, Holding] = field(default_factory=dict[Name, Holding])
    replaced: dict[JobId, JobId] = field(default_factory=dict[JobId, JobId])

    def judge(self, job: NewJob) -> tuple[Stored, JobId] | None:
        """What speaks against a job, and the holder of the key; None when nothing does. Nothing is taken yet."""
        if job.idempotency is not None:
            verdict = self._requested(job.idempotency)
            if verdict is not None:
                return verdict
        if job.unique is not None:
            holding = self.held.get((Kind.UNIQUE, job.unique.key))
            if holding is not None and self._holds(holding, job.unique) and not self._replaceable(holding, job.unique):
                return Stored.DUPLICATE, holding.job
        return None

    def take(self, job: NewJob) -> None:
        """The job is stored: it has its keys from now on."""
        self.batch.add(job.id)
        if job.idempotency is not None:
            key, digest, ttl = job.idempotency
            self._put((Kind.IDEMPOTENCY, key), Holding(job.id, digest, self.now, self.now + micros(ttl)))
        if job.unique is not None:
            name = (Kind.UNIQUE, job.unique.key)
            before = self.held.get(name)
            if before is not None and self._holds(before, job.unique):
                self.replaced[before.job] = job.id
            within = job.unique.within
            self._put(name, Holding(job.id, "", self.now, None if within is None else self.now + micros(within)))

    def _put(self, name: Name, holding: Holding) -> None:
        self.held[name] = self.taken[name] = holding

    def _requested(self, asked: Idempotency) -> tuple[Stored, JobId] | None:
        holding = self.held.get((Kind.IDEMPOTENCY, asked.key))
        if holding is None or holding.until is None or holding.until <= self.now:
            return None
        return Stored.ALREADY if holding.digest == asked.digest else Stored.CONFLICT, holding.job

    def _holds(self, holding: Holding, asked: Unique) -> bool:
        if holding.job in self.batch or self.states.get(holding.job) in asked.during:
            return True
        return asked.within is not None and self.now < holding.since + micros(asked.within)

    def _replaceable(self, holding: Holding, asked: Unique) -> bool:
        if asked.on_conflict is not OnConflict.REPLACE:
            return False
        state = self.states.get(holding.job)
        return holding.job in self.batch or (state is not None and state is not State.RUNNING and not state.final)


class Returning(NamedTuple):
    """A job that an operator sends back, and the unique key that it asked for when it was stored, at `since`."""

    job: JobId
    key: str
    during: tuple[State, ...]
    since: Micros


def take_back(
    returning: Iterable[Returning], held: dict[str, Holding], states: dict[JobId, State], target: State
) -> dict[JobId, JobId]:
    """Try the keys of jobs that go to `target`, in this order; the jobs that may not, and who has the key of each.

    `held` and `states` are as they stand, by key and by job, and are brought up to date.
    """
    refused: dict[JobId, JobId] = {}
    for each in returning:
        holding = held.get(each.key)
        if holding is None:
            held[each.key] = Holding(each.job, "", each.since, None)
        elif holding.job == each.job or states.get(holding.job) not in each.during:
            held[each.key] = holding._replace(job=each.job)
        elif target in each.during:
            refused[each.job] = holding.job
            continue
        states[each.job] = target
    return refused


def names_of(job: NewJob) -> list[Name]:
    """The keys that a job asks for."""
    names: list[Name] = []
    if job.idempotency is not None:
        names.append((Kind.IDEMPOTENCY, job.idempotency.key))
    if job.unique is not None:
        names.append((Kind.UNIQUE, job.unique.key))
    return names


def because_of(job: JobId) -> str:
    """The reason of a job that another replaced."""
    return f"replaced by {job}"
