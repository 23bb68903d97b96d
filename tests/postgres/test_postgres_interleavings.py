"""What several do at once: each of these once left a job behind for ever, let two run where one may, or ended in a circle."""

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
import pytest

from conformance.desk import DEATH, TASKS, Desk
from postgres.steps import Ours, ours
from postgres.test_postgres_crowd import at_once, commit_when_waited_for
from treadle.engine.admission import RECHECK
from treadle.engine.postgres.lent_psycopg import LentPsycopg
from treadle.engine.postgres.steps import Rows, Statement
from treadle.model.filter import Cancel, Erase, Filter, Prioritise, Replay, Retention
from treadle.model.flow import Hold, OnConflict, Ordering, Unique
from treadle.model.job import Edge, OnDead, Stored, Want
from treadle.model.outcome import Completed, Outcome, Settlement, Verdict
from treadle.model.state import State

PATIENCE = 20.0


class Interrupted(LentPsycopg):
    """A borrowed connection on which something happens just before a statement is sent (its `time`-th time)."""

    def __init__(self, connection: Any, statement: Statement, then: Callable[[], None], time: int = 1) -> None:
        super().__init__(connection)
        self.statement, self.then, self.left = statement, then, time

    def ask(self, statement: Statement, values: list[Any]) -> Rows:
        if statement == self.statement:
            self.left -= 1
            if self.left == 0:
                self.then()
        return super().ask(statement, values)


def interrupted(desk: Desk, connection: Any, verb: str, part: str, then: Callable[[], None], time: int = 1) -> Ours:
    return Ours(Interrupted(connection, desk.bench.store.statements(verb, part), then, time))  # type: ignore[attr-defined]


def ends_or_waits(thread: threading.Thread, connection: psycopg.Connection[Any], asking: psycopg.Connection[Any]) -> None:
    """Wait until a thread has ended, or waits for this connection's transaction."""
    deadline = time.monotonic() + PATIENCE
    waits = "SELECT 1 FROM pg_stat_activity WHERE %s = ANY(pg_blocking_pids(pid))"
    while thread.is_alive() and asking.execute(waits, (connection.info.backend_pid,)).fetchone() is None:
        assert time.monotonic() < deadline


def blocked_by(connection: psycopg.Connection[Any], asking: psycopg.Connection[Any], patience: float = PATIENCE) -> int:
    """Wait until somebody waits for this connection's transaction; who it is."""
    pid = connection.info.backend_pid
    deadline = time.monotonic() + patience
    while True:
        row = asking.execute("SELECT pid FROM pg_stat_activity WHERE %s = ANY(pg_blocking_pids(pid))", (pid,)).fetchone()
        if row is not None:
            return row[0]
        assert time.monotonic() < deadline


@contextmanager
def beside(task: Callable[[], Any]) -> Generator[threading.Thread, None, None]:
    """A thread with a task, to be started when it is time; its error is raised at the end."""
    errors: list[BaseException] = []

    def guarded() -> None:
        try:
            task()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=guarded)
    yield thread
    thread.join(PATIENCE)
    assert not thread.is_alive()
    if errors:
        raise errors[0]


def user(database: str) -> psycopg.Connection[Any]:
    """A user's transaction that hears of a deadlock first: the cycle is there whoever is chosen."""
    connection = psycopg.connect(database)
    connection.execute("SET deadlock_timeout = '100ms'")
    connection.commit()
    return connection


def test_child_stored_while_its_dead_parent_is_replayed_is_freed(own_desk: Desk, database: str) -> None:
    desk = own_desk
    parent = desk.add()
    desk.run_once(parent, DEATH)
    child = desk.new(edges=(Edge(parent, OnDead.HOLD),))

    with (
        psycopg.connect(database) as replaying,
        psycopg.connect(database) as storing,
        psycopg.connect(database, autocommit=True) as asking,
    ):
        replay = desk.engine.alter(Filter(ids=[parent]), Replay(), actor="ada", now=desk.now)
        desk.bench.store.borrow(replaying).run(replay)
        session = desk.bench.store.borrow(storing)
        at_once(
            [
                lambda: session.run(desk.engine.enqueue([child], now=desk.now)) and None,
                lambda: commit_when_waited_for(replaying, asking),
            ]
        )
        lease = desk.worker()
        running = desk.claim_one(lease, parent)
        done = threading.Thread(target=lambda: desk.finish(lease, running))
        done.start()
        ends_or_waits(done, storing, asking)
        storing.commit()
        done.join(PATIENCE)

    assert desk.state(parent) is State.COMPLETED
    assert desk.state(child.id) is State.QUEUED


