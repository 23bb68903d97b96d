"""Slots, closed limits, pauses and throttles: how many run at once under a key, and when nobody may start at all."""

import pytest

from conformance.desk import DEATH, SECOND, Desk
from treadle.model.filter import Cancel, Erase, Filter
from treadle.model.flow import Gate, Hold, Rule
from treadle.model.job import JobId, Want, Witness
from treadle.model.outcome import (
    Cancelled,
    Completed,
    Crashed,
    Expired,
    Note,
    NoteKind,
    Outcome,
    Released,
    Retrying,
    Snoozed,
    Verdict,
    throttle_name,
)
from treadle.model.record import Space, Write, paused_key, paused_task
from treadle.model.state import State

DB = (Hold("db"),)
BOTH = [Want("red", 9, 9), Want("blue", 9, 9)]


def ids(jobs: list) -> list[JobId]:
    return [job.id for job in jobs]


def running(desk: Desk, limit: str = "db") -> int:
    return sum(gate.running for gate in desk.gates(limit))


def test_so_many_run_at_once_and_no_more(desk: Desk) -> None:
    desk.limit("db", concurrency=2)
    jobs = [desk.add(holds=DB) for _ in range(5)]
    first, second = desk.worker("w1"), desk.worker("w2")

    assert ids(desk.claim(first)) == jobs[:2]
    assert desk.claim(second) == []
    assert desk.gates() == [Gate("db", "", 2, 3, None)]
    parked = desk.job(jobs[2])
    assert (parked.state, parked.blocked_on) == (State.BLOCKED, "key")
    assert parked.holds == DB


def test_each_key_has_slots_of_its_own(desk: Desk) -> None:
    desk.limit("db", concurrency=1)
    red, red_too, blue = (desk.add(holds=(Hold("db", key),)) for key in ("red", "red", "blue"))

    assert ids(desk.claim(desk.worker())) == [red, blue]
    assert desk.gates() == [Gate("db", "blue", 1, 0, None), Gate("db", "red", 1, 1, None)]
    assert desk.state(red_too) is State.BLOCKED


@pytest.mark.parametrize(
    "outcome",
    [
        Completed(),
        Retrying(60.0, "{}"),
        Snoozed(60.0),
        Released(),
        DEATH,
        Cancelled("own"),
        Crashed("signal 9", 60.0),
        Expired(),
    ],
    ids=lambda outcome: type(outcome).__name__.lower(),
)
def test_however_an_attempt_ends_its_slot_is_free(desk: Desk, outcome: Outcome) -> None:
    desk.limit("db", concurrency=1)
    first, second, third = (desk.add(holds=DB) for _ in range(3))
    worker = desk.worker()
    claimed = desk.claim_one(worker, first)
    assert desk.claim(worker) == []
    desk.finish(worker, claimed, outcome)

    assert desk.state(second) is State.QUEUED
    assert desk.state(third) is State.BLOCKED
    assert desk.claim(worker, Want("default", 1, 1))[0].id == second
    assert running(desk) == 1


@pytest.mark.parametrize(("end", "verdict"), [(DEATH, Verdict.LOST), (Completed(), Verdict.ALREADY)])
def test_an_end_that_is_told_once_more_makes_room_for_nobody(desk: Desk, end: Outcome, verdict: Verdict) -> None:
    desk.limit("db", concurrency=1)
    first, second, third = (desk.add(holds=DB) for _ in range(3))
    worker = desk.worker()
    claimed = desk.claim_one(worker, first)
    desk.finish(worker, claimed, end)
    desk.claim_one(worker, second)
    desk.limit("db", concurrency=2)

    assert desk.settle(worker, (claimed, Completed())) == [verdict]
    assert desk.state(third) is State.BLOCKED
    assert desk.promote().queued == 1


