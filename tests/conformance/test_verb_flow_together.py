"""Limits, lines and tenants all at once: every bound holds at every start, and whatever was parked starts in the end."""

import random
from collections import Counter

import pytest

from conformance.desk import SECOND, Desk
from treadle.model.flow import Hold, Ordering
from treadle.model.job import JobId, NewJob, Want
from treadle.model.outcome import Completed, Retrying
from treadle.model.record import Space, Write

KEYS = ("red", "blue")
RATE, BURST, SLOTS = 2, 3, 2
WANTS = [Want(queue, 9, 9) for queue in KEYS]


def some_jobs(desk: Desk, dice: random.Random) -> dict[JobId, NewJob]:
    jobs: dict[JobId, NewJob] = {}
    for _ in range(120):
        names = dice.sample(("paced", "few", "strict"), dice.randint(0, 3))
        new = desk.new(
            queue=dice.choice(KEYS),
            priority=dice.choice((0, 0, 1)),
            delay=dice.choice((None, None, 3.0)),
            holds=tuple(Hold(name, dice.choice(KEYS), dice.choice((1, 1, 2))) for name in names),
            ordering=dice.choice((None, None, Ordering("m"), Ordering("n"))),
            fair=dice.choice((None, "a", "b")),
        )
        jobs[new.id] = new
    return jobs


@pytest.mark.repeats
@pytest.mark.parametrize("seed", range(4))
def test_every_bound_holds_and_everything_starts_in_the_end(plain_desk: Desk, seed: int) -> None:
    desk, dice = plain_desk, random.Random(seed)
    desk.limit("paced", rate=RATE, per=1, burst=BURST)
    desk.limit("few", concurrency=SLOTS)
    desk.limit("strict", rate=3, per=2, strict=True)
    jobs = some_jobs(desk, dice)
    desk.enqueue(*jobs.values())
    worker = desk.worker(length=1e6)
    desk.write(Write(Space.PAUSED, "red", "{}"))
    starts: dict[tuple[str, str], list[tuple[int, int]]] = {}
    running: set[JobId] = set()
    completed: set[JobId] = set()
    begin = desk.now
    while len(completed) < len(jobs):
        assert desk.now < begin + 1000 * SECOND, "some job was left behind"
        if desk.now > begin + 20 * SECOND:
            desk.write(Write(Space.PAUSED, "red", None))
        desk.promote()
        for claimed in desk.claim(worker, *WANTS, gated=dice.choice((1, 3, 9))):
            running.add(claimed.id)
            for hold in jobs[claimed.id].holds:
                starts.setdefault((hold.limit, hold.key), []).append((desk.now, hold.cost))
        lines = Counter(order.key for job in running if (order := jobs[job].ordering))
        slots = Counter(hold.key for job in running for hold in jobs[job].holds if hold.limit == "few")
        assert max(lines.values(), default=0) <= 1
        assert max(slots.values(), default=0) <= SLOTS
        for job in dice.sample(sorted(running), dice.randint(0, len(running))):
            outcome = dice.choice((Completed(), Completed(), Retrying(0.5, "{}")))
            desk.finish(worker, desk.claims[job], outcome)
            running.remove(job)
            if outcome == Completed():
                completed.add(job)
        desk.later(dice.choice((0.1, 0.25, 0.5)))

    for (limit, _), times in starts.items():
        check(limit, times)
    assert desk.gates() == []


def check(limit: str, times: list[tuple[int, int]]) -> None:
    """No window between two starts holds more than the limit's bound."""
    for first in range(len(times)):
        spent = 0
        for at, cost in times[first:]:
            spent += cost
            span = (at - times[first][0]) / SECOND
            assert limit != "paced" or spent <= BURST + RATE * span + 1e-6
            assert limit != "strict" or span >= 2 or spent <= 3
