"""A stateful random test: the same commands go to the memory engine and to another, and both must stay the same.

`SEED=` repeats a run, `MODEL_EXAMPLES=` and `MODEL_STEPS=` make it longer.
"""

import os
import random
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule, run_state_machine_as_test

from conformance.desk import SECOND, START
from conformance.engines import ENGINES
from model.double import Double, Held, Seen, new_id
from treadle.model.filter import (
    Annotate,
    Axis,
    Cancel,
    Change,
    Erase,
    Filter,
    Order,
    Page,
    Replay,
    Resolve,
    Retention,
)
from treadle.model.job import Edge, NewJob, OnDead, Stored, Want, Witness, WorkerInfo
from treadle.model.outcome import (
    Cancelled,
    Cause,
    Completed,
    Crashed,
    Died,
    Expired,
    NoteKind,
    Outcome,
    Released,
    Retrying,
    Snoozed,
)
from treadle.model.record import Guard, Space, Write
from treadle.model.state import State

EXAMPLES = int(os.environ.get("MODEL_EXAMPLES", "60"))
STEPS = int(os.environ.get("MODEL_STEPS", "40"))
SEED = int(os.environ.get("SEED") or random.randrange(2**32))

QUEUES = ("red", "blue")
TASKS = ("work", "other")
TAGS = ("a", "b")
SHORT = st.sampled_from((0.0, 1.0, 2.0, 5.0))
MAYBE_SHORT = st.none() | SHORT
OUTCOMES: st.SearchStrategy[Outcome] = st.one_of(
    st.builds(Completed, st.sampled_from((None, "7"))),
    st.builds(Completed),
    st.builds(Retrying, SHORT, st.just('{"type": "E"}')),
    st.builds(Snoozed, SHORT),
    st.builds(Released),
    st.builds(Died, st.sampled_from(Cause), st.just("broken"), st.sampled_from(("one", "two"))),
    st.builds(Cancelled, st.sampled_from(("", "own"))),
    st.builds(Crashed, st.sampled_from(("", "signal 9")), SHORT),
    st.builds(Expired),
)
CHANGES: st.SearchStrategy[Change] = st.one_of(
    st.builds(Cancel, st.sampled_from(("", "stop"))),
    st.builds(Replay, SHORT, st.sampled_from((None, "[1]")), st.sampled_from((None, "again"))),
    st.builds(Resolve, st.sampled_from((None, "known"))),
    st.builds(Annotate, st.just("seen")),
    st.builds(Erase),
)
RETENTIONS = st.builds(
    Retention,
    completed=MAYBE_SHORT,
    completed_count=st.none() | st.integers(0, 4),
    cancelled=MAYBE_SHORT,
    expired=MAYBE_SHORT,
    dead=MAYBE_SHORT,
)
WANTS = st.lists(st.builds(Want, st.sampled_from(QUEUES), st.integers(0, 4), st.integers(0, 6)), max_size=3)
GUARDS = st.builds(
    lambda key, value, expect: Guard(Write(Space.SCHEDULE, key, value, expect)),
    st.sampled_from(("x", "y")),
    st.sampled_from((None, "1")),
    st.none() | st.integers(0, 2),
)


