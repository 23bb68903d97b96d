"""The transition table, tried whole: every state meets every verb that moves, and reaches what the table says, no more."""

from collections.abc import Callable

import pytest

from conformance.desk import DEATH, Desk
from conformance.test_verb_alter import bring
from treadle.model.filter import Cancel, Erase, Filter, Replay
from treadle.model.job import Edge, JobId, NewJob, Want
from treadle.model.outcome import (
    Cancelled,
    Completed,
    Crashed,
    Expired,
    Outcome,
    Released,
    Retrying,
    Settlement,
    Snoozed,
)
from treadle.model.state import TRANSITIONS, State

Attempt = Callable[[Desk, JobId], object]
"""Tries to move one job, as far as the verb lets it."""

OUTCOMES: list[Outcome] = [
    Completed("1"),
    Retrying(5.0, "{}"),
    Snoozed(5.0),
    Released(),
    DEATH,
    Cancelled("own"),
    Crashed("signal 9", 5.0),
    Expired(),
]
VARIANTS = ("plain", "deadline", "last crash", "due later")


def settle(outcome: Outcome) -> Attempt:
    def attempt(desk: Desk, job: JobId) -> None:
        """Whoever holds the job settles it; where nobody does, whoever held it last, or a stranger."""
        last = desk.claims.get(job)
        lease = desk.job(job).lease or desk.worker("stranger")
        ref, attempt = (job, 0) if last is None else (last.ref, last.attempt)
        desk.run(desk.engine.settle(lease, [Settlement(ref, job, attempt, outcome, 0.1)], now=desk.now))

    return attempt


def settle_parents(outcome: Outcome) -> Attempt:
    def attempt(desk: Desk, job: JobId) -> None:
        """The parents of a blocked job wait in the queue beside."""
        lease = desk.worker("beside")
        desk.settle(lease, *((claimed, outcome) for claimed in desk.claim(lease, Want("beside", 9, 9))))

    return attempt


def promote(seconds: float) -> Attempt:
    def attempt(desk: Desk, job: JobId) -> None:
        desk.later(seconds)
        desk.promote()

    return attempt


def rescue(desk: Desk, job: JobId) -> None:
    desk.later(1e7)
    desk.rescue(delay=5.0)


def cancel_and_rescue(desk: Desk, job: JobId) -> None:
    if desk.state(job) is State.RUNNING:
        desk.alter_one(job, Cancel("asked"))
    rescue(desk, job)


ATTEMPTS: dict[str, list[Attempt]] = {
    "enqueue": [lambda desk, job: desk.enqueue(desk.new(id=job)), lambda desk, job: desk.enqueue(desk.new(id=job, delay=5.0))],
    "claim": [lambda desk, job: desk.claim(desk.worker("claims"), suspects=100)],
    "settle": [
        *(settle(outcome) for outcome in OUTCOMES),
        settle_parents(Completed()),
        settle_parents(Cancelled("no")),
    ],
    "promote": [promote(100.0), promote(10_000.0)],
    "rescue": [rescue, cancel_and_rescue],
    "alter": [
        lambda desk, job: desk.alter_one(job, Cancel("operator")),
        lambda desk, job: desk.alter_one(job, Replay()),
        lambda desk, job: desk.alter_one(job, Replay(delay=5.0)),
    ],
}


def prepared(desk: Desk, state: State, variant: str) -> JobId:
    """A job in this state: plain, with a deadline, with its last crash ahead, or due only after its parents are done."""
    if variant == "deadline" and state in (State.SCHEDULED, State.BLOCKED, State.QUEUED):
        edges = (Edge(desk.add(queue="beside")),) if state is State.BLOCKED else ()
        return desk.add(start_within=5000.0, edges=edges, delay=50.0 if state is State.SCHEDULED else None)
    if variant == "last crash" and state is State.RUNNING:
        job = desk.add(max_crashes=1)
        desk.claim_one(desk.worker(), job)
        return job
    if variant == "due later" and state is State.BLOCKED:
        return desk.child(desk.add(queue="beside"), delay=50.0)
    return bring(desk, state)


def sweep(desk: Desk) -> None:
    """Leave nothing for the next attempt to stumble over."""
    desk.alter(Filter(), Cancel("sweep"))
    desk.later(1e8)
    desk.rescue()
    desk.alter(Filter(), Erase())
    assert desk.find() == []


def test_every_verb_of_the_table_is_tried() -> None:
    assert {each.verb for each in TRANSITIONS} == set(ATTEMPTS)


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("verb", ATTEMPTS)
def test_a_verb_moves_a_job_where_the_table_says_and_nowhere_else(plain_desk: Desk, verb: str, state: State) -> None:
    permitted = {each.target for each in TRANSITIONS if (each.verb, each.source) == (verb, state)}
    reached: set[State] = set()
    for variant in VARIANTS:
        for attempt in ATTEMPTS[verb]:
            job = prepared(plain_desk, state, variant)
            before = plain_desk.job(job)
            assert before.state is state
            attempt(plain_desk, job)
            after = plain_desk.job(job)
            if after.state is state:
                assert after == before or after.cancel_requested
            else:
                reached.add(after.state)
            sweep(plain_desk)

    assert reached == permitted


def births(desk: Desk) -> dict[State, NewJob]:
    bad = desk.add()
    desk.alter_one(bad, Cancel("no"))
    return {
        State.QUEUED: desk.new(),
        State.SCHEDULED: desk.new(delay=5.0),
        State.BLOCKED: desk.new(edges=(Edge(desk.add()),)),
        State.CANCELLED: desk.new(edges=(Edge(bad),)),
    }


def test_a_new_job_begins_where_the_table_says(plain_desk: Desk) -> None:
    assert set(births(plain_desk)) == {each.target for each in TRANSITIONS if each.source is None}

    for state, job in births(plain_desk).items():
        [answer] = plain_desk.enqueue(job)
        assert answer.state is state
        assert plain_desk.state(job.id) is state