def test_child_stored_while_its_cancelled_parent_is_replayed_is_freed(own_desk: Desk, database: str) -> None:
    desk = own_desk
    parent = desk.add()
    desk.alter_one(parent, Cancel())
    child = desk.new(edges=(Edge(parent, OnDead.HOLD),))

    def run() -> None:
        desk.alter_one(parent, Replay())
        lease = desk.worker()
        desk.finish(lease, desk.claim_one(lease, parent))

    with (
        psycopg.connect(database) as storing,
        psycopg.connect(database, autocommit=True) as asking,
        beside(run) as thread,
    ):

        def replay() -> None:
            thread.start()
            ends_or_waits(thread, storing, asking)

        interrupted(desk, storing, "enqueue", "known", replay).run(desk.engine.enqueue([child], now=desk.now))
        ends_or_waits(thread, storing, asking)
        storing.commit()

    assert desk.state(parent) is State.COMPLETED
    assert desk.state(child.id) in (State.QUEUED, State.CANCELLED)


def test_child_stored_while_its_dead_parent_is_erased_is_settled(own_desk: Desk, database: str) -> None:
    desk = own_desk
    parent = desk.add()
    desk.run_once(parent, DEATH)
    child = desk.new(edges=(Edge(parent, OnDead.HOLD),))

    with psycopg.connect(database) as storing, psycopg.connect(database, autocommit=True) as asking:
        desk.bench.store.borrow(storing).run(desk.engine.enqueue([child], now=desk.now))
        at_once([lambda: desk.alter_one(parent, Erase()) and None, lambda: commit_when_waited_for(storing, asking)])

    assert desk.state(child.id) is State.CANCELLED


def test_a_job_parked_at_a_limit_with_probes_is_called_though_the_end_of_the_probe_was_not_committed(
    own_desk: Desk, database: str
) -> None:
    desk = own_desk
    desk.limit("api")
    first, second = desk.add(holds=(Hold("api", "a"),)), desk.new(holds=(Hold("api", "b"),))
    lease = desk.worker()
    running = desk.claim_one(lease, first)

    with psycopg.connect(database) as ending:
        ends = [Settlement(running.ref, first, running.attempt, Completed(), 0.0)]
        assert ours(ending).run(desk.engine.settle(lease, ends, now=desk.now)) == [Verdict.DONE]
        desk.limit("api", closed_until=desk.now + 1, probes=1)
        desk.later(1)
        desk.enqueue(second)
        assert desk.claim(lease) == []
        assert desk.state(second.id) is State.BLOCKED
        desk.promote()

    for _ in range(5):
        desk.later(60)
        desk.promote()
    desk.claim_one(lease, second.id)


def test_who_gets_a_new_place_while_it_is_judged_does_not_wait_behind_nobody(own_desk: Desk, database: str) -> None:
    desk = own_desk
    job = desk.add(ordering=Ordering("a"))
    lease = desk.worker()

    def move() -> None:
        assert desk.alter_one(job, Cancel()).done
        assert desk.alter_one(job, Replay()).done

    with psycopg.connect(database) as claiming:
        session = interrupted(desk, claiming, "flows", "lock-limits", move)
        claims = session.run(desk.engine.claim(lease, [Want("default", 9, 9)], TASKS, gated=9, now=desk.now))
        assert len(claims.jobs) <= 1
        claiming.commit()

    for _ in range(3):
        desk.later(60)
        desk.promote()
    assert claims.jobs or desk.claim(lease), desk.job(job)