class Engines(RuleBasedStateMachine):
    """Producers, workers, house-keeping and operators, at random, against two stores at once."""

    subject = ""

    ids = Bundle("ids")
    leases = Bundle("leases")
    claims = Bundle("claims")

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.count = 0
        self.stored = 0
        self.removed = 0
        self.started: set[tuple[str, int]] = set()
        self.ended_once: set[str] = set()
        self.sent_back: set[str] = set()
        self.seen = Seen([], [], [])
        self.stack = ExitStack()
        folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        oracle = self.stack.enter_context(ENGINES["memory"](folder))
        subject = self.stack.enter_context(ENGINES[self.subject](folder))
        self.double = Double(oracle, subject)

    def teardown(self) -> None:
        self.double.close()
        self.stack.close()

    def fresh(self) -> str:
        self.count += 1
        return new_id(self.count)

    # producing

    @initialize(target=leases)
    def first_worker(self) -> Any:
        return self.open_lease(60.0)

    @rule(
        target=ids,
        data=st.data(),
        old=st.lists(ids, max_size=3),
        size=st.integers(1, 5),
        repeated=st.booleans(),
    )
    def enqueue(self, data: st.DataObject, old: list[str], size: int, repeated: bool) -> Any:
        batch = [self.fresh() for _ in range(size)]
        jobs = [data.draw(self.new_jobs(job, [*old, *batch[:place]])) for place, job in enumerate(batch)]
        if repeated and old:
            jobs.append(data.draw(self.new_jobs(old[0], [])))
        order = data.draw(st.permutations(jobs))
        answers = self.double.ask(lambda engine: engine.enqueue(order, now=self.now))
        self.stored += sum(answer.verdict is Stored.STORED for answer in answers)
        return multiple(*(answer.id for answer in answers if answer.verdict is Stored.STORED))

    @staticmethod
    def new_jobs(job: str, parents: list[str]) -> st.SearchStrategy[NewJob]:
        """Jobs whose parents come from these, all made earlier, so that no circle arises."""
        edge = st.builds(Edge, st.sampled_from(parents), st.sampled_from(OnDead)) if parents else st.nothing()
        return st.builds(
            NewJob,
            st.just(job),
            st.sampled_from(TASKS),
            queue=st.sampled_from(QUEUES),
            priority=st.integers(-1, 1),
            delay=MAYBE_SHORT,
            start_within=st.none() | st.none() | SHORT,
            tags=st.lists(st.sampled_from(TAGS), max_size=2, unique=True).map(tuple),
            edges=st.lists(edge, max_size=2).map(tuple) if parents else st.just(()),
            max_crashes=st.integers(1, 3),
            guard=st.none() | st.none() | st.none() | GUARDS,
        )

    # working

    def open_lease(self, length: float) -> str:
        lease = f"lease-{self.fresh()}"
        worker = WorkerInfo(f"w{self.count}", "host", self.count, QUEUES, TASKS, 4)
        self.double.ask(lambda engine: engine.renew(lease, 0, length, worker=worker, now=self.now))
        return lease

    @rule(target=leases, length=st.sampled_from((1.0, 5.0, 60.0)))
    def open_worker(self, length: float) -> str:
        return self.open_lease(length)

    @rule(lease=leases, beat=st.integers(0, 3), length=st.sampled_from((1.0, 5.0, 60.0)))
    def renew(self, lease: str, beat: int, length: float) -> None:
        self.double.ask(
            lambda engine: engine.renew(lease, beat, length, now=self.now),
            lambda renewal: (renewal.lost, sorted(renewal.cancels)),
        )

    @rule(
        target=claims,
        lease=leases,
        wants=WANTS,
        tasks=st.sampled_from((TASKS, TASKS, TASKS, ("work",), ())),
        suspects=st.integers(0, 2),
    )
    def claim(self, lease: str, wants: list[Want], tasks: tuple[str, ...], suspects: int) -> Any:
        held = self.double.claim(lease, lambda engine: engine.claim(lease, wants, tasks, suspects=suspects, now=self.now))
        starts = {(each.oracle.id, each.oracle.attempt) for each in held}
        assert len(starts) == len(held)
        assert not starts & self.started
        self.started |= starts
        return multiple(*held)

    @rule(target=claims, lease=leases)
    def claim_all(self, lease: str) -> Any:
        return self.claim(lease, [Want(queue, 10, 10) for queue in QUEUES], TASKS, 2)

    @rule(held=st.lists(claims, min_size=1, max_size=4), outcomes=st.lists(OUTCOMES, min_size=4, max_size=4))
    def settle(self, held: list[Held], outcomes: list[Outcome]) -> None:
        self.double.settle(held[0].lease, list(zip(held, outcomes, strict=False)), self.now)

    @rule(held=st.lists(claims, min_size=1, max_size=4))
    def complete(self, held: list[Held]) -> None:
        for each in held:
            self.double.settle(each.lease, [(each, Completed("1"))], self.now)

    @rule(held=claims, lease=leases, outcome=OUTCOMES, drift=st.integers(-1, 1))
    def settle_with_a_wrong_fence(self, held: Held, lease: str, outcome: Outcome, drift: int) -> None:
        attempt = held.oracle.attempt + drift
        drifted = held._replace(oracle=held.oracle._replace(attempt=attempt), subject=held.subject._replace(attempt=attempt))
        self.double.settle(lease, [(drifted, outcome)], self.now)

    @rule(held=claims, kind=st.sampled_from(NoteKind), name=st.sampled_from(("", "part")), value=st.sampled_from("12"))
    def note(self, held: Held, kind: NoteKind, name: str, value: str) -> None:
        self.double.note(held.lease, held, kind, name, value, self.now)

    # time

    @rule(seconds=st.sampled_from((0.000001, 0.5, 1.0, 5.0, 30.0)))
    def let_time_pass(self, seconds: float) -> None:
        self.now += round(seconds * SECOND)

    @rule(data=st.data())
    def go_to_an_edge_of_time(self, data: st.DataObject) -> None:
        """Exactly to, or a microsecond around, the next moments at which something changes."""
        edges = {job.due_at for job in self.seen.jobs} | {job.start_by for job in self.seen.jobs}
        ends = {self.now + round(lease.expires_in * SECOND) for lease in self.seen.leases}
        moments = sorted({edge + drift for edge in (edges | ends) - {None} for drift in (-1, 0, 1)})
        ahead = [moment for moment in moments if moment > self.now]
        if ahead:
            self.now = data.draw(st.sampled_from(ahead[:6]))

    # keeping house

    @rule(limit=st.sampled_from((1, 2, 1000, 1000)))
    def promote(self, limit: int) -> None:
        self.double.ask(lambda engine: engine.promote(limit=limit, now=self.now))

    @rule(witnessed=st.lists(leases, max_size=1), exit_seen=st.sampled_from(("", "signal 9")), delay=SHORT)
    def rescue(self, witnessed: list[str], exit_seen: str, delay: float) -> None:
        witnesses = [Witness(lease, exit_seen) for lease in witnessed]
        self.double.ask(lambda engine: engine.rescue(witnesses, delay=delay, now=self.now), sorted)

    @rule(retention=RETENTIONS, limit=st.sampled_from((1, 1000, 1000)))
    def prune(self, retention: Retention, limit: int) -> None:
        removed = self.double.ask(lambda engine: engine.prune(retention, limit=limit, now=self.now))
        self.removed += removed
        assert removed <= limit

    # operating

    @rule(data=st.data(), change=CHANGES, limit=st.sampled_from((1, 1000)), jobs=st.lists(ids, max_size=2))
    def alter(self, data: st.DataObject, change: Change, limit: int, jobs: list[str]) -> None:
        where = data.draw(self.filters(jobs))
        altered = self.double.ask(lambda engine: engine.alter(where, change, actor="ada", limit=limit, now=self.now))
        self.removed += sum(each.done and each.after is None for each in altered)
        if isinstance(change, Replay):
            self.sent_back |= {each.id for each in altered if each.done}

    def filters(self, jobs: list[str]) -> st.SearchStrategy[Filter]:
        """Filters of one or two fields, most often by id."""
        leases = [lease.id for lease in self.seen.leases] or ["nobody"]
        one = st.one_of(
            st.just({"ids": jobs}),
            st.just({"ids": jobs}),
            st.fixed_dictionaries({"states": st.lists(st.sampled_from(State), max_size=3)}),
            st.fixed_dictionaries({"queues": st.lists(st.sampled_from(QUEUES), max_size=2)}),
            st.fixed_dictionaries({"tasks": st.lists(st.sampled_from(TASKS), max_size=2)}),
            st.fixed_dictionaries({"tag": st.sampled_from(TAGS)}),
            st.fixed_dictionaries({"status": st.sampled_from(("open", "replayed", "resolved"))}),
            st.fixed_dictionaries({"fingerprint": st.sampled_from(("one", ""))}),
            st.fixed_dictionaries({"lease": st.sampled_from(leases)}),
            st.sampled_from(("enqueued_before", "enqueued_after", "finished_before")).map(lambda field: {field: self.now}),
        )
        return st.builds(lambda first, second: Filter(**{**first, **second}), one, st.just({}) | one)

    @rule(queue=st.sampled_from(QUEUES), value=st.sampled_from((None, None, "{}")))
    def pause_or_resume(self, queue: str, value: str | None) -> None:
        self.double.ask(lambda engine: engine.write([Write(Space.PAUSED, queue, value)], now=self.now))

    @rule(data=st.data(), limit=st.integers(0, 5), order=st.sampled_from(Order), jobs=st.lists(ids, max_size=2))
    def look_at_a_page(self, data: st.DataObject, limit: int, order: Order, jobs: list[str]) -> None:
        where = data.draw(self.filters(jobs))
        page = Page(limit=limit, after=jobs[0] if jobs else None, order=order)
        self.double.ask(lambda engine: engine.find(where, page), lambda found: [job.id for job in found])

    @rule(data=st.data(), by=st.lists(st.sampled_from(Axis), max_size=3, unique=True), jobs=st.lists(ids, max_size=2))
    def count_some(self, data: st.DataObject, by: list[Axis], jobs: list[str]) -> None:
        where = data.draw(self.filters(jobs))
        self.double.ask(lambda engine: engine.count(where, by))

    # what must always hold

    @invariant()
    def both_show_the_same(self) -> None:
        before = {job.id for job in self.seen.jobs}
        self.seen = self.double.look(self.now)
        gone = before - {job.id for job in self.seen.jobs}
        self.started = {start for start in self.started if start[0] not in gone}
        self.ended_once |= {job.id for job in self.seen.jobs if job.state.final}
        self.sent_back -= gone

    @invariant()
    def no_job_is_lost_or_invented(self) -> None:
        counts = self.double.ask(lambda engine: engine.count(Filter()))
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
    def what_is_final_has_an_end(self) -> None:
        for job in self.seen.jobs:
            assert job.state.final == (job.finished_at is not None)
            assert (job.state is State.BLOCKED) == (job.blocked_on is not None)
            assert job.state is not State.DEAD or job.dead is not None


@pytest.mark.parametrize("name", [name for name in ENGINES if name != "memory"])
def test_the_engine_does_as_the_memory_engine_does(name: str) -> None:
    print(f"model test of {name}: SEED={SEED} MODEL_EXAMPLES={EXAMPLES} MODEL_STEPS={STEPS}")
    machine = type(f"Engines_{name}", (Engines,), {"subject": name})
    run_state_machine_as_test(
        seed(SEED)(machine),
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