def test_a_lost_worker_leaves_no_slot_taken(desk: Desk) -> None:
    desk.limit("db", concurrency=2)
    jobs = [desk.add(holds=DB) for _ in range(4)]
    lost, seen, worker = desk.worker(length=5.0), desk.worker(), desk.worker()
    desk.claim(lost, Want("default", 1, 1))
    desk.claim(seen, Want("default", 1, 1))
    assert desk.claim(worker) == []
    desk.later(5)
    desk.rescue(Witness(seen, "signal 9"), delay=60.0)

    assert running(desk) == 0
    assert ids(desk.claim(worker)) == jobs[2:]


def test_as_many_come_back_as_slots_came_free(desk: Desk) -> None:
    desk.limit("db", concurrency=3)
    jobs = [desk.add(holds=DB) for _ in range(7)]
    worker = desk.worker()
    claimed = desk.claim(worker)
    desk.claim(worker)
    desk.settle(worker, *((each, Completed()) for each in claimed[:2]))

    assert desk.states(*jobs[3:]) == [State.QUEUED, State.QUEUED, State.BLOCKED, State.BLOCKED]


def test_a_slot_is_not_lost_when_who_was_to_have_it_cannot_start(desk: Desk) -> None:
    desk.limit("db", concurrency=1)
    worker = desk.worker()
    held = desk.add(holds=DB)
    claimed = desk.claim_one(worker, held)
    stuck, other = desk.add(holds=DB, queue="red"), desk.add(holds=DB, queue="blue")
    desk.claim(worker, *BOTH)
    desk.write(Write(Space.PAUSED, "red", "{}"))
    desk.finish(worker, claimed)
    assert desk.states(stuck, other) == [State.QUEUED, State.BLOCKED]

    assert desk.started(worker, 5, *BOTH) == [(1.0, other)]


def test_who_is_stopped_elsewhere_passes_its_slot_on(desk: Desk) -> None:
    desk.limit("db", concurrency=1)
    desk.limit("api", rate=1, per=3600)
    worker = desk.worker()
    desk.claim_one(worker, desk.add(holds=(Hold("api"),)))
    claimed = desk.claim_one(worker, desk.add(holds=DB))
    for _ in range(20):
        desk.add(holds=(Hold("db"), Hold("api")))
    last = desk.add(holds=DB)
    assert desk.claim(worker) == []
    desk.finish(worker, claimed)

    assert desk.started(worker, 0.5) == [(0.0, last)]


def test_more_slots_free_the_next_and_fewer_take_none_away(desk: Desk) -> None:
    desk.limit("db", concurrency=2)
    jobs = [desk.add(holds=DB) for _ in range(6)]
    worker = desk.worker()
    claimed = desk.claim(worker)
    assert desk.claim(worker) == []
    desk.limit("db", concurrency=3)
    desk.promote()
    claimed += desk.claim(worker)
    assert ids(claimed) == jobs[:3]

    desk.limit("db", concurrency=1)
    desk.settle(worker, *((each, Completed()) for each in claimed[:2]))
    desk.promote()
    assert desk.claim(worker) == []
    desk.finish(worker, claimed[2])
    assert ids(desk.claim(worker)) == jobs[3:4]


def test_what_runs_counts_as_soon_as_there_is_a_rule(desk: Desk) -> None:
    worker = desk.worker()
    first, second = desk.add(holds=DB), desk.add(holds=DB)
    claimed = desk.claim(worker, Want("default", 1, 1))
    desk.limit("db", concurrency=1)
    assert desk.claim(worker) == []
    desk.finish(worker, claimed[0])

    assert ids(claimed) == [first]
    assert ids(desk.claim(worker)) == [second]


def test_a_parked_job_may_be_cancelled_erased_or_expire(desk: Desk) -> None:
    desk.limit("db", concurrency=1)
    worker = desk.worker()
    claimed = desk.claim_one(worker, desk.add(holds=DB))
    cancelled, erased, last = desk.add(holds=DB), desk.add(holds=DB), desk.add(holds=DB)
    expired = desk.add(holds=DB, start_within=5.0)
    assert desk.claim(worker) == []
    assert desk.alter_one(cancelled, Cancel()).after is State.CANCELLED
    assert desk.alter_one(erased, Erase()).done
    desk.later(6)
    assert desk.promote().expired == 1

    assert desk.states(cancelled, expired) == [State.CANCELLED, State.EXPIRED]
    assert desk.gates() == [Gate("db", "", 1, 1, None)]
    desk.finish(worker, claimed)
    assert ids(desk.claim(worker)) == [last]
    assert desk.find(ids=[erased]) == []


