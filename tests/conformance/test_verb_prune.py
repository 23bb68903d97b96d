"""prune: what retention lets go, and what is kept in spite of it."""

from dataclasses import replace

import pytest

from conformance.desk import DEATH, Desk
from treadle.model.filter import Annotate, Cancel, Filter, Prioritise, Replay, Resolve, Retention
from treadle.model.job import JobId, OnDead
from treadle.model.outcome import Completed, Expired, Outcome, Retrying, Snoozed
from treadle.model.state import State

FOREVER = Retention(completed=None, completed_count=None, cancelled=None, expired=None, dead=None, audit=None)
NOTHING_KEPT = Retention(completed=0.0, completed_count=0, cancelled=0.0, expired=0.0, dead=0.0)


def prune(desk: Desk, retention: Retention, limit: int = 1000) -> int:
    return desk.run(desk.engine.prune(retention, limit=limit, now=desk.now))


def ended(desk: Desk, outcome: Outcome = Completed()) -> JobId:  # noqa: B008
    job = desk.add()
    desk.run_once(job, outcome)
    return job


def cancelled(desk: Desk) -> JobId:
    job = desk.add()
    desk.alter_one(job, Cancel("no"))
    return job


def stored(desk: Desk) -> list[JobId]:
    return [job.id for job in desk.find()]


def test_nothing_to_prune(desk: Desk) -> None:
    assert prune(desk, NOTHING_KEPT) == 0


@pytest.mark.parametrize("field", ["completed", "cancelled", "expired"])
def test_each_state_has_its_own_age(desk: Desk, field: str) -> None:
    by_state = {"completed": ended(desk), "cancelled": cancelled(desk), "expired": ended(desk, Expired())}
    retention = Retention(**{**dict.fromkeys(("completed", "completed_count", "cancelled", "expired", "dead")), field: 60.0})
    desk.later(60)
    assert prune(desk, retention) == 0
    desk.later(1e-6)

    assert prune(desk, retention) == 1
    assert stored(desk) == [job for state, job in by_state.items() if state != field]


def test_none_keeps_for_ever(desk: Desk) -> None:
    ended(desk)
    cancelled(desk)
    ended(desk, Expired())
    desk.alter_one(ended(desk, DEATH), Resolve())
    desk.later(1e9)

    lines = desk.bench.audit()

    assert prune(desk, FOREVER) == 0
    assert desk.bench.audit() == lines


def test_old_lines_of_the_audit_go_uncounted(desk: Desk) -> None:
    job = desk.add()
    desk.alter_one(job, Prioritise(1))
    desk.later(30)
    desk.alter_one(job, Cancel())
    lines = desk.bench.audit()
    desk.later(30)
    assert prune(desk, replace(FOREVER, audit=60.0)) == 0
    assert desk.bench.audit() == lines
    desk.later(1e-6)

    assert prune(desk, replace(FOREVER, audit=60.0)) == 0
    assert desk.bench.audit() == lines[1:]


def test_no_more_lines_of_the_audit_go_at_a_time_than_ten_for_each_job_that_may(desk: Desk) -> None:
    job = ended(desk, DEATH)
    for _ in range(25):
        desk.alter_one(job, Annotate("again"))
    desk.later(1)

    left: list[int] = []
    for limit in (0, 1, 1, 1):
        prune(desk, replace(FOREVER, audit=0.5), limit)
        left.append(len(desk.bench.audit()))
    assert left == [25, 15, 5, 0]


def test_the_defaults_are_a_day_and_a_week(desk: Desk) -> None:
    done, gone = ended(desk), cancelled(desk)
    desk.later(86_400 + 1)
    assert prune(desk, Retention()) == 1
    assert stored(desk) == [gone]
    desk.later(6 * 86_400)
    assert prune(desk, Retention()) == 1
    assert done not in stored(desk)


def test_only_the_newest_completed_are_kept_by_count(desk: Desk) -> None:
    jobs = []
    for _ in range(5):
        jobs.append(ended(desk))
        desk.later(1)
    other = cancelled(desk)

    assert prune(desk, Retention(completed=None, completed_count=2)) == 3
    assert stored(desk) == [*jobs[3:], other]
    assert prune(desk, Retention(completed=None, completed_count=2)) == 0


def test_the_limit_takes_the_longest_finished_first(desk: Desk) -> None:
    first, second, third = desk.add(), desk.add(), desk.add()
    lease = desk.worker()
    claims = {claimed.id: claimed for claimed in desk.claim(lease)}
    for job in (second, third, first):
        desk.finish(lease, claims[job])
        desk.later(1)

    assert prune(desk, NOTHING_KEPT, limit=2) == 2
    assert stored(desk) == [first]


