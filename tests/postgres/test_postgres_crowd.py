"""Many sessions at once on one limit, one line, one key: no bound is ever passed, and nobody waits for ever."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from itertools import count
from typing import Any

import psycopg
import pytest

from conformance.desk import DEATH, TASKS, Desk
from postgres.steps import ours
from treadle.engine.admission import RECHECK
from treadle.engine.plan import together
from treadle.engine.session import Session
from treadle.model.filter import Cancel, Filter
from treadle.model.flow import Hold, OnConflict, Ordering, Rule, Unique
from treadle.model.job import Claimed, NewJob, OnDead, Stored, Want, WorkerInfo
from treadle.model.outcome import Completed, Outcome, Released, Settlement, Verdict
from treadle.model.record import Space, Write
from treadle.model.state import State

WORKERS = 6
PATIENCE = 60.0
_numbers = count(1)


def new(**options: Any) -> NewJob:
    return NewJob(f"0190{next(_numbers):032x}"[:36], "work", **options)


def at_once(tasks: list[Callable[[], None]]) -> None:
    """Run all in threads of their own; the first error of any is raised."""
    failures: list[BaseException] = []

    def guarded(task: Callable[[], None]) -> None:
        try:
            task()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(task,)) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE * 2)
        assert not thread.is_alive()
    if failures:
        raise failures[0]


def commit_when_waited_for(connection: psycopg.Connection[Any], asking: psycopg.Connection[Any]) -> None:
    """Commit as soon as somebody waits for what this transaction holds."""
    deadline = time.monotonic() + PATIENCE
    waiting = "SELECT 1 FROM pg_stat_activity WHERE %s = ANY(pg_blocking_pids(pid))"
    while asking.execute(waiting, (connection.info.backend_pid,)).fetchone() is None:
        assert time.monotonic() < deadline
    connection.commit()


@contextmanager
def lone(desk: Desk) -> Generator[Session, None, None]:
    session = desk.bench.store.session()
    yield session
    session.close()


class Crowd:
    """Workers that claim and settle by the store's own clock until so many jobs have completed."""

    def __init__(self, desk: Desk, jobs: int, seed: int) -> None:
        self.desk = desk
        self.left = jobs
        self.seed = seed
        self.lock = threading.Lock()
        self.running: Counter[Any] = Counter()
        self.most: Counter[Any] = Counter()
        self.starts: list[tuple[int, Claimed]] = []
        self.keys: dict[str, tuple[Any, ...]] = {}

    def work(self, number: int) -> None:
        dice = random.Random(f"{self.seed} {number}")
        engine = self.desk.engine
        deadline = time.monotonic() + PATIENCE
        with lone(self.desk) as session:
            lease = f"lease-{number}"
            session.run(engine.renew(lease, 0, 300.0, worker=WorkerInfo("w", "host", number, ("default",), TASKS, 8)))
            held: list[Claimed] = []
            while self.left > 0:
                assert time.monotonic() < deadline, (self.left, self.desk.gates())
                dice.shuffle(held)
                ends = [held.pop() for _ in range(dice.randint(0, len(held)))]
                self._end(ends)
                outcomes: list[Outcome] = [Released() if dice.random() < 0.1 else Completed() for _ in ends]
                settlements = [Settlement(c.ref, c.id, c.attempt, o, 0.0) for c, o in zip(ends, outcomes, strict=True)]
                claim = engine.claim(lease, [Want("default", 4, 4)], TASKS, gated=4)
                verdicts, claims = session.run(together(engine.settle(lease, settlements), claim))
                assert verdicts == [Verdict.DONE] * len(ends)
                self._start(claims.jobs, sum(type(each) is Completed for each in outcomes))
                held += claims.jobs
                session.run(engine.promote())

    def _end(self, ends: list[Claimed]) -> None:
        # Counted down before the store hears of it, and up after: what is seen here is never more than what runs.
        with self.lock:
            for claimed in ends:
                for key in self.keys[claimed.id]:
                    self.running[key] -= 1

    def _start(self, jobs: list[Claimed], completed: int) -> None:
        with self.lock:
            self.left -= completed
            for claimed in jobs:
                self.starts.append((claimed.claimed_at, claimed))
                for key in self.keys[claimed.id]:
                    self.running[key] += 1
                    self.most[key] = max(self.most[key], self.running[key])


