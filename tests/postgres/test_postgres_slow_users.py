"""A user's transaction stays open for as long as he likes: it keeps its own work from others, and nothing else.

Each of these waited until he committed, and a worker's whole exchange with it. A call that waits fails at its deadline.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from conformance.desk import Desk
from postgres.steps import Ours, ours
from postgres.test_postgres_interleavings import PATIENCE, ends_or_waits
from treadle.engine.postgres.lent_psycopg import LentPsycopg
from treadle.engine.postgres.steps import Rows, Statement
from treadle.model.filter import Erase, Filter, Retention
from treadle.model.flow import Hold, Ordering
from treadle.model.job import Claimed, JobId, LeaseId, Want
from treadle.model.outcome import Completed, Note, NoteKind, Retrying, Settlement, Verdict
from treadle.model.state import State

ONE = (Hold("one", "k"),)
LINE = Ordering("line")


@pytest.fixture
def desk(own_desk: Desk) -> Desk:
    own_desk.limit("one", concurrency=1)
    return own_desk


@pytest.fixture
def user(database: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database) as connection:
        yield connection


@contextmanager
def completing(desk: Desk, user: psycopg.Connection, lease: LeaseId, claimed: Claimed) -> Iterator[None]:
    """While a user's transaction that completes a job is open; it commits at the end."""
    settlement = Settlement(claimed.ref, claimed.id, claimed.attempt, Completed("7"), 0.25)
    assert desk.bench.store.borrow(user).run(desk.engine.settle(lease, [settlement], now=desk.now)) == [Verdict.DONE]
    yield
    user.commit()


@dataclass(frozen=True)
class Orphan:
    """A child that nobody has told yet that its parent was completed, by whom and in which attempt."""

    child: JobId
    parent: JobId
    lease: LeaseId
    claimed: Claimed


@pytest.fixture
def orphan(desk: Desk, user: psycopg.Connection) -> Orphan:
    """What a user's transaction that completed a parent has left behind."""
    parent = desk.add()
    lease = desk.worker()
    claimed = desk.claim_one(lease, parent)
    child = desk.child(parent)
    with completing(desk, user, lease, claimed):
        pass
    return Orphan(child, parent, lease, claimed)


def test_who_is_parked_behind_it_keeps_no_claim_waiting(desk: Desk, user: psycopg.Connection) -> None:
    first, second = (desk.add(holds=ONE) for _ in range(2))
    lease = desk.worker()
    [claimed] = desk.claim(lease)
    third, plain = desk.add(holds=ONE), desk.add()

    with completing(desk, user, lease, claimed):
        assert [each.id for each in desk.claim(desk.worker())] == [plain]

    assert desk.settle(lease, (claimed, Completed("7"))) == [Verdict.ALREADY]
    assert desk.states(first, second) == [State.COMPLETED, State.QUEUED]
    assert [each.id for each in desk.claim(lease)] == [second]
    assert desk.state(third) is State.BLOCKED


def test_whoever_promotes_calls_the_next_when_nobody_settles(desk: Desk, user: psycopg.Connection) -> None:
    """The worker has died between the commit and its own word."""
    first, second = (desk.add(holds=ONE) for _ in range(2))
    lease = desk.worker()
    [claimed] = desk.claim(lease)

    with completing(desk, user, lease, claimed):
        assert desk.promote().queued == 0
    assert desk.states(first, second) == [State.COMPLETED, State.BLOCKED]
    desk.promote()

    assert desk.state(second) is State.QUEUED


@pytest.mark.parametrize("settled", [True, False])
def test_the_next_in_line_is_called_after_the_commit(desk: Desk, user: psycopg.Connection, settled: bool) -> None:
    first, second, third = (desk.add(ordering=LINE) for _ in range(3))
    lease = desk.worker()
    [claimed] = desk.claim(lease)
    assert desk.states(second, third) == [State.BLOCKED] * 2

    with completing(desk, user, lease, claimed):
        assert desk.claim(lease) == []
        assert desk.states(first, second) == [State.RUNNING, State.BLOCKED]
    if settled:
        assert desk.settle(lease, (claimed, Completed("7"))) == [Verdict.ALREADY]
    else:
        desk.promote()

    assert desk.states(first, second, third) == [State.COMPLETED, State.QUEUED, State.BLOCKED]
    assert [each.id for each in desk.claim(lease)] == [second]


def test_another_parent_of_its_child_ends_meanwhile(desk: Desk, user: psycopg.Connection) -> None:
    parents = [desk.add() for _ in range(2)]
    lease = desk.worker()
    slow, other = desk.claim(lease)
    child = desk.child(*parents)

    with completing(desk, user, lease, slow):
        desk.finish(lease, other)
        assert desk.state(child) is State.BLOCKED

    assert desk.settle(lease, (slow, Completed("7"))) == [Verdict.ALREADY]
    assert desk.state(child) is State.QUEUED


