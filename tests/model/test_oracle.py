"""A stateful random test: the same commands go to the memory engine and to another, and both must stay the same.

`SEED=` repeats a run, `MODEL_EXAMPLES=` and `MODEL_STEPS=` make it longer. `MODEL_SHRINK=1` looks for the shortest run that
fails, which takes minutes.
"""

import os
import random
import tempfile
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, note, seed, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from conformance.desk import SECOND, START
from conformance.engines import ENGINES
from model import chance, flowing
from model.chance import DICE, Dice
from model.double import Double, Held, Seen, new_id
from treadle.model.filter import Axis, Filter, Order, Page, Replay
from treadle.model.job import JobId, LeaseId, Stored, Want, Witness, WorkerInfo
from treadle.model.outcome import Completed, NoteKind, throttle_name
from treadle.model.record import Space, Write
from treadle.model.state import State

EXAMPLES = int(os.environ.get("MODEL_EXAMPLES", "20"))
STEPS = int(os.environ.get("MODEL_STEPS", "80"))
LENGTHS = (1.0, 5.0, 60.0, 600.0)
PHASES = tuple(Phase) if os.environ.get("MODEL_SHRINK") else (Phase.generate,)
SEED = int(os.environ.get("SEED") or random.randrange(2**32))


class Engines(RuleBasedStateMachine):
    """Producers, workers, house-keeping and operators, at random, against two stores at once."""

    subject = ""

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.made = 0
        self.stored = 0
        self.removed = 0
        self.jobs: list[JobId] = []
        self.leases: list[LeaseId] = []
        self.claims: list[Held] = []
        self.started: set[tuple[JobId, int]] = set()
        self.ended_once: set[JobId] = set()
        self.sent_back: set[JobId] = set()
        self.seen = Seen([], [], [], [])
        self.ledger = flowing.Ledger()
        self.stack = ExitStack()
        folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.double = self.open_stores(folder)

    def open_stores(self, folder: Path) -> Double:
        """The stores that are driven as one."""
        oracle = self.stack.enter_context(ENGINES["memory"](folder))
        return Double(oracle, self.stack.enter_context(ENGINES[self.subject](folder)))

    def teardown(self) -> None:
        self.double.close()
        self.stack.close()

    def fresh(self) -> str:
        self.made += 1
        return new_id(self.made)

    @rule(dice=DICE)
    def command(self, dice: Dice) -> None:
        """One command, whichever the dice say. Rules of their own would be switched off at random, and runs stay shallow."""
        commands = {
            self.enqueue: 5,
            self.open_worker: 1,
            self.renew: 1,
            self.claim: 3,
            self.claim_all: 2,
            self.let_time_pass: 1,
            self.go_to_an_edge_of_time: 3,
            self.promote: 3,
            self.rescue: 3,
            self.prune: 1,
            self.alter: 3,
            self.pause_or_resume: 1,
            self.write_a_rule: 2,
            self.look_at_a_page: 1,
            self.count_some: 1,
            self.look_at_what_a_lease_holds: 1,
        }
        if self.claims:
            commands |= {self.settle: 5, self.complete: 2, self.settle_with_a_doubtful_fence: 1, self.note: 1}
        [chosen] = dice.choices(list(commands), list(commands.values()))
        note(chosen.__name__)
        chosen(dice)

    # producing

    def enqueue(self, dice: Dice) -> None:
        batch = [self.fresh() for _ in range(dice.randint(1, 4))]
        recent = self.jobs[-8:]
        jobs = [chance.new_job(dice, job, [*recent, *batch[:place]]) for place, job in enumerate(batch)]
        if self.jobs and dice.random() < 0.2:
            jobs.append(chance.new_job(dice, dice.choice(self.jobs), []))
        dice.shuffle(jobs)
        answers = self.double.ask(lambda engine: engine.enqueue(jobs, now=self.now))
        fresh = [answer.id for answer in answers if answer.verdict is Stored.STORED]
        keys = {job.id: job.unique.key for job in jobs if job.unique is not None}
        for job in fresh:
            self.ledger.unique[job] = keys.get(job)
        self.stored += len(fresh)
        self.jobs += fresh

    # working

    @initialize()
    def first_worker(self) -> None:
        self.open(1000.0)

    def open_worker(self, dice: Dice) -> None:
        self.open(dice.choice(LENGTHS))

    def open(self, length: float) -> None:
        lease = f"lease-{self.fresh()}"
        worker = WorkerInfo(f"w{self.made}", "host", self.made, chance.QUEUES, chance.TASKS, 4)
        self.double.ask(lambda engine: engine.renew(lease, 0, length, worker=worker, now=self.now))
        self.leases.append(lease)

    def some_lease(self, dice: Dice) -> LeaseId:
        """Most often one that still holds."""
        holding = [lease.id for lease in self.seen.leases if lease.expires_in > 0]
        return dice.choice(holding if holding and dice.random() < 0.95 else self.leases)

    def renew(self, dice: Dice) -> None:
        lease, beat, length = self.some_lease(dice), dice.randint(0, 2), dice.choice(LENGTHS)
        self.double.ask(
            lambda engine: engine.renew(lease, beat, length, now=self.now),
            lambda renewal: (renewal.lost, sorted(renewal.cancels)),
        )

    def claim(self, dice: Dice) -> None:
        tasks = dice.choice((chance.TASKS, chance.TASKS, ("work",), ()))
        self.take(self.some_lease(dice), chance.wants(dice), tasks, dice.choice((0, 0, 1, 2)), dice.choice((0, 1, 2, 9)))

    def claim_all(self, dice: Dice) -> None:
        self.take(self.some_lease(dice), [Want(queue, 10, 10) for queue in chance.QUEUES], chance.TASKS, 5, 20)

    def take(self, lease: LeaseId, wants: list[Want], tasks: tuple[str, ...], suspects: int, gated: int) -> None:
        held = self.double.claim(
            lease, lambda engine: engine.claim(lease, wants, tasks, suspects=suspects, gated=gated, now=self.now)
        )
        starts = {(each.oracle.id, each.oracle.attempt) for each in held}
        assert len(starts) == len(held) <= sum(want.take for want in wants)
        assert not starts & self.started
        self.started |= starts
        self.claims += held
        jobs = {job.id: job for job in self.double.look(self.now).jobs}
        self.ledger.started([each.oracle for each in held], jobs, self.now)
        assert sum(bool(jobs[each.oracle.id].holds or jobs[each.oracle.id].ordering) for each in held) <= gated

    def some_claims(self, dice: Dice) -> list[Held]:
        """Most often of one lease and still running, sometimes any that ever were, or the same twice."""
        running = {(job.id, job.attempt) for job in self.seen.jobs if job.state is State.RUNNING}
        current = [held for held in self.claims if (held.oracle.id, held.oracle.attempt) in running]
        if not current or dice.random() < 0.15:
            return dice.choices(self.claims, k=dice.randint(1, 3))
        holding = [lease.id for lease in self.seen.leases if lease.expires_in > 0]
        current = [held for held in current if held.lease in holding] or current
        lease = dice.choice(current).lease
        mine = [held for held in current if held.lease == lease]
        return dice.sample(mine, dice.randint(1, len(mine)))

    def settle(self, dice: Dice) -> None:
        held = self.some_claims(dice)
        self.double.settle(held[0].lease, [(each, chance.outcome(dice)) for each in held], self.now)

    def complete(self, dice: Dice) -> None:
        held = self.some_claims(dice)
        self.double.settle(held[0].lease, [(each, Completed("1")) for each in held], self.now)

    def settle_with_a_doubtful_fence(self, dice: Dice) -> None:
        held = self.some_claims(dice)[0]
        attempt = held.oracle.attempt + dice.choice((-1, 0, 1))
        drifted = held._replace(oracle=held.oracle._replace(attempt=attempt), subject=held.subject._replace(attempt=attempt))
        self.double.settle(dice.choice(self.leases), [(drifted, chance.outcome(dice))], self.now)

    def note(self, dice: Dice) -> None:
        held, kind = self.some_claims(dice)[0], dice.choice(list(NoteKind))
        name = dice.choice(("", "part", throttle_name(dice.choice(flowing.LIMITS), dice.choice(flowing.KEYS))))
        self.double.note(held.lease, held, kind, name, dice.choice("12"), self.now)

    # time

    def let_time_pass(self, dice: Dice) -> None:
        self.now += dice.choice((1, SECOND // 2, SECOND, 5 * SECOND))

    def go_to_an_edge_of_time(self, dice: Dice) -> None:
        """Exactly to, or a microsecond around, one of the next moments at which something changes."""
        edges = {job.due_at for job in self.seen.jobs} | {job.start_by for job in self.seen.jobs}
        ends = {self.now + round(lease.expires_in * SECOND) for lease in self.seen.leases}
        wakes = {gate.wakes_at for gate in self.seen.gates}
        moments = sorted({edge + drift for edge in (edges | ends | wakes) - {None} for drift in (-1, 0, 1)})
        ahead = [moment for moment in moments if moment > self.now]
        if ahead:
            self.now = dice.choice(ahead[:6])

    # keeping house

    def promote(self, dice: Dice) -> None:
        limit = dice.choice((1, 2, 1000, 1000))
        self.double.ask(lambda engine: engine.promote(limit=limit, now=self.now))

    def rescue(self, dice: Dice) -> None:
        witnesses = [
            Witness(self.some_lease(dice), dice.choice(("", "signal 9")), dice.random() < 0.3)
            for _ in range(dice.randint(0, 1))
        ]
        delay = dice.choice(chance.DELAYS)
        self.double.ask(lambda engine: engine.rescue(witnesses, delay=delay, now=self.now), sorted)

    def prune(self, dice: Dice) -> None:
        limit = dice.choice((1, 2, 1000))
        retention = chance.retention(dice)
        removed = self.double.ask(lambda engine: engine.prune(retention, limit=limit, now=self.now))
        assert removed <= limit
        self.removed += removed

    # operating

    def some_filter(self, dice: Dice) -> Filter:
        return chance.job_filter(dice, self.jobs, [lease.id for lease in self.seen.leases], self.now)

    def alter(self, dice: Dice) -> None:
        where, change, limit = self.some_filter(dice), chance.change(dice), dice.choice((1, 3, 1000))
        altered = self.double.ask(lambda engine: engine.alter(where, change, actor="ada", limit=limit, now=self.now))
        assert len(altered) <= limit
        self.removed += sum(each.done and each.after is None for each in altered)
        if isinstance(change, Replay):
            self.sent_back |= {each.id for each in altered if each.done}

    def pause_or_resume(self, dice: Dice) -> None:
        queue, value = dice.choice(chance.QUEUES), dice.choice((None, None, "{}"))
        self.double.ask(lambda engine: engine.write([Write(Space.PAUSED, queue, value)], now=self.now))

    def write_a_rule(self, dice: Dice) -> None:
        write = flowing.record(dice, self.now)
        self.double.ask(lambda engine: engine.write([write], now=self.now))
        self.ledger.ruled(write)

    def look_at_a_page(self, dice: Dice) -> None:
        where = self.some_filter(dice)
        after = chance.perhaps(dice, 0.5, [*self.jobs, "nobody"])
        page = Page(limit=dice.randint(0, 5), after=after, order=dice.choice(list(Order)))
        self.double.ask(lambda engine: engine.find(where, page), lambda found: [job.id for job in found])

    def count_some(self, dice: Dice) -> None:
        where = self.some_filter(dice)
        by = dice.sample(list(Axis), dice.randint(0, 3))
        self.double.ask(lambda engine: engine.count(where, by))

    def look_at_what_a_lease_holds(self, dice: Dice) -> None:
        lease = dice.choice(self.leases)
        self.double.ask(lambda engine: engine.held(lease), lambda held: [each._replace(ref=0) for each in held])

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


@pytest.mark.repeats
@pytest.mark.parametrize("name", [name for name in ENGINES if name != "memory"])
def test_the_engine_does_as_the_memory_engine_does(name: str) -> None:
    print(f"model test of {name}: SEED={SEED} MODEL_EXAMPLES={EXAMPLES} MODEL_STEPS={STEPS}")
    machine = type(f"Engines_{name}", (Engines,), {"subject": name})
    run_state_machine_as_test(
        seed(SEED)(machine),
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            database=None,
            phases=PHASES,
            suppress_health_check=list(HealthCheck),
        ),
    )