@pytest.mark.parametrize(("limits", "keys"), [(["api", "db"], "abc"), (["db"], "abcdefghijkl")], ids=["several", "one each"])
def test_no_more_than_so_many_run_under_any_key(own_desk: Desk, limits: list[str], keys: str) -> None:
    """With one limit and many keys most claims find the way clear."""
    desk = own_desk
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    dice = random.Random(seed)
    desk.limit("api", concurrency=2)
    desk.limit("db", concurrency=3)
    jobs = [new(holds=tuple(Hold(name, key) for name in limits if (key := dice.choice(["", *keys])))) for _ in range(300)]
    crowd = Crowd(desk, len(jobs), seed)
    crowd.keys = {job.id: tuple((hold.limit, hold.key) for hold in job.holds) for job in jobs}
    desk.enqueue(*jobs)

    at_once([lambda n=n: crowd.work(n) for n in range(WORKERS)])

    assert all(most <= {"api": 2, "db": 3}[limit] for (limit, _), most in crowd.most.items()), crowd.most
    assert max(crowd.most.values()) > 1
    assert desk.gates() == []


def test_who_is_parked_while_the_last_ahead_is_ending_is_called_however_early_its_key_is_looked_at(
    own_desk: Desk, database: str
) -> None:
    """The end of an attempt that is not committed yet hides from a look that the room is free."""
    desk = own_desk
    desk.limit("api", concurrency=1)
    first, second = desk.add(holds=(Hold("api"),)), desk.add(holds=(Hold("api"),))
    lease = desk.worker()
    [running] = desk.claim(lease, gated=1)

    with psycopg.connect(database) as ending:
        ends = [Settlement(running.ref, first, running.attempt, Completed(), 0.0)]
        assert ours(ending).run(desk.engine.settle(lease, ends, now=desk.now)) == [Verdict.DONE]
        assert desk.claim(lease) == []
        assert desk.state(second) is State.BLOCKED
        assert desk.promote().queued == 0
        assert desk.promote().queued == 0

    assert desk.promote().queued == 1
    desk.claim_one(lease, second)


def test_who_is_being_changed_while_its_room_comes_free_is_called_later(own_desk: Desk, database: str) -> None:
    """A parked job that somebody else has locked is passed by, and looked at again."""
    desk = own_desk
    desk.limit("api", concurrency=1)
    first, second = desk.add(holds=(Hold("api"),)), desk.add(holds=(Hold("api"),))
    lease = desk.worker()
    running = desk.claim_one(lease, first)
    assert desk.state(second) is State.BLOCKED

    with psycopg.connect(database) as other:
        other.execute("SELECT n FROM treadle.live WHERE state = 'blocked' FOR UPDATE")
        desk.finish(lease, running)
        assert desk.promote().queued == 0
    desk.later(RECHECK / 1e6)

    assert desk.promote().queued == 1
    desk.claim_one(lease, second)


def test_who_is_being_changed_while_its_turn_comes_is_waited_for(own_desk: Desk, database: str) -> None:
    """Nobody looks at a line again, so the next in it must not be passed by."""
    desk = own_desk
    first, second = desk.add(ordering=Ordering("a")), desk.add(ordering=Ordering("a"))
    lease = desk.worker()
    running = desk.claim_one(lease, first)
    assert desk.state(second) is State.BLOCKED

    with psycopg.connect(database) as other, psycopg.connect(database, autocommit=True) as asking:
        other.execute("SELECT n FROM treadle.live WHERE state = 'blocked' FOR UPDATE")

        at_once([lambda: desk.finish(lease, running) and None, lambda: commit_when_waited_for(other, asking)])

    desk.claim_one(lease, second)


def test_a_place_that_a_dead_parent_gave_is_not_committed_behind_a_later_one(own_desk: Desk, database: str) -> None:
    """Places come in the order of commits: else two of one line would run at once."""
    desk = own_desk
    parent = desk.add()
    child = desk.child(parent, on_dead=OnDead.RUN, ordering=Ordering("a"))
    lease = desk.worker()
    running = desk.claim_one(lease, parent)
    later = desk.new(ordering=Ordering("a"))

    with psycopg.connect(database) as ending, psycopg.connect(database, autocommit=True) as asking:
        ends = [Settlement(running.ref, parent, running.attempt, DEATH, 0.0)]
        assert ours(ending).run(desk.engine.settle(lease, ends, now=desk.now)) == [Verdict.DONE]
        at_once([lambda: desk.enqueue(later) and None, lambda: commit_when_waited_for(ending, asking)])

    first = desk.claim_one(lease, child)
    desk.finish(lease, first)
    desk.claim_one(lease, later.id)


