"""The desk at which the conformance tests work: one store, one way of running plans, and a clock that the test moves."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from treadle.engine.plan import Plan
from treadle.engine.session import Store
from treadle.model.filter import Altered, Change, Filter, Order, Page, Retention
from treadle.model.flow import Gate, Rule
from treadle.model.job import (
    Claimed,
    Claims,
    Edge,
    Enqueued,
    Job,
    JobId,
    LeaseId,
    Micros,
    NewJob,
    OnDead,
    Promoted,
    Renewal,
    Rescued,
    Stored,
    Want,
    Witness,
    WorkerInfo,
)
from treadle.model.outcome import (
    Cancelled,
    Cause,
    Completed,
    Crashed,
    Died,
    Expired,
    Outcome,
    Released,
    Retrying,
    Settlement,
    Snoozed,
    Verdict,
)
from treadle.model.record import Space, Write, Written
from treadle.model.state import State

R = TypeVar("R")

START: Micros = 1_700_000_000_000_000
SECOND = 1_000_000
TASKS = ("work", "other")
DEATH = Died(Cause.FAILED, "it broke", "fp", '{"type": "Broken"}')
OUTCOMES: list[Outcome] = [
    Completed("7"),
    Retrying(2.0, '{"type": "E"}'),
    Snoozed(3.0),
    Released(),
    DEATH,
    Cancelled("stop"),
    Crashed("signal 9", 4.0),
    Expired(),
]
"""One of each kind."""


class AuditEntry(NamedTuple):
    """One audit line as every engine can show it."""

    actor: str
    change: str
    jobs: frozenset[JobId]


@dataclass
class Bench:
    """What an engine brings along to be examined: a store, the user's own transaction, and a look at the audit."""

    store: Store
    transaction: Callable[[], AbstractContextManager[Any]]
    audit: Callable[[], list[AuditEntry]]


