"""alter: each change on each state, and the audit line it leaves."""

from typing import Any

import pytest

from conformance.desk import DEATH, SECOND, AuditEntry, Desk
from treadle.model.filter import Altered, Annotate, Cancel, Change, Erase, Filter, Prioritise, Replay, Resolve
from treadle.model.job import DeadLetter, Edge, JobId, NewJob
from treadle.model.outcome import Completed, Expired, Retrying, Snoozed
from treadle.model.state import State

WAITING = (State.SCHEDULED, State.BLOCKED, State.QUEUED, State.RETRYING)
CHANGES: list[Change] = [
    Cancel("no"),
    Replay(),
    Replay(delay=5.0),
    Replay(args="[9]", note="try this"),
    Resolve("known"),
    Annotate("look"),
    Erase(),
    Prioritise(7),
    Prioritise(0),
]


def bring(desk: Desk, state: State, **options: Any) -> JobId:
    """A job in this state; whatever it needs beside it is kept in another queue."""
    match state:
        case State.SCHEDULED:
            return desk.add(delay=60.0, **options)
        case State.BLOCKED:
            return desk.child(desk.add(queue="beside"), **options)
        case State.QUEUED:
            return desk.add(**options)
        case _:
            pass
    job = desk.add(**options)
    if state is State.CANCELLED:
        desk.alter_one(job, Cancel("no"))
        return job
    lease = desk.worker()
    claimed = desk.claim_one(lease, job)
    outcomes = {
        State.RETRYING: Retrying(60.0, "{}"),
        State.COMPLETED: Completed("7"),
        State.DEAD: DEATH,
        State.EXPIRED: Expired(),
    }
    if state is not State.RUNNING:
        desk.finish(lease, claimed, outcomes[state])
    assert desk.state(job) is state
    return job


def expected(state: State, change: Change) -> State | str | None:
    """The state after a permitted change, None when erased, or "refused"."""
    match change:
        case Cancel():
            if state in WAITING:
                return State.CANCELLED
            return state if state is State.RUNNING else "refused"
        case Replay(delay=delay):
            if state in (State.DEAD, State.CANCELLED, State.EXPIRED):
                return State.SCHEDULED if delay else State.QUEUED
            return State.QUEUED if state in (State.SCHEDULED, State.RETRYING) and not delay else "refused"
        case Resolve() | Annotate():
            return state if state is State.DEAD else "refused"
        case Prioritise():
            return state if state in WAITING else "refused"
        case Erase():
            return None if state is not State.RUNNING else "refused"


@pytest.mark.parametrize("change", CHANGES, ids=repr)
@pytest.mark.parametrize("state", State)
def test_each_change_on_each_state(desk: Desk, state: State, change: Change) -> None:
    job = bring(desk, state)
    before = desk.snapshot()
    after = expected(state, change)

    answer = desk.alter_one(job, change)

    if after == "refused":
        assert answer == Altered(job, state, state, False)
        assert desk.snapshot() == before
        return
    assert answer == Altered(job, state, after, True)
    assert [found.state for found in desk.find(ids=[job])] == ([] if after is None else [after])
    assert desk.bench.audit()[len(before[-1]) :] == [AuditEntry("ada", type(change).__name__.lower(), frozenset({job}))]


def test_a_cancelled_job_says_why_and_since_when(desk: Desk) -> None:
    job = bring(desk, State.SCHEDULED)
    desk.later(3)
    desk.alter_one(job, Cancel("changed my mind"))

    stored = desk.job(job)
    assert (stored.reason, stored.finished_at, stored.cancel_requested) == ("changed my mind", desk.now, False)


def test_a_running_job_is_asked_to_stop(desk: Desk) -> None:
    job = bring(desk, State.RUNNING)

    assert desk.alter_one(job, Cancel("enough")) == Altered(job, State.RUNNING, State.RUNNING, True)

    stored = desk.job(job)
    assert (stored.state, stored.cancel_requested, stored.reason) == (State.RUNNING, True, "enough")
    assert stored.finished_at is None


def test_a_cancelled_job_is_not_claimed(desk: Desk) -> None:
    job = desk.add()
    desk.alter_one(job, Cancel())

    assert desk.claim(desk.worker()) == []