@pytest.mark.parametrize(("rate", "burst"), [(100, 5), (2000, 40)])
def test_a_rate_is_never_beyond_its_bound(own_desk: Desk, rate: int, burst: int) -> None:
    desk = own_desk
    desk.limit("api", rate=rate, per=1, burst=burst)
    jobs = [new(holds=(Hold("api"),)) for _ in range(150)]
    crowd = Crowd(desk, len(jobs), 0)
    crowd.keys = {job.id: () for job in jobs}
    desk.enqueue(*jobs)

    at_once([lambda n=n: crowd.work(n) for n in range(WORKERS)])

    moments = sorted(at for at, _ in crowd.starts)
    assert len(moments) >= len(jobs)
    for first, at in enumerate(moments):
        for last in range(first, len(moments)):
            assert last - first + 1 <= burst + rate * (moments[last] - at) / 1e6


def test_a_line_runs_one_at_a_time_and_in_order(own_desk: Desk) -> None:
    desk = own_desk
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    producers, each = 3, 40
    crowd = Crowd(desk, producers * each, seed)
    places = dict[str, tuple[int, int]]()

    def produce(number: int) -> None:
        dice = random.Random(f"{seed} producer {number}")
        with lone(desk) as session:
            for place in range(each):
                line = dice.choice("ab")
                job = new(ordering=Ordering(line))
                crowd.keys[job.id] = (line,)
                places[job.id] = (number, place)
                session.run(desk.engine.enqueue([job]))

    at_once([*(lambda n=n: crowd.work(n) for n in range(WORKERS)), *(lambda n=n: produce(n) for n in range(producers))])

    assert crowd.most == {"a": 1, "b": 1}
    first: dict[str, int] = {}
    for at, claimed in crowd.starts:
        first.setdefault(claimed.id, at)
    for line in "ab":
        for number in range(producers):
            order = [job for job in first if crowd.keys[job] == (line,) and places[job][0] == number]
            assert order == sorted(order, key=lambda job: places[job])


def test_of_fifty_that_race_for_a_key_one_is_stored(own_desk: Desk) -> None:
    desk = own_desk
    answers: list[Any] = []
    barrier = threading.Barrier(50)

    def enqueue() -> None:
        with lone(desk) as session:
            job = new(unique=Unique("only"))
            barrier.wait(PATIENCE)
            answers.extend(session.run(desk.engine.enqueue([job])))

    at_once([enqueue] * 50)

    assert Counter(answer.verdict for answer in answers) == {Stored.STORED: 1, Stored.DUPLICATE: 49}
    assert len({answer.id for answer in answers}) == 1


def test_of_those_that_replace_each_other_the_last_stays(own_desk: Desk) -> None:
    desk = own_desk

    def enqueue() -> None:
        with lone(desk) as session:
            for _ in range(10):
                session.run(desk.engine.enqueue([new(unique=Unique("only", on_conflict=OnConflict.REPLACE))]))

    at_once([enqueue] * 8)

    states = Counter(job.state for job in desk.find())
    assert states == {State.QUEUED: 1, State.CANCELLED: 79}


def test_rules_and_operators_may_come_between(own_desk: Desk) -> None:
    desk = own_desk
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    dice = random.Random(seed)
    desk.limit("api", concurrency=1)
    jobs = [new(holds=(Hold("api", dice.choice("ab")),), ordering=Ordering(dice.choice("xyz"))) for _ in range(150)]
    doomed = [new(holds=(Hold("api", "a"),), ordering=Ordering("x"), tags=("doomed",)) for _ in range(30)]
    mixed = [*jobs, *doomed]
    dice.shuffle(mixed)
    crowd = Crowd(desk, len(mixed), seed)
    crowd.keys = {job.id: () for job in mixed}
    desk.enqueue(*mixed)

    def change() -> None:
        waiting = Filter(tag="doomed", states=[State.QUEUED, State.BLOCKED])
        with lone(desk) as session:
            while crowd.left > 0:
                rule = Rule(concurrency=dice.randint(1, 3))
                session.run(desk.engine.write([Write(Space.LIMIT, "api", rule.to_text())]))
                gone = session.run(desk.engine.alter(waiting, Cancel(), actor="ada", limit=1))
                with crowd.lock:
                    crowd.left -= sum(each.done for each in gone)

    at_once([*(lambda n=n: crowd.work(n) for n in range(3)), change])

    assert {job.state for job in desk.find()} <= {State.COMPLETED, State.CANCELLED}
    assert desk.gates() == []
