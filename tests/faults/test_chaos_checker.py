"""The checker of the chaos runs finds what it is there to find: one broken promise in each tampered history."""

from dataclasses import replace

import pytest

from chaos.checker import check
from chaos.history import Body, Entry, Fault, History, Try

LEASE = 2.0


def body(event: str, job: str, attempt: int, t: float, worker: int) -> Body:
    return Body(event, job, attempt, t, "async", worker, worker)


def crash(attempt: int, worker: int, ended: float, outcome: str = "rescued") -> Try:
    return Try(attempt, outcome, worker, ended - 1.5, ended, 0.1, "signal 9")


# One job that ran well, one rescued from a worker killed at 5 and completed by another, one dead after three kills.
WELL = Entry("a", "completed", 1, 0.9, 1, None, 0, ())
AGAIN = Entry("b", "completed", 2, 5.9, 2, None, 1, (crash(1, 11, 5.5),))
LOST = Entry("c", "dead", 3, 8.0, None, "worker_lost", 3, (crash(1, 11, 5.5), crash(2, 12, 7.5), crash(3, 13, 9.5)))
SOUND = History(
    offered=frozenset("abcd"),
    acknowledged=("a", "b", "c"),
    bodies=(
        body("start", "a", 1, 1.0, 11),
        body("end", "a", 1, 1.5, 11),
        body("start", "b", 1, 4.8, 11),
        body("start", "c", 1, 4.9, 11),
        body("start", "b", 2, 6.0, 12),
        body("end", "b", 2, 6.5, 12),
        body("start", "c", 2, 6.8, 12),
        body("start", "c", 3, 8.8, 13),
    ),
    faults=tuple(Fault("kill", "worker", t, (worker,), True) for t, worker in ((5.0, 11), (7.0, 12), (9.0, 13))),
    ledger=(WELL, AGAIN, LOST),
    counts={"completed": 2, "dead": 1},
    lease=LEASE,
)


def with_entry(entry: Entry) -> History:
    kept = tuple(each if each.job != entry.job else entry for each in SOUND.ledger)
    return replace(SOUND, ledger=kept)


def without_body(event: str, job: str, attempt: int) -> History:
    kept = tuple(each for each in SOUND.bodies if (each.event, each.job, each.attempt) != (event, job, attempt))
    return replace(SOUND, bodies=kept)


def broken(history: History) -> set[str]:
    return {name for name, cases in check(history).broken.items() if cases}


def test_a_sound_history_breaks_nothing() -> None:
    report = check(SOUND)
    assert report.ok, report.broken
    assert report.figures["recovery_supervised"] == {"count": 3, "p50": 0.6, "p100": 0.6}
    assert report.figures["started_again"] == 3
    assert report.figures["crashes_without_a_fault"] == 0


@pytest.mark.parametrize(
    ("history", "promise"),
    [
        (replace(SOUND, acknowledged=("a", "b", "c", "d")), "lost"),
        (with_entry(WELL._replace(state="queued", result_attempt=None)), "lost"),
        (without_body("end", "a", 1), "lost"),
        (with_entry(LOST._replace(cause="failed")), "lost"),
        (with_entry(WELL._replace(state="cancelled", result_attempt=None)), "lost"),
        (replace(SOUND, offered=frozenset("ab")), "invented"),
        (with_entry(AGAIN._replace(result_attempt=1)), "stale"),
        (with_entry(AGAIN._replace(attempt=1, result_attempt=1)), "stale"),
        (replace(SOUND, bodies=(*SOUND.bodies, body("start", "a", 1, 1.2, 12))), "started_twice"),
        (replace(SOUND, bodies=(*SOUND.bodies, body("start", "a", 2, 2.0, 12))), "started_twice"),
        (with_entry(AGAIN._replace(claimed=5.4)), "double_lease"),
        (with_entry(LOST._replace(tries=(*LOST.tries[:2], crash(3, 13, 8.9)))), "double_lease"),
        (with_entry(AGAIN._replace(tries=())), "one_end"),
        (replace(SOUND, ledger=(*SOUND.ledger, WELL)), "one_end"),
        (replace(SOUND, faults=SOUND.faults[1:]), "unwitnessed"),
        (with_entry(LOST._replace(tries=LOST.tries[1:])), "unwitnessed"),
        (replace(SOUND, counts={"completed": 3, "dead": 1}), "miscounted"),
        (replace(SOUND, faults=()), "untouched"),
        (with_entry(AGAIN._replace(tries=(crash(1, 11, 6.1),))), "slow_recovery"),
    ],
)
def test_a_tampered_history_breaks_the_promise_it_hurts(history: History, promise: str) -> None:
    assert promise in broken(history)


def test_the_bound_on_recovery_depends_on_who_watched() -> None:
    late = with_entry(AGAIN._replace(tries=(crash(1, 11, 6.1),)))
    alone = replace(late, faults=tuple(each._replace(supervised=False) for each in late.faults))
    assert "slow_recovery" not in broken(alone)
    slowly = Try(1, "rescued", 11, 4.5, 5.0 + LEASE + 5.0, 0.1, None)
    later = with_entry(AGAIN._replace(tries=(slowly,), claimed=slowly.ended + 0.5))
    alone = replace(later, faults=tuple(each._replace(supervised=False) for each in later.faults))
    assert "slow_recovery" in broken(alone)
    assert check(alone, allowance=1.0).ok
    assert check(alone, allowance=None).ok


def test_a_result_that_came_too_late_is_counted_and_breaks_nothing() -> None:
    late = replace(SOUND, bodies=(*SOUND.bodies, body("end", "b", 1, 8.0, 11)))
    report = check(late)
    assert report.ok, report.broken
    assert report.figures["late_results_refused"] == 1
    assert report.figures["overlaps"] == 1


def test_an_outage_of_the_store_explains_a_lost_lease_of_anybody() -> None:
    outage = Fault("outage", "server killed", 4.9, (), True, 5.2)
    unseen = replace(SOUND, faults=(outage, *SOUND.faults[1:]))
    report = check(unseen)
    assert report.ok, report.broken
    assert report.figures["outages"] == {"server killed": 1}
    # The lease that ran out in it, and the one whose worker was killed in its aftermath.
    assert report.figures["recovery_outage"] == {"count": 2, "p50": 0.4, "p100": 0.6}
    before = replace(SOUND, faults=(outage._replace(t=0.1, until=0.2), *SOUND.faults[1:]))
    assert "unwitnessed" in broken(before)