def test_a_key_forgotten_while_somebody_parks_at_it_still_calls(own_desk: Desk, database: str) -> None:
    desk = own_desk
    desk.limit("api", concurrency=1)
    desk.run_once(desk.add(holds=(Hold("api"),)))
    first, second = desk.new(holds=(Hold("api"),)), desk.new(holds=(Hold("api"),))
    lease = desk.worker()

    with (
        psycopg.connect(database) as pruning,
        psycopg.connect(database) as stop,
        psycopg.connect(database, autocommit=True) as asking,
    ):
        asking.execute("CREATE SCHEMA hook")
        asking.execute(
            "CREATE FUNCTION hook.date_part(what text, at timestamptz) RETURNS float8 LANGUAGE plpgsql AS $$ BEGIN "
            "IF current_setting('hook.flag', true) = '1' THEN PERFORM pg_advisory_lock(77), pg_advisory_unlock(77); END IF; "
            "RETURN pg_catalog.date_part(what, at); END $$"
        )
        stop.execute("SELECT pg_advisory_lock(77)")
        pruning.execute("SET search_path = hook, pg_catalog")  # the clock stands still within the statement for a while
        pruning.commit()
        session = interrupted(desk, pruning, "flows", "resting", lambda: pruning.execute("SET hook.flag = '1'") and None)
        with beside(lambda: session.run(desk.engine.prune(Retention(), now=None))) as thread:
            thread.start()
            blocked_by(stop, asking)
            desk.enqueue(first, second)
            running = desk.claim_one(lease, first.id)
            assert desk.state(second.id) is State.BLOCKED
            stop.execute("SELECT pg_advisory_unlock(77)")
        done = threading.Thread(target=lambda: desk.finish(lease, running))
        done.start()
        ends_or_waits(done, pruning, asking)
        pruning.commit()
        done.join(PATIENCE)

    for _ in range(3):
        desk.later(60)
        desk.promote()
    desk.claim_one(lease, second.id)


def test_who_is_started_behind_the_back_of_an_operator_is_not_queued_again(own_desk: Desk, database: str) -> None:
    """A job that another operator's replay brings back is changed without being held."""
    desk = own_desk
    job = desk.add(ordering=Ordering("a"))
    desk.run_once(job, DEATH)
    lease = desk.worker()

    with (
        psycopg.connect(database) as replaying,
        psycopg.connect(database) as altering,
        psycopg.connect(database, autocommit=True) as asking,
    ):
        replay = desk.engine.alter(Filter(ids=[job]), Replay(), actor="ada", now=desk.now)
        desk.bench.store.borrow(replaying).run(replay)
        session = interrupted(desk, altering, "alter", "prioritise", lambda: desk.claims_of(lease) and None)
        change = desk.engine.alter(Filter(ids=[job]), Prioritise(5), actor="bob", now=desk.now)
        at_once([lambda: session.run(change) and None, lambda: commit_when_waited_for(replaying, asking)])
        altering.commit()

    again = desk.claim(lease)
    assert not (job in desk.claims and [each.id for each in again] == [job] and again[0].attempt == 3), "it runs twice"


def test_two_of_a_line_do_not_run_because_one_was_erased_behind_the_back_of_an_operator(own_desk: Desk, database: str) -> None:
    desk = own_desk
    first = desk.add(ordering=Ordering("a", stop=True))
    desk.run_once(first, DEATH)
    second = desk.add(ordering=Ordering("a"))
    lease = desk.worker()
    running: list[Any] = []

    with (
        psycopg.connect(database) as replaying,
        psycopg.connect(database) as altering,
        psycopg.connect(database, autocommit=True) as asking,
    ):
        replay = desk.engine.alter(Filter(ids=[first]), Replay(), actor="ada", now=desk.now)
        desk.bench.store.borrow(replaying).run(replay)
        session = interrupted(desk, altering, "edges", "waiting", lambda: running.extend(desk.claim(lease)))
        change = desk.engine.alter(Filter(ids=[first]), Erase(), actor="bob", now=desk.now)
        at_once([lambda: session.run(change) and None, lambda: commit_when_waited_for(replaying, asking)])
        altering.commit()

    running += desk.claim(lease)
    assert len(running) <= 1, [each.id == second for each in running]