def test_a_replay_starts_with_fresh_budgets(desk: Desk) -> None:
    job = desk.add(start_within=60.0, max_crashes=2)
    lease = desk.worker()
    for outcome in (Retrying(0.0, "{}"), Snoozed(0.0), DEATH):
        desk.finish(lease, desk.claim_one(lease, job), outcome)
        desk.promote()
    died_at = desk.now
    desk.later(5)

    desk.alter_one(job, Replay())

    stored = desk.job(job)
    assert (stored.failures, stored.crashes, stored.snoozes, stored.releases) == (0, 0, 0, 0)
    assert (stored.attempt, len(stored.attempts)) == (3, 3)
    assert (stored.due_at, stored.start_by, stored.finished_at, stored.reason, stored.result) == (None,) * 5
    assert stored.dead == DeadLetter("failed", "it broke", "fp", "replayed", died_at, "ada", desk.now, None)
    claimed = desk.claim_one(lease, job)
    assert (claimed.attempt, claimed.failures, claimed.first_failed_at) == (4, 0, None)


def test_a_replay_may_be_delayed_edited_and_annotated(desk: Desk) -> None:
    job = bring(desk, State.DEAD)

    desk.alter_one(job, Replay(delay=30.0, args="[2]", note="with two"))

    stored = desk.job(job)
    assert (stored.state, stored.due_at, stored.args) == (State.SCHEDULED, desk.now + 30 * SECOND, "[2]")
    assert stored.dead is not None
    assert (stored.dead.status, stored.dead.note) == ("replayed", "with two")
    desk.later(30)
    assert desk.promote().queued == 1


def test_a_job_that_dies_again_has_an_open_letter_again(desk: Desk) -> None:
    job = bring(desk, State.DEAD)
    desk.alter_one(job, Replay(note="once more"))
    desk.later(1)
    dead = desk.run_once(job, DEATH)

    assert dead.dead == DeadLetter("failed", "it broke", "fp", "open", desk.now, None, None, None)


def test_a_replayed_job_that_completes_remembers_its_letter(desk: Desk) -> None:
    job = bring(desk, State.DEAD)
    desk.alter_one(job, Replay())
    done = desk.run_once(job, Completed("1"))

    assert done.dead is not None
    assert (done.state, done.dead.status, done.reason) == (State.COMPLETED, "replayed", None)


def test_a_suspect_that_is_replayed_is_none_any_more(desk: Desk) -> None:
    job = desk.add()
    desk.claim_one(desk.worker(length=1.0), job)
    desk.later(1)
    desk.rescue(delay=60.0)
    assert desk.job(job).suspect

    desk.alter_one(job, Replay())

    assert not desk.claim_one(desk.worker(), job).suspect


def test_a_replayed_job_enters_behind_those_that_wait(desk: Desk) -> None:
    job = bring(desk, State.DEAD)
    other = desk.add()
    desk.alter_one(job, Replay())

    assert [claimed.id for claimed in desk.claim(desk.worker())] == [other, job]


def test_several_replays_enter_oldest_first(desk: Desk) -> None:
    jobs = [desk.add() for _ in range(4)]
    lease = desk.worker()
    claims = {claimed.id: claimed for claimed in desk.claim(lease)}
    for job in reversed(jobs):
        desk.later(1)
        desk.finish(lease, claims[job], DEATH)

    answers = desk.alter(Filter(status="open"), Replay())

    assert [answer.id for answer in answers] == jobs
    assert [claimed.id for claimed in desk.claim(lease)] == jobs


def test_a_resolved_letter_says_who_and_when(desk: Desk) -> None:
    job = bring(desk, State.DEAD)
    died_at = desk.now
    desk.later(9)
    desk.alter(Filter(ids=[job]), Resolve("it is known"), actor="grace")

    stored = desk.job(job)
    assert stored.state is State.DEAD
    assert stored.dead == DeadLetter("failed", "it broke", "fp", "resolved", died_at, "grace", desk.now, "it is known")
    assert desk.alter_one(job, Resolve()) == Altered(job, State.DEAD, State.DEAD, False)


def test_a_resolved_letter_may_still_be_replayed(desk: Desk) -> None:
    job = bring(desk, State.DEAD)
    desk.alter_one(job, Resolve("known"))

    assert desk.alter_one(job, Replay()) == Altered(job, State.DEAD, State.QUEUED, True)
    letter = desk.job(job).dead
    assert letter is not None
    assert (letter.status, letter.note) == ("replayed", "known")


def test_a_note_changes_nothing_but_the_note(desk: Desk) -> None:
    job = bring(desk, State.DEAD)
    before = desk.job(job).dead
    assert before is not None

    desk.alter_one(job, Annotate("seen"))
    assert desk.job(job).dead == before._replace(note="seen")
    desk.alter_one(job, Annotate("seen twice"))
    assert desk.job(job).dead == before._replace(note="seen twice")