def test_a_closed_limit_lets_nobody_start_until_it_opens(desk: Desk) -> None:
    desk.limit("db", closed_until=desk.now + 10 * SECOND)
    jobs = [desk.add(holds=(Hold("db", key),)) for key in ("a", "b")]
    worker = desk.worker()
    answer = desk.claims_of(worker)

    assert (answer.jobs, answer.wakes_at) == ([], desk.now + 10 * SECOND)
    assert desk.job(jobs[0]).blocked_on == "limit"
    assert desk.gates() == [Gate("db", None, 0, 2, desk.now + 10 * SECOND)]
    desk.later(9.999)
    assert desk.promote().queued == 0
    desk.limit("db")
    assert desk.promote().queued == 2
    assert ids(desk.claim(worker)) == jobs


def test_what_runs_under_several_keys_is_not_shown_at_the_limit_as_a_whole(desk: Desk) -> None:
    lease = desk.worker()
    running = desk.add(holds=(Hold("db", "x"), Hold("db", "y"), Hold("db", "z")))
    desk.claim_one(lease, running)
    desk.limit("db", closed_until=desk.now + 10 * SECOND)
    desk.add(holds=(Hold("db", "w"),))
    assert desk.claim(lease) == []
    whole, *keys = sorted(desk.gates(), key=lambda gate: gate.key or "")
    assert whole == Gate("db", None, 0, 1, desk.now + 10 * SECOND)
    assert keys == [Gate("db", key, 1, 0, None) for key in "xyz"]


def test_once_nobody_waits_for_a_limit_that_was_closed_there_is_nothing_to_look_at(desk: Desk) -> None:
    desk.limit("db", closed_until=desk.now + 10 * SECOND)
    job = desk.add(holds=(Hold("db", "a"),))
    assert desk.claim(desk.worker()) == []
    desk.alter_one(job, Cancel())
    desk.limit("db")
    desk.later(10)

    desk.promote()
    assert desk.promote().next_due is None


def test_a_limit_that_was_closed_is_probed_by_few_at_a_time(desk: Desk) -> None:
    desk.limit("db", closed_until=desk.now + 10 * SECOND, probes=2)
    jobs = [desk.add(holds=(Hold("db", str(key)),)) for key in range(6)]
    worker = desk.worker()
    assert desk.claim(worker) == []
    desk.later(10)
    desk.promote()

    probing = desk.claim(worker)
    assert ids(probing) == jobs[:2]
    desk.promote()
    assert desk.claim(worker) == []
    desk.finish(worker, probing[0])
    assert ids(desk.claim(worker)) == jobs[2:3]

    desk.limit("db", closed_until=desk.now + 10 * SECOND)
    desk.finish(worker, probing[1])
    assert desk.started(worker, 9) == []
    desk.limit("db")
    assert [job for _, job in desk.started(worker, 1)] == jobs[3:]


def test_a_paused_key_lets_nobody_start(desk: Desk) -> None:
    desk.write(Write(Space.PAUSED, paused_key("db", "red"), "{}"))
    red, blue = desk.add(holds=(Hold("db", "red"),)), desk.add(holds=(Hold("db", "blue"),))
    worker = desk.worker()

    assert ids(desk.claim(worker)) == [blue]
    assert desk.job(red).blocked_on == "key"
    assert desk.promote().next_due is None
    desk.write(Write(Space.PAUSED, paused_key("db", "red"), None))
    assert desk.started(worker, 1) == [(0.0, red)]