def test_a_child_that_came_back_meanwhile_is_not_cancelled_while_it_runs(own_desk: Desk, database: str) -> None:
    desk = own_desk
    parent = desk.add()
    child = desk.child(parent, on_dead=OnDead.CANCEL)
    lease = desk.worker()
    running = desk.claim_one(lease, parent)

    def come_back() -> None:
        desk.alter_one(child, Cancel())
        desk.alter_one(child, Replay())
        desk.claim_one(lease, child)

    with (
        psycopg.connect(database) as ending,
        psycopg.connect(database, autocommit=True) as asking,
        beside(come_back) as thread,
    ):

        def overtake() -> None:
            thread.start()
            ends_or_waits(thread, ending, asking)

        ends = [Settlement(running.ref, parent, running.attempt, DEATH, 0.0)]
        interrupted(desk, ending, "shared", "finish", overtake, time=2).run(desk.engine.settle(lease, ends, now=desk.now))
        ending.commit()

    assert desk.state(child) is State.RUNNING


@pytest.mark.parametrize(
    "retention", [Retention(completed=0.0), Retention(completed=None, completed_count=0)], ids=["too old", "one too many"]
)
def test_a_parent_is_not_pruned_while_its_child_is_being_stored(own_desk: Desk, database: str, retention: Retention) -> None:
    desk = own_desk
    parent = desk.add()
    desk.run_once(parent)
    child = desk.new(edges=(Edge(parent, OnDead.HOLD),))

    with psycopg.connect(database) as storing, psycopg.connect(database, autocommit=True) as asking:
        desk.bench.store.borrow(storing).run(desk.engine.enqueue([child], now=desk.now))
        with beside(lambda: desk.run(desk.engine.prune(retention, now=desk.now + 1))) as pruning:
            pruning.start()
            ends_or_waits(pruning, storing, asking)
            storing.commit()

    assert [kin[0] for kin in desk.job(child.id).parents] == [parent]


def test_a_known_id_is_an_answer_also_when_it_became_known_just_now(own_desk: Desk, database: str) -> None:
    desk = own_desk
    job = desk.new(holds=(Hold("api"),))

    with psycopg.connect(database) as storing, psycopg.connect(database, autocommit=True) as asking:
        desk.bench.store.borrow(storing).run(desk.engine.enqueue([job], now=desk.now))
        answers: list[Any] = []
        at_once([lambda: answers.extend(desk.enqueue(job)), lambda: commit_when_waited_for(storing, asking)])

    assert [each.verdict for each in answers] == [Stored.ALREADY]


def test_who_is_prioritised_while_it_is_judged_is_parked_where_it_stands(own_desk: Desk, database: str) -> None:
    desk = own_desk
    desk.limit("api", concurrency=1)
    lease = desk.worker()
    first = desk.add(holds=(Hold("api"),))
    running = desk.claim_one(lease, first)
    desk.add(holds=(Hold("api"),))
    urgent = desk.add(holds=(Hold("api"),))

    with psycopg.connect(database) as claiming:
        session = interrupted(desk, claiming, "flows", "lock-limits", lambda: desk.alter_one(urgent, Prioritise(9)) and None)
        session.run(desk.engine.claim(lease, [Want("default", 9, 9)], TASKS, gated=9, now=desk.now))
        claiming.commit()

    desk.finish(lease, running)
    desk.later(RECHECK / 1e6)
    desk.claim_one(lease, urgent)


def circle(desk: Desk, database: str, plan: Any, verb: str, part: str, other: Callable[[], Any]) -> None:
    """A user's plan is overtaken, just before one of its statements, by another that waits for it: neither must fail."""
    with user(database) as mine, psycopg.connect(database, autocommit=True) as asking, beside(other) as thread:

        def overtake() -> None:
            thread.start()
            with suppress(AssertionError):  # it may have ended, or wait for nobody
                blocked_by(mine, asking, 0.7)

        try:
            interrupted(desk, mine, verb, part, overtake).run(plan)
            mine.commit()
        except BaseException:
            mine.rollback()
            raise


