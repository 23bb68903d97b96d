"""The test kit: the clock, bodies in place, drain, what was enqueued, and the fixtures."""

import asyncio
import subprocess
import sys
import threading
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from treadle import (
    CancelJob,
    Context,
    GiveUp,
    InvalidArguments,
    InvalidOption,
    InvalidResult,
    InvalidTime,
    OnDead,
    Retries,
    Retry,
    Snooze,
    State,
    Treadle,
    WouldBlock,
)
from treadle.model.outcome import Cancelled, Completed, Died, Retrying, Snoozed
from treadle.testing import (
    FakeContext,
    VirtualClock,
    adrain,
    ainline,
    assert_enqueued,
    drain,
    inline,
    on_memory,
    refute_enqueued,
)
from treadle.testing.draining import Endless

NEW_YEAR = datetime(2036, 1, 1, tzinfo=UTC)


@dataclass
class Order:
    id: int


@pytest.fixture
def app(treadle_app):
    def add(one: int, two: int = 2) -> int:
        return one + two

    async def greet(name: str) -> str:
        await asyncio.sleep(0)
        return f"hi {name}"

    def place(ctx: Context, order: Order) -> Order:
        ctx.progress(0.5)
        return order

    treadle_app.task(name="add", tags=["sum"])(add)
    treadle_app.task(name="greet")(greet)
    treadle_app.task(name="place")(place)
    return treadle_app


def task(app, name):
    return app.registry.expect(name)


def declare(app, fn, **words):
    return app.task(name=fn.__name__, **words)(fn)


def test_a_clock_stands_still_until_it_is_turned():
    clock = VirtualClock(NEW_YEAR)
    assert clock.now == clock.now == NEW_YEAR
    assert clock.advance("90s") == datetime(2036, 1, 1, 0, 1, 30, tzinfo=UTC)
    assert clock.advance_to(datetime(2036, 1, 2, tzinfo=UTC)) == clock.now
    assert clock.micros == 2_082_844_800_000_000
    with pytest.raises(InvalidTime, match="forward"):
        clock.advance_to(NEW_YEAR)
    with pytest.raises(InvalidTime):
        VirtualClock(datetime(2036, 1, 1))  # noqa: DTZ001 - that is the point


def test_a_body_runs_in_place_through_json(app):
    assert inline(task(app, "add").call(3)) == 5
    order = Order(1)
    found = inline(task(app, "place").call(order))
    assert found == order
    assert found is not order
    assert app.client.count() == []


def test_an_async_body_runs_in_place(app):
    assert inline(task(app, "greet").call("ada")) == "hi ada"

    async def body():
        with pytest.raises(WouldBlock, match="ainline"):
            inline(task(app, "greet").call("ada"))
        return await ainline(task(app, "greet").call("bob")), await ainline(task(app, "add").call(1))

    assert asyncio.run(body()) == ("hi bob", 3)


def test_a_body_sees_the_context_it_is_given(app):
    context = FakeContext(attempt=4, tags=["x"], key="k")
    inline(task(app, "place").call(Order(1)), context)
    assert context.reported == [{"fraction": 0.5}]
    assert (context.attempt, context.tags, context.key) == (4, ("x",), "k")


def test_what_a_body_in_place_raises_is_raised(app):
    def bad() -> int:
        raise GiveUp("no")

    def wrong() -> int:
        return "three"  # type: ignore[return-value]

    with pytest.raises(GiveUp):
        inline(declare(app, bad).call())
    with pytest.raises(InvalidResult):
        inline(declare(app, wrong).call())
    with pytest.raises(InvalidArguments):
        inline(task(app, "add").call("x"))


def test_drain_runs_what_is_due_and_what_that_enqueues(app):
    def parent() -> None:
        task(app, "add").enqueue(1)
        task(app, "greet").options(queue="other").enqueue("ada")

    handle = declare(app, parent).enqueue()
    drained = drain(app)
    assert sorted(each.task for each in drained.ran) == ["add", "greet", "parent"]
    assert drained.of("add")[0].outcome == Completed("3")
    assert [each.id for each in drained.of(task(app, "parent"))] == [handle.id]
    assert app.client.workers() == []
    assert len(drain(app)) == 0


def test_drain_goes_through_the_future_each_job_at_its_moment(app, treadle_clock):
    seen = []

    def later() -> None:
        seen.append(treadle_clock.now)

    start = treadle_clock.now
    late = declare(app, later)
    for delay in ("3h", "1h", "30h"):
        late.options(delay=delay).enqueue()
    assert len(drain(app)) == 0
    assert len(drain(app, through="1d")) == 2
    assert [(moment - start).total_seconds() for moment in seen] == [3600, 10_800]
    assert (treadle_clock.now - start).total_seconds() == 86_400


def test_drain_at_a_moment_without_a_virtual_clock(tmp_path):
    app = Treadle(f"sqlite:///{tmp_path}/real.db")

    def work() -> int:
        return 1

    handle = declare(app, work).options(run_at=NEW_YEAR).enqueue()
    assert len(drain(app)) == 0
    assert len(drain(app, now=NEW_YEAR)) == 1
    assert handle.state() is State.COMPLETED
    other = task(app, "work").options(delay="1h").enqueue()
    assert len(drain(app, through="2h")) == 1
    assert other.state() is State.COMPLETED
    app.close()