def test_a_replayed_letter_may_be_annotated_wherever_the_job_is(desk: Desk) -> None:
    job = bring(desk, State.DEAD)
    desk.alter_one(job, Replay())

    assert desk.alter_one(job, Annotate("watch it")).done
    letter = desk.job(job).dead
    assert letter is not None
    assert letter.note == "watch it"


def test_erasing_leaves_no_trace_but_the_audit(desk: Desk) -> None:
    parent = desk.add()
    job = desk.child(parent, tags=("person-7",))
    child = desk.child(job)
    desk.run_once(parent)
    desk.run_once(job, DEATH)

    assert desk.alter(Filter(tag="person-7"), Erase()) == [Altered(job, State.DEAD, None, True)]

    assert desk.find(ids=[job]) == []
    assert desk.job(parent).children == ()
    assert desk.job(child).parents == ()
    assert desk.bench.audit()[-1] == AuditEntry("ada", "erase", frozenset({job}))
    assert desk.enqueue(NewJob(job, "work"))[0].state is State.QUEUED
    assert (desk.job(job).attempts, desk.job(job).dead, desk.job(job).parents) == ((), None, ())


def test_a_parent_and_its_child_are_erased_together(desk: Desk) -> None:
    parent = desk.add(tags=("person-7",))
    child = desk.child(parent, tags=("person-7",))
    below = desk.child(child)

    answers = desk.alter(Filter(tag="person-7"), Erase())

    assert answers == [Altered(parent, State.QUEUED, None, True), Altered(child, State.BLOCKED, None, True)]
    assert [(job.id, job.state) for job in desk.find()] == [(below, State.CANCELLED)]


def test_a_parent_and_its_child_are_cancelled_together(desk: Desk) -> None:
    parent = desk.add()
    child = desk.child(parent)

    answers = desk.alter(Filter(), Cancel("all of it"))

    assert answers == [
        Altered(parent, State.QUEUED, State.CANCELLED, True),
        Altered(child, State.BLOCKED, State.CANCELLED, True),
    ]
    assert desk.job(child).reason == "all of it"


def test_the_limit_counts_what_matches_oldest_first(desk: Desk) -> None:
    jobs = [desk.add() for _ in range(4)]
    lease = desk.worker()
    claimed, *_ = desk.claim(lease)
    desk.finish(lease, claimed)

    answers = desk.alter(Filter(), Cancel("no"), limit=3)

    assert [(answer.id, answer.done) for answer in answers] == [(jobs[0], False), (jobs[1], True), (jobs[2], True)]
    assert desk.state(jobs[3]) is State.RUNNING


def test_nothing_matches(desk: Desk) -> None:
    desk.add()

    assert desk.alter(Filter(ids=["nobody"]), Cancel("no")) == []
    assert desk.alter(Filter(states=[]), Erase()) == []
    assert desk.bench.audit() == []


def test_one_audit_line_names_every_job_that_changed(desk: Desk) -> None:
    jobs = [desk.add() for _ in range(3)]
    done = desk.add(queue="beside")
    desk.alter_one(done, Cancel())

    desk.alter(Filter(), Cancel("stop all"), actor="grace")

    assert desk.bench.audit()[-1] == AuditEntry("grace", "cancel", frozenset(jobs))


def test_what_is_nobodys_doing_leaves_no_audit_line(desk: Desk) -> None:
    job = desk.add()

    [raised] = desk.alter(Filter(ids=[job]), Prioritise(5), actor=None)
    [ended] = desk.alter(Filter(ids=[job]), Cancel("the queue is full"), actor=None)

    assert (raised.done, ended.done) == (True, True)
    assert (desk.job(job).priority, desk.job(job).reason) == (5, "the queue is full")
    assert desk.bench.audit() == []


def test_a_batch_of_blocked_jobs_is_cancelled_down_their_edges(desk: Desk) -> None:
    root = desk.add(queue="beside")
    middle = desk.add(edges=(Edge(root),), tags=("x",))
    last = desk.add(edges=(Edge(middle),))

    desk.alter(Filter(tag="x"), Cancel("no"))

    assert desk.states(root, middle, last) == [State.QUEUED, State.CANCELLED, State.CANCELLED]
    assert desk.job(last).reason == f"parent {middle}"