def test_an_open_dead_letter_is_kept_whatever_its_age(desk: Desk) -> None:
    job = ended(desk, DEATH)
    desk.later(1e9)

    assert prune(desk, NOTHING_KEPT) == 0
    assert stored(desk) == [job]


def test_a_resolved_dead_letter_is_kept_from_its_resolution(desk: Desk) -> None:
    job = ended(desk, DEATH)
    desk.later(1000)
    desk.alter_one(job, Resolve())
    retention = Retention(dead=60.0)
    desk.later(60)
    desk.alter_one(job, Annotate("a note does not renew it"))
    assert prune(desk, retention) == 0
    desk.later(1e-6)

    assert prune(desk, retention) == 1
    assert stored(desk) == []


def test_a_replayed_letter_that_completed_goes_as_a_completed_job(desk: Desk) -> None:
    job = ended(desk, DEATH)
    desk.alter_one(job, Replay())
    desk.run_once(job)
    desk.later(61)

    assert prune(desk, Retention(dead=10.0)) == 0
    assert prune(desk, Retention(completed=60.0, dead=None)) == 1


def test_live_jobs_are_never_pruned(desk: Desk) -> None:
    scheduled = desk.add(delay=9.0)
    retrying, snoozed, running = desk.add(), desk.add(), desk.add()
    desk.claim(desk.worker("holds", length=1e9), tasks=())
    lease = desk.worker(length=1e9)
    claims = {claimed.id: claimed for claimed in desk.claim(lease)}
    desk.finish(lease, claims[retrying], Retrying(1.0, "{}"))
    desk.finish(lease, claims[snoozed], Snoozed(1.0))
    queued = desk.add()
    blocked = desk.child(queued)
    desk.later(1e8)

    assert prune(desk, NOTHING_KEPT) == 0
    assert stored(desk) == [scheduled, retrying, snoozed, running, queued, blocked]


@pytest.mark.parametrize("on_dead", OnDead)
def test_a_parent_of_a_live_job_is_kept(desk: Desk, on_dead: OnDead) -> None:
    parent = ended(desk)
    waiting = desk.add()
    child = desk.child(parent, waiting, on_dead=on_dead)
    desk.later(10)
    assert prune(desk, NOTHING_KEPT) == 0
    desk.run_once(waiting)
    desk.later(10)
    assert prune(desk, NOTHING_KEPT) == 0
    desk.run_once(child)
    desk.later(10)

    assert prune(desk, NOTHING_KEPT) == 3
    assert stored(desk) == []


def test_parents_are_dropped_from_the_details_of_their_children(desk: Desk) -> None:
    parent = ended(desk)
    desk.later(10)
    child = desk.child(parent)
    desk.run_once(child)

    assert prune(desk, Retention(completed=5.0)) == 1
    assert desk.job(child).parents == ()


def test_children_are_dropped_from_the_details_of_their_parents(desk: Desk) -> None:
    parent = ended(desk, DEATH)
    child = desk.child(parent, on_dead=OnDead.RUN)
    desk.run_once(child)
    desk.later(10)

    assert prune(desk, NOTHING_KEPT) == 1
    assert desk.job(parent).children == ()


def test_a_pruned_id_can_be_enqueued_anew(desk: Desk) -> None:
    job = ended(desk)
    desk.later(10)
    prune(desk, NOTHING_KEPT)

    [answer] = desk.enqueue(desk.new(id=job))

    assert answer.state is State.QUEUED
    fresh = desk.job(job)
    assert (fresh.attempt, fresh.attempts, fresh.result, dict(fresh.notes or {})) == (0, (), None, {})


def test_many_in_small_steps(desk: Desk) -> None:
    for _ in range(7):
        cancelled(desk)
    desk.later(10)

    assert [prune(desk, NOTHING_KEPT, limit=3) for _ in range(4)] == [3, 3, 1, 0]
    assert desk.run(desk.engine.count(Filter(), ()))[0].count == 0


def test_an_id_enqueued_anew_does_not_inherit_the_children_of_the_pruned(desk: Desk) -> None:
    parent = ended(desk)
    desk.later(10)
    child = desk.child(parent)
    desk.run_once(child)
    prune(desk, Retention(completed=5.0))

    desk.enqueue(desk.new(id=parent))

    assert (desk.job(parent).children, desk.job(child).parents) == ((), ())
