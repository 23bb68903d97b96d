"""Ten thousand jobs against a rate of a hundred a minute, on the virtual clock: the bound holds, and nothing is given away."""

import pytest

from conformance.desk import SECOND, Desk
from treadle.model.flow import Hold
from treadle.model.job import Want
from treadle.model.outcome import Completed

JOBS, RATE, BURST, MINUTE = 10_000, 100, 20, 60.0
STRIDE = 12.0
"""Seconds between the looks of the only worker: twenty starts, one burst, so that nothing is lost by looking late."""


def starts(desk: Desk, jobs: int) -> list[float]:
    """When each of so many jobs starts, in seconds from now."""
    for _ in range(jobs // 2500):
        desk.enqueue(*(desk.new(holds=(Hold("provider"),)) for _ in range(2500)))
    lease, begin = desk.worker(length=1e6), desk.now
    moments: list[float] = []
    while len(moments) < jobs:
        claims = desk.claims_of(lease, Want("default", 500, 500))
        moments += [(desk.now - begin) / SECOND] * len(claims.jobs)
        desk.settle(lease, *((each, Completed()) for each in claims.jobs))
        if not claims.more:
            desk.later(STRIDE)
            desk.promote()
    return moments


@pytest.mark.repeats
def test_never_beyond_burst_and_rate_in_any_window_and_done_in_time(plain_desk: Desk) -> None:
    plain_desk.limit("provider", rate=RATE, per=MINUTE, burst=BURST)
    moments = starts(plain_desk, JOBS)

    # In a window from the start i to the start j lie j - i + 1 starts, and every window begins and ends with some start:
    # it is enough to know, for each end, the beginning that had the most to spare.
    spare = 0.0
    for place, moment in enumerate(moments):
        spare = max(spare, moment * RATE / MINUTE - place)
        assert place + 1 <= BURST + moment * RATE / MINUTE - spare + 1e-6
    ideal = (JOBS - BURST) * MINUTE / RATE
    assert ideal - 1e-6 <= moments[-1] <= 1.01 * ideal


@pytest.mark.repeats
def test_a_strict_limit_never_sees_more_in_a_minute(plain_desk: Desk) -> None:
    plain_desk.limit("provider", rate=RATE, per=MINUTE, strict=True)
    moments = starts(plain_desk, JOBS // 4)

    assert all(after - before >= MINUTE for before, after in zip(moments, moments[RATE:], strict=False))
    assert moments[-1] == pytest.approx((JOBS / 4 / RATE - 1) * MINUTE, rel=0.01)