@pytest.mark.parametrize("part", [("flows", "hold-keys"), ("enqueue", "known")], ids="/".join)
def test_deadlock_replay_and_enqueue_of_one_unique_key_and_line(own_desk: Desk, database: str, part: tuple[str, str]) -> None:
    desk = own_desk
    asked = {"unique": Unique("k"), "ordering": Ordering("a")}
    dead = desk.add(**asked)
    desk.run_once(dead, DEATH)
    plan = desk.engine.enqueue([desk.new(**asked)], now=desk.now)
    circle(desk, database, plan, *part, lambda: desk.alter_one(dead, Replay()))


@pytest.mark.parametrize("part", [("flows", "hold-keys"), ("enqueue", "known")], ids="/".join)
def test_deadlock_promote_and_replace_of_a_job_that_is_due(own_desk: Desk, database: str, part: tuple[str, str]) -> None:
    desk = own_desk
    asked = {"unique": Unique("k", on_conflict=OnConflict.REPLACE), "ordering": Ordering("a")}
    desk.add(delay=1.0, **asked)
    desk.later(2)
    plan = desk.engine.enqueue([desk.new(delay=1.0, **asked)], now=desk.now)
    circle(desk, database, plan, *part, desk.promote)


@pytest.mark.parametrize("part", [("flows", "hold-keys"), ("enqueue", "known")], ids="/".join)
def test_deadlock_enqueue_of_a_child_and_replace_of_its_parent(own_desk: Desk, database: str, part: tuple[str, str]) -> None:
    desk = own_desk
    unique = Unique("k", on_conflict=OnConflict.REPLACE)
    parent = desk.add(unique=unique)
    plan = desk.engine.enqueue([desk.new(edges=(Edge(parent, OnDead.HOLD),), unique=Unique("k"))], now=desk.now)
    circle(desk, database, plan, *part, lambda: desk.enqueue(desk.new(unique=unique)))


@pytest.mark.parametrize("end", [Completed(), DEATH], ids=["completed", "died"])
def test_deadlock_cancel_of_a_child_and_end_of_its_parent(own_desk: Desk, database: str, end: Outcome) -> None:
    desk = own_desk
    parent = desk.add()
    child = desk.child(parent, on_dead=OnDead.RUN)
    lease = desk.worker()
    running = desk.claim_one(lease, parent)
    plan = desk.engine.alter(Filter(ids=[child]), Cancel(), actor="ada", now=desk.now)
    circle(desk, database, plan, "shared", "finish", lambda: desk.settle(lease, (running, end)))
    assert desk.state(child) is State.CANCELLED


def test_deadlock_fan_in_enqueued_while_its_parents_end_in_one_batch(own_desk: Desk, database: str) -> None:
    desk = own_desk
    parents = [desk.add() for _ in range(3)]
    lease = desk.worker()
    running = desk.claim(lease)
    ends = [(running[i], Completed()) for i in (2, 1, 0)]
    child = desk.new(edges=tuple(Edge(parent, OnDead.HOLD) for parent in (parents[0], parents[2])))

    with (
        psycopg.connect(database) as other,
        psycopg.connect(database) as mine,
        psycopg.connect(database, autocommit=True) as asking,
        beside(lambda: desk.settle(lease, *ends)) as settle,
        beside(lambda: desk.bench.store.borrow(mine).run(desk.engine.enqueue([child], now=desk.now))) as enqueue,
    ):
        other.execute(
            "SELECT 1 FROM treadle.live AS l JOIN treadle.jobs AS j USING (n) WHERE j.id = %s FOR UPDATE OF l", (parents[1],)
        )
        settle.start()
        settling = blocked_by(other, asking)
        enqueue.start()
        # It waits for the settlement, or not at all.
        deadline = time.monotonic() + PATIENCE
        waits = "SELECT 1 FROM pg_stat_activity WHERE %s = ANY(pg_blocking_pids(pid))"
        while enqueue.is_alive() and asking.execute(waits, (settling,)).fetchone() is None:
            assert time.monotonic() < deadline
        other.rollback()
        enqueue.join(PATIENCE)
        mine.commit()