class Desk:
    """Short words for the verbs, all at `self.now`."""

    def __init__(self, bench: Bench, run: Callable[[Plan[Any]], Any]) -> None:
        self.bench = bench
        self.engine = bench.store.engine
        self.run = run
        self.now = START
        self.claims: dict[JobId, Claimed] = {}
        self._ids = self._make_ids()

    @staticmethod
    def _make_ids() -> Iterator[JobId]:
        count = 0
        while True:
            count += 1
            yield f"018bcfe5-6800-7000-8000-{count:012x}"

    def new_id(self) -> JobId:
        """An id that sorts after all before it."""
        return next(self._ids)

    def later(self, seconds: float) -> Micros:
        """Move the clock."""
        self.now += round(seconds * SECOND)
        return self.now

    def new(self, task: str = "work", **options: Any) -> NewJob:
        """A job not stored yet."""
        return NewJob(options.pop("id", None) or self.new_id(), task, **options)

    def enqueue(self, *jobs: NewJob) -> list[Enqueued]:
        return self.run(self.engine.enqueue(jobs, now=self.now))

    def add(self, task: str = "work", **options: Any) -> JobId:
        """Store one new job."""
        job = self.new(task, **options)
        [answer] = self.enqueue(job)
        assert answer.verdict is Stored.STORED
        return job.id

    def child(self, *parents: JobId, on_dead: OnDead = OnDead.HOLD, **options: Any) -> JobId:
        """Store a job that waits for these parents."""
        return self.add(edges=tuple(Edge(parent, on_dead) for parent in parents), **options)

    def worker(self, name: str = "w1", length: float = 1000.0) -> LeaseId:
        """A new lease."""
        lease = f"lease-{name}-{self.new_id()}"
        assert not self.renew(lease, 0, length, worker=self.info(name)).lost
        return lease

    @staticmethod
    def info(name: str = "w1") -> WorkerInfo:
        return WorkerInfo(name, "host", 42, ("default",), TASKS, 8)

    def renew(self, lease: LeaseId, beat: int, length: float, worker: WorkerInfo | None = None) -> Renewal:
        return self.run(self.engine.renew(lease, beat, length, worker=worker, now=self.now))

    def claim(
        self, lease: LeaseId, *wants: Want, tasks: Sequence[str] = TASKS, suspects: int = 0, gated: int = 100
    ) -> list[Claimed]:
        """Claim under a lease that must hold."""
        return self.claims_of(lease, *wants, tasks=tasks, suspects=suspects, gated=gated).jobs

    def claims_of(
        self, lease: LeaseId, *wants: Want, tasks: Sequence[str] = TASKS, suspects: int = 0, gated: int = 100
    ) -> Claims:
        """The whole answer of a claim under a lease that must hold."""
        wants = wants or (Want("default", 100, 100),)
        answer: Claims = self.run(self.engine.claim(lease, wants, tasks, suspects=suspects, gated=gated, now=self.now))
        assert not answer.lost
        self.claims.update((claimed.id, claimed) for claimed in answer.jobs)
        return answer

    def claim_one(self, lease: LeaseId, job: JobId, *, suspects: int = 0) -> Claimed:
        """Claim what there is, which must be exactly this job."""
        [claimed] = self.claim(lease, suspects=suspects)
        assert claimed.id == job
        return claimed

    def settle(self, lease: LeaseId, *ends: tuple[Claimed, Outcome]) -> list[Verdict]:
        settlements = [Settlement(claimed.ref, claimed.id, claimed.attempt, outcome, 0.25) for claimed, outcome in ends]
        return self.run(self.engine.settle(lease, settlements, now=self.now))

    def finish(self, lease: LeaseId, claimed: Claimed, outcome: Outcome = Completed()) -> Job:  # noqa: B008
        """End one attempt, which must be done, and look at the job."""
        assert self.settle(lease, (claimed, outcome)) == [Verdict.DONE]
        return self.job(claimed.id)

    def run_once(self, job: JobId, outcome: Outcome = Completed()) -> Job:  # noqa: B008
        """Claim this queued job under a lease of its own and end the attempt."""
        lease = self.worker("once")
        claimed = [each for each in self.claim(lease, suspects=100) if each.id == job]
        others = [each for each in self.claim(lease, suspects=100) if each.id != job]
        assert not others
        assert len(claimed) == 1
        return self.finish(lease, claimed[0], outcome)

    def run_once_in(self, queue: str, job: JobId) -> None:
        """Claim and complete this job, the only one of its queue."""
        lease = self.worker("once")
        [claimed] = self.claim(lease, Want(queue, 9, 9))
        assert claimed.id == job
        self.finish(lease, claimed)

    def promote(self, limit: int = 1000) -> Promoted:
        return self.run(self.engine.promote(limit=limit, now=self.now))

    def prune_all(self) -> int:
        """Forget whatever has ended."""
        gone = Retention(completed=0.0, cancelled=0.0, expired=0.0, dead=0.0)
        return self.run(self.engine.prune(gone, now=self.now + 1))

    def rescue(self, *witnesses: Witness, delay: float = 1.0) -> list[Rescued]:
        return self.run(self.engine.rescue(witnesses, delay=delay, now=self.now))

    def alter(self, where: Filter, change: Change, *, actor: str | None = "ada", limit: int = 1000) -> list[Altered]:
        return self.run(self.engine.alter(where, change, actor=actor, limit=limit, now=self.now))

    def alter_one(self, job: JobId, change: Change) -> Altered:
        [answer] = self.alter(Filter(ids=[job]), change)
        return answer

    def limit(self, name: str, **rule: Any) -> None:
        """Set the rule of a limit; `per` is its period in seconds."""
        if "per" in rule:
            rule["period"] = round(rule.pop("per") * SECOND)
        self.write(Write(Space.LIMIT, name, Rule(**rule).to_text()))

    def write(self, *writes: Write) -> list[Written]:
        return self.run(self.engine.write(writes, now=self.now))

    def gates(self, *limits: str) -> list[Gate]:
        return self.run(self.engine.gates(limits or None))

    def started(self, lease: LeaseId, seconds: float, *wants: Want) -> list[tuple[float, JobId]]:
        """What starts from now on for so long, and when: promotes whenever the store says that there is something to do."""
        begin, end = self.now, self.now + round(seconds * SECOND)
        starts: list[tuple[float, JobId]] = []
        while True:
            answer = self.claims_of(lease, *wants)
            starts += [((self.now - begin) / SECOND, each.id) for each in answer.jobs]
            self.settle(lease, *((each, Completed()) for each in answer.jobs))
            promoted = self.promote()
            if answer.jobs or answer.more or promoted.queued:
                continue
            due = promoted.next_due
            if due is None or due > end:
                self.now = end
                return starts
            self.now = max(self.now, due)

    def find(self, *, page: Page | None = None, **fields: Any) -> list[Job]:
        """Jobs by filter, oldest first, with details."""
        page = page or Page(limit=10_000, order=Order.OLDEST, details=True)
        return self.run(self.engine.find(Filter(**fields), page))

    def job(self, job: JobId) -> Job:
        """One job with all its details."""
        [found] = self.find(ids=[job])
        return found

    def state(self, job: JobId) -> State:
        return self.job(job).state

    def states(self, *jobs: JobId) -> list[State]:
        return [self.state(job) for job in jobs]

    def snapshot(self) -> tuple[Any, ...]:
        """All that is stored and can be seen."""
        records = [self.run(self.engine.read(space)) for space in Space]
        return self.find(), self.run(self.engine.leases(now=self.now)), records, self.gates(), self.bench.audit()