def test_a_late_error_of_the_body_does_what_is_left(desk: Desk, orphan: Orphan) -> None:
    assert desk.settle(orphan.lease, (orphan.claimed, Retrying(1.0, "{}"))) == [Verdict.ALREADY]

    assert desk.state(orphan.child) is State.QUEUED


def test_what_is_left_is_done_once(desk: Desk, user: psycopg.Connection, orphan: Orphan) -> None:
    desk.promote()
    assert desk.run_once(orphan.child).state is State.COMPLETED

    assert desk.settle(orphan.lease, (orphan.claimed, Completed("7"))) == [Verdict.ALREADY]
    desk.promote()

    assert desk.states(orphan.parent, orphan.child) == [State.COMPLETED] * 2
    assert user.execute("SELECT count(*) FROM treadle.aftermath").fetchone() == (0,)


def test_a_rollback_leaves_nothing_to_be_done(desk: Desk, user: psycopg.Connection) -> None:
    first, second = (desk.add(holds=ONE) for _ in range(2))
    lease = desk.worker()
    [claimed] = desk.claim(lease)
    settlement = Settlement(claimed.ref, claimed.id, claimed.attempt, Completed("7"), 0.25)
    desk.bench.store.borrow(user).run(desk.engine.settle(lease, [settlement], now=desk.now))
    user.rollback()
    desk.promote()
    assert desk.states(first, second) == [State.RUNNING, State.BLOCKED]

    desk.finish(lease, claimed)

    assert desk.states(first, second) == [State.COMPLETED, State.QUEUED]


@pytest.mark.parametrize("how", ["prune", "erase"])
def test_a_job_that_goes_before_anybody_came_leaves_nobody_behind(desk: Desk, user: psycopg.Connection, how: str) -> None:
    first, second = (desk.add(holds=ONE) for _ in range(2))
    lease = desk.worker()
    [claimed] = desk.claim(lease)
    with completing(desk, user, lease, claimed):
        pass

    if how == "prune":
        desk.run(desk.engine.prune(Retention(completed=0.0), now=desk.now + 1))
    else:
        desk.alter(Filter(ids=[first]), Erase())

    assert desk.find(ids=[first]) == []
    assert desk.state(second) is State.QUEUED


def test_what_is_said_of_it_keeps_nobody_waiting(desk: Desk, user: psycopg.Connection) -> None:
    jobs = [desk.add() for _ in range(2)]
    lease = desk.worker()
    ending, other = desk.claim(lease)
    notes = [Note(each.ref, each.id, each.attempt, NoteKind.PROGRESS, "", "[0.5,null]") for each in (ending, other)]

    with completing(desk, user, lease, ending):
        assert desk.run(desk.engine.note(lease, notes, now=desk.now)) == [Verdict.DONE, Verdict.DONE]

    assert [desk.job(each).progress is None for each in jobs] == [False, False]


def test_who_stores_into_a_line_keeps_only_that_line_waiting(desk: Desk, user: psycopg.Connection) -> None:
    due = desk.add(ordering=LINE, delay=1.0)
    other = desk.add(ordering=Ordering("another"), delay=1.0)
    plain = desk.add(delay=1.0)
    stored = desk.new(ordering=LINE)
    desk.bench.store.borrow(user).run(desk.engine.enqueue([stored], now=desk.now))
    desk.later(1)

    assert desk.promote().queued == 2
    assert desk.states(due, other, plain) == [State.SCHEDULED, State.QUEUED, State.QUEUED]
    user.commit()
    assert desk.promote().queued == 1

    lease = desk.worker()
    assert [each.id for each in desk.claim(lease)] == [stored.id, other, plain]
    assert desk.state(due) is State.BLOCKED


@pytest.mark.parametrize("outcome", [Completed("7"), Retrying(1.0, "{}")])
def test_a_child_whose_line_is_being_written_comes_later(
    desk: Desk, user: psycopg.Connection, outcome: Completed | Retrying
) -> None:
    """Whatever ends beside its parent."""
    desk.add()
    parent = desk.add()
    lease = desk.worker()
    beside, ending = desk.claim(lease)
    child = desk.child(parent, ordering=LINE)
    stored = desk.new(ordering=LINE)
    desk.bench.store.borrow(user).run(desk.engine.enqueue([stored], now=desk.now))

    assert desk.settle(lease, (beside, outcome), (ending, Completed())) == [Verdict.DONE] * 2
    assert desk.state(child) is State.SCHEDULED
    user.commit()
    assert desk.promote().queued == 1

    assert [each.id for each in desk.claim(lease)] == [stored.id]
    assert desk.state(child) is State.BLOCKED


