"""What must hold of every store after every command."""

import os
import random
import tempfile
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from hypothesis.stateful import RuleBasedStateMachine, invariant

from conformance.desk import START
from conformance.engines import ENGINES
from model.chorus import Chorus, Held, Seen
from model.flowing import Ledger
from treadle.model.filter import Filter
from treadle.model.job import JobId, LeaseId
from treadle.model.state import State

SEED = int(os.environ.get("SEED") or random.randrange(2**32))


class Watched(RuleBasedStateMachine):
    """Several stores, driven as one, and what is known of them. Whoever commands them says here what came of it."""

    names: tuple[str, ...] = ()
    """The engines, the one that is right first."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.stored = 0
        self.removed = 0
        self.jobs: list[JobId] = []
        self.leases: list[LeaseId] = []
        self.claims: list[Held] = []
        self.started: set[tuple[JobId, int]] = set()
        self.ended_once: set[JobId] = set()
        self.sent_back: set[JobId] = set()
        self.seen = Seen([], [], [], [], [])
        self.ledger = Ledger()
        self.stack = ExitStack()
        folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.chorus = Chorus({name: self.stack.enter_context(ENGINES[name](folder)) for name in self.names})

    def teardown(self) -> None:
        self.chorus.close()
        self.stack.close()

    @invariant()
    def all_show_the_same(self) -> None:
        before = {job.id for job in self.seen.jobs}
        self.seen = self.chorus.look(self.now)
        gone = before - {job.id for job in self.seen.jobs}
        self.started = {start for start in self.started if start[0] not in gone}
        self.ended_once |= {job.id for job in self.seen.jobs if job.state.final}
        self.sent_back -= gone

    @invariant()
    def no_job_is_lost_or_invented(self) -> None:
        counts = self.chorus.ask(lambda engine: engine.count(Filter()))
        assert sum(each.count for each in counts) == len(self.seen.jobs) == self.stored - self.removed

    @invariant()
    def what_runs_is_held_and_nothing_else_is(self) -> None:
        leases = {lease.id: lease.running for lease in self.seen.leases}
        for job in self.seen.jobs:
            assert (job.state is State.RUNNING) == (job.lease is not None)
            assert job.lease is None or job.lease in leases
        for lease, running in leases.items():
            assert running == sum(job.lease == lease for job in self.seen.jobs)

    @invariant()
    def no_child_is_free_before_its_parents(self) -> None:
        free = (State.QUEUED, State.SCHEDULED, State.RUNNING, State.RETRYING, State.COMPLETED, State.DEAD)
        for job in self.seen.jobs:
            if job.state in free and job.id not in self.sent_back:
                assert all(parent in self.ended_once for parent, _, _ in job.parents)

    @invariant()
    def slots_are_those_of_running_jobs(self) -> None:
        running = Counter(
            key
            for job in self.seen.jobs
            if job.state is State.RUNNING
            for key in {(hold.limit, hold.key) for hold in job.holds}
        )
        assert running == Counter({(gate.limit, gate.key): gate.running for gate in self.seen.gates if gate.running})
        blocked = Counter(job.blocked_on for job in self.seen.jobs)
        assert blocked["limit"] <= sum(gate.parked for gate in self.seen.gates) <= blocked["limit"] + blocked["key"]

    @invariant()
    def who_is_first_in_line_runs_first(self) -> None:
        self.ledger.lines(self.seen.jobs)

    @invariant()
    def a_unique_key_has_one_holder(self) -> None:
        live = {job.id for job in self.seen.jobs if not job.state.final}
        holders = Counter(self.ledger.unique[job] for job in live)
        assert all(count == 1 for key, count in holders.items() if key is not None)

    @invariant()
    def what_is_final_has_an_end(self) -> None:
        for job in self.seen.jobs:
            assert job.state.final == (job.finished_at is not None)
            assert (job.state is State.BLOCKED) == (job.blocked_on is not None)
            assert job.state is not State.DEAD or job.dead is not None
