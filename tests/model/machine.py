"""The random machine: producers, workers, house-keeping and operators, whose commands go to several stores at once."""

from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import note
from hypothesis.stateful import initialize, rule

from conformance.desk import SECOND
from model import chance, flowing
from model.chance import DICE, Dice
from model.chorus import Held, held, new_id, settled, settlements, without_addresses
from model.truths import Watched
from treadle.app.ageing import age_queues
from treadle.app.lifting import lift
from treadle.app.queue import age_write
from treadle.engine.contract import Engine
from treadle.engine.plan import Plan, together
from treadle.model.filter import Altered, Axis, Change, Filter, Order, Page, Replay
from treadle.model.job import Enqueued, JobId, LeaseId, NewJob, Renewal, Stored, Want, Witness, WorkerInfo
from treadle.model.outcome import Completed, NoteKind, throttle_name
from treadle.model.record import Space, Write, Written
from treadle.model.state import State

LENGTHS = (0.0, 1.0, 5.0, 60.0, 600.0)
LIMITS = (0, 1, 3, 1000, 1000)
"""How many jobs a verb may touch."""
TURNS = 10
FREE = tuple(space for space in Space if space not in (Space.LIMIT, Space.FAIR, Space.AGE, Space.AGED))
"""Records that may hold anything."""
VALUES = ("1", "2", "0.3", "-1", "null", '"1"', "true", "1e3", "[]")
"""What a note may say: some of it is a number of seconds."""


