"""The transition table, tried whole: every state meets every verb that moves, and reaches what the table says, no more."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from conformance.desk import DEATH, Desk
from conformance.test_verb_alter import bring
from treadle.model.filter import Cancel, Erase, Filter, Prioritise, Replay
from treadle.model.flow import Hold, OnConflict, Ordering, Unique
from treadle.model.job import Edge, JobId, NewJob, Want, Witness
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
    Released(5.0),
    DEATH,
    Cancelled("own"),
    Crashed("signal 9", 5.0),
    Expired(),
]
VARIANTS = ("plain", "deadline", "last crash", "due later", "slots", "turns", "unique")
FULL = (Hold("full"),)
KEY = Unique("own", on_conflict=OnConflict.REPLACE)


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


def make_room(end: Callable[[Desk, JobId, str], object]) -> Attempt:
    def attempt(desk: Desk, job: JobId) -> None:
        """End whatever stands in the way of a parked job."""
        for other in desk.find(queues=["in the way"]):
            if not other.state.final:
                end(desk, other.id, other.lease or "")

    return attempt


def complete_it(desk: Desk, job: JobId, lease: str) -> None:
    desk.settle(lease, (desk.claims[job], Completed()))


def lose_it(desk: Desk, job: JobId, lease: str) -> None:
    desk.rescue(Witness(lease, ""))


def raise_the_limit(desk: Desk, job: JobId) -> None:
    desk.limit("full", concurrency=2)
    desk.promote()


def stand_in_the_way(desk: Desk, job: JobId, lease: str) -> None:
    """Let it retry much later: its slot is free, its place is kept until somebody takes that away."""
    desk.settle(lease, (desk.claims[job], Retrying(1e6, "{}")))


def cancel_it(desk: Desk, job: JobId, lease: str) -> None:
    stand_in_the_way(desk, job, lease)
    desk.alter_one(job, Cancel("out of the way"))


def replace_it(desk: Desk, job: JobId, lease: str) -> None:
    stand_in_the_way(desk, job, lease)
    desk.enqueue(desk.new(unique=Unique("in the way", on_conflict=OnConflict.REPLACE), queue="beside"))


def promote(seconds: float) -> Attempt:
    def attempt(desk: Desk, job: JobId) -> None:
        desk.later(seconds)
        desk.promote()

    return attempt


def rescue(desk: Desk, job: JobId) -> None:
    desk.later(1e7)
    desk.rescue(delay=5.0)


def spare(desk: Desk, job: JobId) -> None:
    desk.rescue(*(Witness(lease.id, "exit 70", spared=True) for lease in desk.run(desk.engine.leases(now=desk.now))))


def cancel_and_rescue(desk: Desk, job: JobId) -> None:
    if desk.state(job) is State.RUNNING:
        desk.alter_one(job, Cancel("asked"))
    rescue(desk, job)


ATTEMPTS: dict[str, list[Attempt]] = {
    "enqueue": [
        lambda desk, job: desk.enqueue(desk.new(id=job)),
        lambda desk, job: desk.enqueue(desk.new(id=job, delay=5.0)),
        lambda desk, job: desk.enqueue(desk.new(unique=KEY)),
        make_room(replace_it),
    ],
    "claim": [lambda desk, job: desk.claim(desk.worker("claims"), suspects=100)],
    "settle": [
        *(settle(outcome) for outcome in OUTCOMES),
        settle_parents(Completed()),
        settle_parents(Cancelled("no")),
        make_room(complete_it),
    ],
    "promote": [promote(100.0), promote(10_000.0), raise_the_limit],
    "rescue": [rescue, spare, cancel_and_rescue, make_room(lose_it)],
    "alter": [
        lambda desk, job: desk.alter_one(job, Cancel("operator")),
        lambda desk, job: desk.alter_one(job, Replay()),
        lambda desk, job: desk.alter_one(job, Replay(delay=5.0)),
        make_room(cancel_it),
        lambda desk, job: desk.alter_one(job, Prioritise(1)),
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
    if variant in ("slots", "turns") and state in (State.QUEUED, State.BLOCKED):
        return kept_out(desk, state, Ordering("line") if variant == "turns" else None)
    return bring(desk, state, unique=KEY if variant == "unique" else None)


def kept_out(desk: Desk, state: State, ordering: Ordering | None) -> JobId:
    """A job that must wait for another, which has the only slot or stands before it as well: about to be parked, or parked."""
    desk.limit("full", concurrency=1)
    other = desk.add(queue="in the way", holds=FULL, ordering=ordering, unique=Unique("in the way"), max_crashes=1)
    [claimed] = desk.claim(desk.worker(), Want("in the way", 1, 1))
    assert claimed.id == other
    job = desk.add(holds=FULL, ordering=ordering)
    if state is State.BLOCKED:
        assert desk.claim(desk.worker()) == []
    return job


def sweep(desk: Desk) -> None:
    """Leave nothing for the next attempt to stumble over."""
    desk.alter(Filter(), Cancel("sweep"))
    desk.later(1e8)
    desk.rescue()
    desk.alter(Filter(), Cancel("sweep"))
    desk.alter(Filter(), Erase())
    assert desk.find() == desk.gates() == []


def test_every_verb_of_the_table_is_tried() -> None:
    assert {each.verb for each in TRANSITIONS} == set(ATTEMPTS)


@pytest.mark.repeats
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
                assert after == replace(before, priority=after.priority) or after.cancel_requested
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
