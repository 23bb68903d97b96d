"""What a process says of a store that goes away, and whom a lost lease is blamed on."""

import logging
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from treadle import Treadle
from treadle.engine.session import Durability, Session
from treadle.model.errors import CannotOpen
from treadle.model.job import JobId, Witness, WorkerInfo
from treadle.model.record import Space, Write
from treadle.worker.heartbeat import Heartbeat
from treadle.worker.lost import EMPTIED, TAKEN
from treadle.worker.options import WorkerOptions
from treadle.worker.outage import GRACE, REMIND_EVERY, WELL, Outage

WHERE = "redis://127.0.0.1:1/0"
GONE = CannotOpen(f"{WHERE}: the server cannot be reached.\nSee that it runs.")


class Clock:
    """Seconds as the test wants them."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def outage(clock: Clock) -> Outage:
    return Outage(WHERE, "jobs go on", 5.0, clock=clock)


def test_an_outage_is_said_once_then_each_minute_and_at_its_end(
    outage: Outage, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    outage.reached()
    for _ in range(130):
        outage.failed(GONE)
        clock.now += 1.0
    outage.reached()
    outage.reached()

    away, minute, two, back = caplog.messages
    assert away == f"the store at {WHERE} is away: the server cannot be reached. See that it runs; jobs go on"
    assert minute == f"the store at {WHERE} has been away for 60 s: the server cannot be reached. See that it runs"
    assert two.startswith(f"the store at {WHERE} has been away for 120 s: ")
    assert back == "the store is back after 130.0 s"
    assert all(record.exc_info is None for record in caplog.records)


def test_a_store_that_takes_some_calls_and_not_others_is_said_once_a_minute(
    outage: Outage, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(round(REMIND_EVERY)):
        outage.failed(GONE)
        outage.reached()
        clock.now += 1.0
    assert [text.split(" after ")[0].split(":")[0] for text in caplog.messages] == ["the store at redis", "the store is back"]


def test_a_second_outage_is_news(outage: Outage, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        outage.failed(GONE)
        clock.now += 1.0
        outage.reached()
        clock.now += WELL
    assert len(caplog.messages) == 4


def test_leases_are_left_alone_after_an_outage_in_which_they_may_have_run_out(outage: Outage, clock: Clock) -> None:
    outage.reached()
    outage.failed(GONE)
    clock.now += 4.9
    outage.reached()
    assert outage.calm_in() == 0.0

    outage.failed(GONE)
    clock.now += 5.0
    assert outage.away
    outage.reached()
    assert outage.calm_in() == GRACE
    clock.now += GRACE
    assert outage.calm_in() == 0.0


def test_who_starts_after_an_outage_leaves_leases_alone_too(clock: Clock) -> None:
    assert Outage(WHERE, "", 5.0, after=True, clock=clock).calm_in() == GRACE


class Away:
    """A session whose store went away after `beats` calls."""

    def __init__(self, session: Session, beats: int) -> None:
        self._session = session
        self._left = beats

    def run(self, plan: Any, durability: Durability = Durability.DEFAULT) -> Any:
        self._left -= 1
        if self._left < 0:
            raise GONE
        return self._session.run(plan, durability)


class Body:
    """What the heartbeat sees of a worker whose loop stood still for `stood` seconds."""

    def __init__(self, stood: float) -> None:
        self._stood = stood
        self.lost = threading.Event()
        self.spared: bool | None = None

    def tick_age(self) -> float:
        return 0.0

    def stood(self) -> float:
        return self._stood

    def culprit(self) -> str:
        return ""

    def bodies(self) -> int:
        return 0

    def cancel(self, jobs: Sequence[JobId]) -> None:
        raise AssertionError(f"nobody cancelled {jobs}")

    def lose(self, *, spared: bool) -> None:
        self.spared = spared
        self.lost.set()

    def settle_stalled(self) -> None:
        raise AssertionError("the loop did not stall")


@pytest.mark.parametrize(
    ("beats", "stood", "local", "spared"),
    [
        pytest.param(1, 0.1, False, True, id="the store was away"),
        pytest.param(1, 20.0, False, False, id="the store was away, and a body kept the process from running"),
        pytest.param(1, 0.1, True, False, id="a file: a body may have kept it locked"),
    ],
)
def test_whom_a_lost_lease_is_blamed_on(
    beats: int, stood: float, local: bool, spared: bool, caplog: pytest.LogCaptureFixture
) -> None:
    app = Treadle("memory://outage", allow_volatile=True)
    body, options = Body(stood), WorkerOptions(target="tasks", lease=1.0)
    session: Any = Away(app.store.session(), beats)
    waiter = app.store.waiter(["lease:mine"])
    outage = Outage(WHERE, "jobs go on", 5.0)
    heart = Heartbeat(app.store.engine, session, waiter, "mine", options, body, outage, local)
    heart.open(WorkerInfo("w1", "host", 42, ("default",), (), 8))
    heart.start()
    try:
        assert body.lost.wait(30.0)
    finally:
        heart.stop()
        app.close()
    assert body.spared is spared
    [lost] = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert "no word of it came through in time (the server cannot be reached. See that it runs)" in lost
    assert WHERE not in lost


@pytest.mark.parametrize(("served", "why"), [(False, EMPTIED), (True, TAKEN)], ids=["emptied", "taken over"])
def test_a_lease_that_the_store_does_not_know_says_why(served: bool, why: str, caplog: pytest.LogCaptureFixture) -> None:
    app = Treadle("memory://outage", allow_volatile=True)
    engine, session = app.store.engine, app.store.session()
    body, options = Body(0.1), WorkerOptions(target="tasks", lease=3.0)
    heart = Heartbeat(engine, session, app.store.waiter(["lease:mine"]), "mine", options, body, Outage(WHERE, "", 5.0), False)
    heart.open(WorkerInfo("w1", "host", 42, ("default",), (), 8))
    if served:
        session.run(engine.write([Write(Space.SERVED, "tasks", "{}")]))
    session.run(engine.rescue([Witness("mine", "")]))
    heart.start()
    try:
        assert body.lost.wait(30.0)
    finally:
        heart.stop()
        app.close()
    assert body.spared is False
    assert any(why in text for text in caplog.messages)