class Engines(Watched):
    """Everything that may be done to a store, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.made = 0

    def fresh(self) -> str:
        self.made += 1
        return new_id(self.made)

    @rule(dice=DICE)
    def command(self, dice: Dice) -> None:
        """One command, whichever the dice say. Rules of their own would be switched off at random, and runs stay shallow."""
        commands = {
            self.enqueue: 5,
            self.open_worker: 1,
            self.open_again: 1,
            self.renew: 1,
            self.claim: 3,
            self.claim_all: 2,
            self.let_time_pass: 1,
            self.go_to_an_edge_of_time: 3,
            self.promote: 3,
            self.promote_all: 1,
            self.rescue: 3,
            self.prune: 1,
            self.age: 1,
            self.alter: 3,
            self.lift: 1,
            self.pause_or_resume: 1,
            self.write_a_rule: 2,
            self.write_records: 1,
            self.look_at_a_page: 1,
            self.count_some: 1,
            self.look_at_what_a_lease_holds: 1,
            self.look_at_records_and_gates: 1,
            self.several_at_once: 3,
        }
        if self.claims:
            commands |= {self.settle: 5, self.complete: 2, self.settle_with_a_doubtful_fence: 1, self.note: 1}
        [chosen] = dice.choices(list(commands), list(commands.values()))
        note(chosen.__name__)
        chosen(dice)

    # producing

    def enqueue(self, dice: Dice) -> None:
        jobs = self.some_new_jobs(dice)
        self.has_stored(jobs, self.chorus.ask(lambda engine: engine.enqueue(jobs, now=self.now)))

    def some_new_jobs(self, dice: Dice) -> list[NewJob]:
        """A batch in any order, in which some may wait for others; an id that was stored before may be among them."""
        batch = [self.fresh() for _ in range(dice.randint(1, 4))]
        recent = self.jobs[-8:] if dice.random() < 0.9 else self.jobs[:8]
        jobs = [chance.new_job(dice, job, [*recent, *batch[:place]], self.now) for place, job in enumerate(batch)]
        while self.jobs and dice.random() < 0.2:
            known = dice.choice([*self.jobs, *batch])
            # Who waits only for those that were made before it never stands in a circle, whichever of them is stored again.
            parents = [job for job in [*recent, *batch] if job < known]
            jobs.append(chance.new_job(dice, known, parents, self.now))
        dice.shuffle(jobs)
        return jobs

    def has_stored(self, jobs: Sequence[NewJob], answers: Sequence[Enqueued]) -> None:
        fresh = [job for job, answer in zip(jobs, answers, strict=True) if answer.verdict is Stored.STORED]
        for job in fresh:
            self.ledger.stored(job)
        self.stored += len(fresh)
        self.jobs += [job.id for job in fresh]

    # working

    @initialize()
    def first_worker(self) -> None:
        self.open(1000.0)

    def open_worker(self, dice: Dice) -> None:
        self.open(dice.choice(LENGTHS))

    def open(self, length: float) -> None:
        lease = f"lease-{self.fresh()}"
        worker = WorkerInfo(f"w{self.made}", "host", self.made, chance.QUEUES, chance.TASKS, 4)
        self.chorus.ask(lambda engine: engine.renew(lease, 0, length, worker=worker, now=self.now))
        self.leases.append(lease)

    def open_again(self, dice: Dice) -> None:
        """The first beat once more, of a worker that names other tasks."""
        lease, length = self.some_lease(dice), dice.choice(LENGTHS)
        worker = WorkerInfo("again", "host", 1, chance.QUEUES[:1], chance.TASKS[:1], 2)
        self.chorus.ask(lambda engine: engine.renew(lease, 0, length, worker=worker, now=self.now), _renewed)

    def some_lease(self, dice: Dice) -> LeaseId:
        """Most often one that still holds."""
        holding = [lease.id for lease in self.seen.leases if lease.expires_in > 0]
        return dice.choice(holding if holding and dice.random() < 0.95 else self.leases)

    def renew(self, dice: Dice) -> None:
        lease, beat, length = self.some_lease(dice), dice.randint(0, 2), dice.choice(LENGTHS)
        self.chorus.ask(lambda engine: engine.renew(lease, beat, length, now=self.now), _renewed)

    def claim(self, dice: Dice) -> None:
        tasks = dice.choice((chance.TASKS, chance.TASKS, ("work",), ("other", "none"), ()))
        self.take(self.some_lease(dice), chance.wants(dice), tasks, dice.choice((0, 0, 1, 2)), dice.choice((0, 1, 2, 9)))

    def claim_all(self, dice: Dice) -> None:
        self.take(self.some_lease(dice), [Want(queue, 10, 10) for queue in chance.QUEUES], chance.TASKS, 5, 20)

    def take(self, lease: LeaseId, wants: list[Want], tasks: tuple[str, ...], suspects: int, gated: int) -> None:
        held = self.chorus.claim(
            lease, lambda engine: engine.claim(lease, wants, tasks, suspects=suspects, gated=gated, now=self.now)
        )
        self.has_claimed(held)
        assert len(held) <= sum(want.take for want in wants)
        jobs = {job.id: job for job in self.chorus.look(self.now).jobs}
        self.ledger.started([each.first for each in held], jobs, self.now)
        assert sum(bool(jobs[each.first.id].holds or jobs[each.first.id].ordering) for each in held) <= gated

    def has_claimed(self, held: Sequence[Held]) -> None:
        starts = {(each.first.id, each.first.attempt) for each in held}
        assert len(starts) == len(held)
        assert not starts & self.started
        self.started |= starts
        self.claims += held

    def some_claims(self, dice: Dice) -> list[Held]:
        """Most often of one lease and still running, sometimes any that ever were, or the same twice."""
        running = {(job.id, job.attempt) for job in self.seen.jobs if job.state is State.RUNNING}
        current = [held for held in self.claims if (held.first.id, held.first.attempt) in running]
        if not current or dice.random() < 0.15:
            return dice.choices(self.claims, k=dice.randint(1, 3))
        holding = [lease.id for lease in self.seen.leases if lease.expires_in > 0]
        current = [held for held in current if held.lease in holding] or current
        lease = dice.choice(current).lease
        mine = [held for held in current if held.lease == lease]
        return dice.sample(mine, dice.randint(1, len(mine)))

    def settle(self, dice: Dice) -> None:
        held = self.some_claims(dice)
        self.chorus.settle(held[0].lease, [(each, chance.outcome(dice)) for each in held], self.now)

    def complete(self, dice: Dice) -> None:
        held = self.some_claims(dice)
        self.chorus.settle(held[0].lease, [(each, Completed("1")) for each in held], self.now)

    def settle_with_a_doubtful_fence(self, dice: Dice) -> None:
        held = self.some_claims(dice)[0]
        drifted = held.drifted(held.first.attempt + dice.choice((-1, 0, 1)))
        self.chorus.settle(dice.choice(self.leases), [(drifted, chance.outcome(dice))], self.now)

    def note(self, dice: Dice) -> None:
        held, kind = self.some_claims(dice)[0], dice.choice(list(NoteKind))
        name = dice.choice(("", "api", throttle_name(dice.choice(flowing.LIMITS), dice.choice(flowing.KEYS))))
        self.chorus.note(held.lease, held, kind, name, dice.choice(VALUES), self.now)

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
        limit = dice.choice(LIMITS)
        self.chorus.ask(lambda engine: engine.promote(limit=limit, now=self.now))

    def promote_all(self, _dice: Dice) -> None:
        """Whoever always comes back at once has soon nothing to do: a worker would look without end."""
        for _ in range(TURNS):
            promoted = self.chorus.ask(lambda engine: engine.promote(now=self.now))
            if promoted.next_due is None or promoted.next_due > self.now:
                return
        raise AssertionError(f"after {TURNS} turns something is still due: {promoted}")

    def rescue(self, dice: Dice) -> None:
        witnesses = [
            Witness(self.some_lease(dice), dice.choice(("", "signal 9")), dice.random() < 0.3)
            for _ in range(dice.choice((0, 1, 1, 2)))
        ]
        delay = dice.choice(chance.DELAYS)
        self.chorus.ask(lambda engine: engine.rescue(witnesses, delay=delay, now=self.now), sorted)

    def prune(self, dice: Dice) -> None:
        limit = dice.choice(LIMITS)
        retention = chance.retention(dice)
        removed = self.chorus.ask(lambda engine: engine.prune(retention, limit=limit, now=self.now))
        assert removed <= limit
        self.removed += removed

    def age(self, dice: Dice) -> None:
        write = age_write(dice.choice(chance.QUEUES), dice.choice((1.0, 5.0)), "ada")
        if dice.random() < 0.5:
            self.chorus.ask(lambda engine: engine.write([write], now=self.now))
        self.chorus.ask(lambda engine: age_queues(engine, self.now))

    # operating

    def some_filter(self, dice: Dice) -> Filter:
        return chance.job_filter(dice, self.jobs, [lease.id for lease in self.seen.leases], self.now)

    def alter(self, dice: Dice) -> None:
        where, change, limit = self.some_filter(dice), chance.change(dice), dice.choice(LIMITS)
        altered = self.chorus.ask(lambda engine: engine.alter(where, change, actor="ada", limit=limit, now=self.now))
        assert len(altered) <= limit
        self.has_altered(change, altered)

    def has_altered(self, change: Change, altered: Sequence[Altered]) -> None:
        self.removed += sum(each.done and each.after is None for each in altered)
        self.ended_once |= {each.id for each in altered if each.before.final}
        if isinstance(change, Replay):
            self.sent_back |= {each.id for each in altered if each.done}
            for each in altered:
                if each.done and each.before.final:
                    self.ledger.sent_back(each.id, each.before)

    def lift(self, dice: Dice) -> None:
        wanted = {job: dice.randint(1, 5) for job in dice.choices(self.jobs, k=2)} if self.jobs else {}
        self.chorus.ask(lambda engine: lift(engine, wanted))

    def pause_or_resume(self, dice: Dice) -> None:
        queue, value = dice.choice(chance.QUEUES), dice.choice((None, None, "{}"))
        self.chorus.ask(lambda engine: engine.write([Write(Space.PAUSED, queue, value)], now=self.now))

    def write_a_rule(self, dice: Dice) -> None:
        write = flowing.record(dice, self.now)
        self.has_written([write], self.chorus.ask(lambda engine: engine.write([write], now=self.now)))

    def write_records(self, dice: Dice) -> None:
        some = [Write(dice.choice(FREE), dice.choice(("red", "blue", "x", "y")), dice.choice((None, "{}"))) for _ in range(3)]
        some += [flowing.record(dice, self.now) for _ in range(3)]
        writes = [each._replace(expect=dice.choice((None, 0, 1, 2, 3))) for each in dice.sample(some, dice.randint(0, 3))]
        self.has_written(writes, self.chorus.ask(lambda engine: engine.write(writes, now=self.now)))

    def has_written(self, writes: Sequence[Write], written: Sequence[Written]) -> None:
        for write, answer in zip(writes, written, strict=True):
            if answer.done:
                self.ledger.ruled(write)

    # looking

    def look_at_a_page(self, dice: Dice) -> None:
        where = self.some_filter(dice)
        after = chance.perhaps(dice, 0.5, [*self.jobs, "nobody"])
        page = Page(limit=dice.randint(0, 5), after=after, order=dice.choice(list(Order)), details=dice.random() < 0.5)
        self.chorus.ask(lambda engine: engine.find(where, page), lambda found: [settled(job) for job in found])

    def count_some(self, dice: Dice) -> None:
        where = self.some_filter(dice)
        by = dice.sample(list(Axis), dice.randint(0, len(Axis)))
        self.chorus.ask(lambda engine: engine.count(where, by))

    def look_at_what_a_lease_holds(self, dice: Dice) -> None:
        lease = dice.choice(self.leases)
        self.chorus.ask(lambda engine: engine.held(lease), lambda held: [each._replace(ref=0) for each in held])

    def look_at_records_and_gates(self, dice: Dice) -> None:
        space, keys = dice.choice(list(Space)), dice.choice((None, [], ["x", "x", "y", "nothing"], ["red", "api"]))
        self.chorus.ask(lambda engine: engine.read(space, keys))
        limits, limit = dice.choice((None, [], ["api"], ["db", "api", "db"], ["none"])), dice.randint(0, 3)
        self.chorus.ask(lambda engine: engine.gates(limits, limit=limit))

    # as one plan

    def several_at_once(self, dice: Dice) -> None:
        """Several verbs put together, claims behind the others, as a worker sends them."""
        lease, wants, now = self.some_lease(dice), chance.wants(dice), self.now
        ends = [(each, chance.outcome(dice)) for each in self.some_claims(dice)] if self.claims else []
        told_by = ends[0][0].lease if ends else lease
        witness = Witness(self.some_lease(dice), "exit 1", dice.random() < 0.5)
        write, jobs, retention = flowing.record(dice, now), self.some_new_jobs(dice), chance.retention(dice)
        where, change = self.some_filter(dice), chance.change(dice)
        verbs: dict[str, Callable[[Engine, int], Plan[Any]]] = {
            "promote": lambda engine, _: engine.promote(now=now),
            "rescue": lambda engine, _: engine.rescue([witness], now=now),
            "prune": lambda engine, _: engine.prune(retention, now=now),
            "renew": lambda engine, _: engine.renew(lease, 1, 60.0, now=now),
            "write": lambda engine, _: engine.write([write], now=now),
            "enqueue": lambda engine, _: engine.enqueue(jobs, now=now),
            "alter": lambda engine, _: engine.alter(where, change, actor="bob", now=now),
            "settle": lambda engine, place: engine.settle(told_by, settlements(ends, place), now=now),
            "claim": lambda engine, _: engine.claim(lease, wants, chance.TASKS, suspects=2, gated=5, now=now),
        }
        names = sorted(dice.sample(list(verbs), dice.randint(2, 5)), key="claim".__eq__)
        note(" ".join(names))
        answers = self.chorus.each(
            lambda engine, place: together(*(verbs[name](engine, place) for name in names)),
            lambda told: [_SHAPES.get(name, _as_it_is)(answer) for name, answer in zip(names, told, strict=True)],
        )
        what_came = {name: [told[at] for told in answers] for at, name in enumerate(names)}
        if "enqueue" in names:
            self.has_stored(jobs, what_came["enqueue"][0])
        if "claim" in names:
            self.has_claimed(held(lease, what_came["claim"]))
        if "alter" in names:
            self.has_altered(change, what_came["alter"][0])
        if "write" in names:
            self.has_written([write], what_came["write"][0])
        if "prune" in names:
            self.removed += what_came["prune"][0]


def _as_it_is(answer: Any) -> Any:
    return answer


def _renewed(renewal: Renewal) -> tuple[bool, list[JobId]]:
    return renewal.lost, sorted(renewal.cancels)


_SHAPES: dict[str, Callable[[Any], Any]] = {"renew": _renewed, "rescue": sorted, "claim": without_addresses}
"""What takes out of an answer what the contract leaves open."""