def test_a_paused_task_is_passed_by_in_every_queue(desk: Desk) -> None:
    desk.write(Write(Space.PAUSED, paused_task("other"), "{}"))
    jobs = [desk.add("other", queue="red"), desk.add("other", holds=DB, queue="blue")]
    plain = desk.add(queue="red")
    worker = desk.worker()

    assert ids(desk.claim(worker, *BOTH)) == [plain]
    assert desk.states(*jobs) == [State.QUEUED, State.QUEUED]
    assert desk.claim(worker, *BOTH, tasks=["other"]) == []
    desk.write(Write(Space.PAUSED, paused_task("other"), None))
    assert ids(desk.claim(worker, *BOTH)) == jobs


def throttle(desk: Desk, worker: str, job: JobId, name: str, value: str) -> None:
    claimed = desk.claims[job]
    note = Note(claimed.ref, claimed.id, claimed.attempt, NoteKind.THROTTLE, name, value)
    desk.run(desk.engine.note(worker, [note], now=desk.now))


def test_a_throttle_holds_for_everybody_who_wants_the_key(desk: Desk) -> None:
    desk.limit("api", rate=10, per=1)
    first = desk.add(holds=(Hold("api", "red"),))
    worker = desk.worker()
    desk.claim_one(worker, first)
    throttle(desk, worker, first, throttle_name("api", "red"), "30")
    throttle(desk, worker, first, throttle_name("api", "red"), "5")
    red, blue = desk.add(holds=(Hold("api", "red"),)), desk.add(holds=(Hold("api", "blue"),))

    assert desk.started(worker, 60) == [(0.0, blue), (30.0, red)]


@pytest.mark.parametrize("value", ["no", "[]", "true", "-1", "0", '"9"', "1e300"])
def test_a_throttle_that_is_no_number_of_seconds_closes_nothing(desk: Desk, value: str) -> None:
    first, second = desk.add(holds=DB), desk.add(holds=DB)
    worker = desk.worker()
    desk.claim(worker, Want("default", 1, 1))
    throttle(desk, worker, first, throttle_name("db"), value)

    assert ids(desk.claim(worker)) == [second]


def test_a_lost_attempt_throttles_nobody(desk: Desk) -> None:
    first, second = desk.add(holds=DB), desk.add(holds=DB)
    worker = desk.worker(length=5.0)
    desk.claim(worker, Want("default", 1, 1))
    desk.later(5)
    throttle(desk, worker, first, throttle_name("db"), "30")

    assert ids(desk.claim(desk.worker())) == [second]


def test_gates_of_the_limits_asked_for(desk: Desk) -> None:
    for limit, key in (("b", "2"), ("a", "1"), ("b", "1"), ("c", "")):
        desk.add(holds=(Hold(limit, key),))
    worker = desk.worker()
    desk.claim(worker)

    assert [(gate.limit, gate.key) for gate in desk.gates("b", "a")] == [("a", "1"), ("b", "1"), ("b", "2")]
    assert [gate.limit for gate in desk.run(desk.engine.gates(limit=2))] == ["a", "b"]
    assert desk.gates("nothing") == []


def test_slots_are_those_of_running_jobs_after_any_end(desk: Desk) -> None:
    for _ in range(3):
        desk.add(holds=(Hold("db", "x"), Hold("api", "y"), Hold("db", "z")))
    worker = desk.worker()
    claimed = desk.claim(worker)
    assert [(gate.limit, gate.running) for gate in desk.gates()] == [("api", 3), ("db", 3), ("db", 3)]
    desk.settle(worker, (claimed[0], Completed()), (claimed[1], Retrying(5.0, "{}")), (claimed[1], Released()))
    assert [(gate.limit, gate.running) for gate in desk.gates()] == [("api", 1), ("db", 1), ("db", 1)]
    desk.alter(Filter(), Cancel())
    desk.finish(worker, claimed[2], Cancelled(""))

    assert desk.gates() == []
    assert Rule().to_text() == Rule.from_text("{}").to_text()