def test_an_edge_is_counted_down_once_whoever_comes_first(desk: Desk, user: psycopg.Connection, database: str) -> None:
    """A worker settles while another's promote does what is left: the child ran before its other parent had ended."""
    parents = [desk.add() for _ in range(2)]
    lease = desk.worker()
    slow, other = desk.claim(lease)
    child = desk.child(*parents)
    with completing(desk, user, lease, slow):
        pass

    with psycopg.connect(database) as promoting:
        ours(promoting).run(desk.engine.promote(now=desk.now))
        settling = threading.Thread(target=lambda: desk.settle(lease, (slow, Completed("7"))))
        settling.start()
        with psycopg.connect(database, autocommit=True) as asking:
            ends_or_waits(settling, promoting, asking)
        promoting.commit()
        settling.join(PATIENCE)

    assert desk.state(child) is State.BLOCKED
    desk.finish(lease, other)
    assert desk.state(child) is State.QUEUED


@pytest.mark.parametrize("how", ["prune", "erase"])
def test_a_job_goes_only_when_whoever_does_what_it_left_is_done(
    desk: Desk, user: psycopg.Connection, database: str, how: str
) -> None:
    first, second = (desk.add(holds=ONE) for _ in range(2))
    lease = desk.worker()
    [claimed] = desk.claim(lease)
    with completing(desk, user, lease, claimed):
        pass

    def go() -> None:
        if how == "prune":
            desk.run(desk.engine.prune(Retention(completed=0.0), now=desk.now + 1))
        else:
            desk.alter(Filter(ids=[first]), Erase())

    class Between(LentPsycopg):
        """Somebody removes the job when its note has just been taken."""

        def ask(self, statement: Statement, values: list[Any]) -> Rows:
            rows = super().ask(statement, values)
            if rows and statement == desk.bench.store.statements("aftermath", "take"):  # type: ignore[attr-defined]
                going.start()
                ends_or_waits(going, promoting, asking)
            return rows

    going = threading.Thread(target=go)
    with psycopg.connect(database) as promoting, psycopg.connect(database, autocommit=True) as asking:
        Ours(Between(promoting)).run(desk.engine.promote(now=desk.now))
        promoting.commit()
        going.join(PATIENCE)

    assert desk.find(ids=[first]) == []
    assert desk.state(second) is State.QUEUED


def test_the_child_of_an_erased_job_that_was_completed_runs(desk: Desk, orphan: Orphan) -> None:
    desk.alter(Filter(ids=[orphan.parent]), Erase())

    assert desk.state(orphan.child) is State.QUEUED


def test_many_of_one_line_keep_no_other_from_being_queued(desk: Desk, user: psycopg.Connection) -> None:
    for _ in range(5):
        desk.add(ordering=LINE, delay=1.0)
    other = desk.add(delay=1.0)
    desk.bench.store.borrow(user).run(desk.engine.enqueue([desk.new(ordering=LINE)], now=desk.now))
    desk.later(1)

    assert desk.promote(limit=3).queued == 1

    assert desk.state(other) is State.QUEUED


def test_a_child_that_a_user_holds_keeps_no_other_from_being_called(
    desk: Desk, user: psycopg.Connection, database: str
) -> None:
    parents = [desk.add() for _ in range(2)]
    lease = desk.worker()
    claims = desk.claim(lease)
    held, free = (desk.child(parent) for parent in parents)
    for claimed in claims:
        with completing(desk, user, lease, claimed):
            pass
    user.execute("SELECT 1 FROM treadle.live AS l JOIN treadle.jobs AS j ON j.n = l.n WHERE j.id = %s FOR UPDATE OF l", (held,))

    desk.promote()
    assert desk.states(held, free) == [State.BLOCKED, State.QUEUED]
    user.rollback()
    desk.promote()

    assert desk.states(held, free) == [State.QUEUED, State.QUEUED]


def test_a_lease_that_ran_out_under_a_user_keeps_no_other_from_being_rescued(desk: Desk, user: psycopg.Connection) -> None:
    jobs = [desk.add() for _ in range(2)]
    slow, lost = desk.worker("slow", length=1.0), desk.worker("lost", length=1.0)
    [completed] = desk.claim(slow, Want("default", 1, 1))
    desk.claim(lost)

    with completing(desk, user, slow, completed):
        desk.later(2)
        assert [each.id for each in desk.rescue()] == jobs[1:]

    assert desk.states(*jobs) == [State.COMPLETED, State.RETRYING]