def test_drain_ends_attempts_as_a_worker_does(app):
    tries = []

    def fails(ctx: Context) -> None:
        tries.append(ctx.attempt)
        if len(tries) < 3:
            raise ValueError("not yet")

    def raises(kind: str) -> None:
        raise {"retry": Retry("5m"), "give up": GiveUp("no"), "snooze": Snooze("1h"), "cancel": CancelJob("enough")}[kind]

    handle = declare(app, fails, retry=Retries(["1m", "2m"])).enqueue()
    raising = declare(app, raises)
    for kind in ("retry", "give up", "snooze", "cancel"):
        raising.enqueue(kind)
    drained = drain(app)
    outcomes = [type(each.outcome) for each in drained.of(raising)]
    assert outcomes == [Retrying, Died, Snoozed, Cancelled]
    assert [each.outcome.delay for each in drained.ran if isinstance(each.outcome, Retrying)] == [60, 300]
    drain(app, through="10m")
    assert tries == [1, 2, 3]
    assert handle.state() is State.COMPLETED
    assert [each.outcome for each in handle.job().attempts] == ["retrying", "retrying"]


@pytest.mark.parametrize("wrong", [Snooze("soon"), Snooze(-1), Retry("soon"), Retry(float("nan"))], ids=repr)
def test_asking_for_a_delay_that_is_none_is_a_failure_like_any_other(app, wrong):
    def asks() -> None:
        raise wrong

    handle = declare(app, asks, retry=Retries(["1m"])).enqueue()
    (ran,) = drain(app).ran
    assert ran.outcome == Retrying(60.0, ran.outcome.error)
    assert "InvalidDuration" in ran.outcome.error
    drain(app, through="5m")
    assert handle.state() is State.DEAD


def test_drain_frees_children(app):
    def bad() -> None:
        raise GiveUp("no")

    parent = declare(app, bad).call()
    child = task(app, "add").options(after=[(parent, OnDead.RUN)]).call(1)
    held = task(app, "add").options(after=[parent]).call(1)
    app.enqueue_many([held, child, parent])
    assert [each.task for each in drain(app).ran] == ["bad", "add"]
    assert held.handle().state() is State.BLOCKED


def test_an_endless_drain_is_stopped(app):
    def again() -> None:
        task(app, "again").enqueue()

    declare(app, again).enqueue()
    with pytest.raises(Endless, match="for ever"):
        drain(app, at_most=20)
    assert app.client.workers() == []


def test_a_def_body_runs_in_a_thread_and_may_block(app):
    def blocks() -> str:
        return asyncio.run(task(app, "greet").fn("x")) + threading.current_thread().name

    handle = declare(app, blocks).enqueue()

    async def body():
        await adrain(app)
        return await handle.aresult()

    found = asyncio.run(body())
    assert found.startswith("hi x")
    assert "MainThread" not in found


def test_what_was_enqueued_can_be_asked(app):
    add = task(app, "add")
    handle = add.options(queue="sums", priority=5, tags=["ada"], key="7", delay="10m").enqueue(1, two=5)
    add.enqueue(2)
    found = assert_enqueued(app, add, {"one": 1}, queue="sums", priority=5, tags=["sum"], key="7", delay=600)
    assert [each.id for each in found] == [handle.id]
    assert_enqueued(app, "add", count=2)
    assert_enqueued(app, add, {"one": 2}, delay=0)
    assert_enqueued(app, add, job_id=handle.id)
    assert_enqueued(app, add, count=0, queue="nowhere")
    refute_enqueued(app, add, {"one": 3})
    refute_enqueued(app, "greet")
    task(app, "place").options(run_at=NEW_YEAR, start_within="1h").enqueue(Order(4))
    assert_enqueued(app, "place", {"order": Order(4)}, run_at=NEW_YEAR, start_within="1h")


def test_a_failed_expectation_shows_what_is_there(app):
    add = task(app, "add")
    with pytest.raises(AssertionError, match="No job of this task"):
        assert_enqueued(app, add)
    for number in range(7):
        add.enqueue(number)
    with pytest.raises(AssertionError) as caught:
        assert_enqueued(app, add, {"one": 99}, queue="sums")
    assert "one=99" in str(caught.value)
    assert "queue='sums'" in str(caught.value)
    assert "and 2 more" in str(caught.value)
    with pytest.raises(AssertionError, match="expected 2 jobs"):
        assert_enqueued(app, add, count=2)
    with pytest.raises(AssertionError, match="expected no job"):
        refute_enqueued(app, add, {"one": 3})
    with pytest.raises(InvalidOption, match="timeout"):
        assert_enqueued(app, add, timeout=3)


def test_an_app_is_lent_a_store_and_gets_its_own_back(tmp_path):
    app = Treadle(f"sqlite:///{tmp_path}/own.db")

    def work() -> None: ...

    work_task = declare(app, work)
    work_task.enqueue()
    with on_memory(app) as lent:
        assert lent is app
        assert app.client.count() == []
        work_task.enqueue()
        work_task.enqueue()
        with on_memory(app):
            refute_enqueued(app, work_task)
        assert_enqueued(app, work_task, count=2)
    assert_enqueued(app, work_task, count=1)
    app.close()


def test_the_fixtures_work_for_a_user_who_only_installs_the_package(tmp_path):
    (tmp_path / "test_user.py").write_text(
        """
from treadle import Treadle
from treadle.testing import assert_enqueued, drain

app = Treadle("sqlite:////nowhere/at/all.db")

@app.task
def hello(name: str) -> str:
    return f"hi {name}"

def test_mine(treadle_memory, treadle_clock):
    treadle_memory(app)
    handle = hello.options(delay="1h").enqueue("ada")
    assert_enqueued(app, hello, {"name": "ada"}, delay="1h")
    treadle_clock.advance("1h")
    drain(app)
    assert handle.result() == "hi ada"

def test_again(treadle_memory):
    assert treadle_memory(app).client.count() == []

def test_own(treadle_app):
    assert treadle_app.client.count() == []
"""
    )
    answer = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "test_user.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "3 passed" in answer.stdout, answer.stdout + answer.stderr
