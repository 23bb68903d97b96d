"""One worker process, in this process: what becomes of each kind of job, on each engine that can be had without a server."""

import asyncio
import logging
import sqlite3
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Literal

import pytest

from treadle import CancelJob, Context, GiveUp, Retries, Retry, Snooze, Treadle
from treadle.app.loader import load
from treadle.engine.plan import Plan
from treadle.model.filter import Filter, Page
from treadle.model.job import Job, NewJob
from treadle.model.state import State
from treadle.worker.logs import JobFilter
from treadle.worker.worker import Worker
from worker.serving import PATIENCE, serve, until


@pytest.fixture(params=["memory", "sqlite"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Treadle]:
    url = "memory://worker" if request.param == "memory" else f"sqlite:///{tmp_path}/jobs.db"
    app = Treadle(url, allow_volatile=True)
    yield app
    app.close()


def look(app: Treadle, job: str) -> Job:
    found: list[Job] = app.session.run(app.store.engine.find(Filter(ids=[job]), Page(details=True)))
    return found[0]


def ended(app: Treadle, *jobs: str) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        plan: Plan[list[Job]] = app.store.engine.find(Filter(ids=jobs), Page())
        return all(job.state.final for job in await app.session.arun(plan))

    return check


def test_async_and_plain_functions_complete_with_their_results(app: Treadle) -> None:
    @app.task(name="double")
    async def double(n: int) -> int:
        await asyncio.sleep(0)
        return 2 * n

    @app.task(name="shout")
    def shout(text: str) -> str:
        assert threading.current_thread() is not threading.main_thread()
        return text.upper()

    one, two = double.enqueue(21), shout.enqueue("hi")

    async def scene(worker: Worker) -> None:
        assert await one.aresult(timeout=PATIENCE) == 42
        assert await two.aresult(timeout=PATIENCE) == "HI"

    assert serve(app, scene) == 0
    assert look(app, one.id).attempt == 1
    assert app.session.run(app.store.engine.leases()) == []


def test_outcomes_raised_inside_a_job(app: Treadle) -> None:
    seen: list[tuple[str, int]] = []

    @app.task(name="moody")
    async def moody(ctx: Context, mood: str) -> str:
        seen.append((mood, ctx.attempt))
        if ctx.attempt == 1:
            match mood:
                case "retry":
                    raise Retry(after=0)
                case "snooze":
                    raise Snooze(0)
                case "give up":
                    raise GiveUp("enough")
                case _:
                    raise CancelJob("not today")
        return mood

    handles = {mood: moody.enqueue(mood) for mood in ("retry", "snooze", "give up", "cancel")}

    async def scene(worker: Worker) -> None:
        await until(ended(app, *(handle.id for handle in handles.values())))

    assert serve(app, scene) == 0
    jobs = {mood: look(app, handle.id) for mood, handle in handles.items()}
    assert {mood: job.state for mood, job in jobs.items()} == {
        "retry": State.COMPLETED,
        "snooze": State.COMPLETED,
        "give up": State.DEAD,
        "cancel": State.CANCELLED,
    }
    assert (jobs["retry"].failures, jobs["retry"].snoozes) == (1, 0)
    assert (jobs["snooze"].failures, jobs["snooze"].snoozes) == (0, 1)
    dead = jobs["give up"].dead
    assert dead is not None
    assert dead.cause == "gave_up"
    assert "enough" in dead.reason


def test_a_job_that_always_fails_dies_after_its_budget_with_every_attempt_on_record(app: Treadle) -> None:
    @app.task(name="broken", retry=Retries([0, 0]))
    def broken() -> None:
        raise ValueError("no good")

    job = broken.enqueue()

    async def scene(worker: Worker) -> None:
        await until(ended(app, job.id))

    serve(app, scene)
    found = look(app, job.id)
    assert (found.state, found.failures, found.attempt) == (State.DEAD, 3, 3)
    assert [attempt.attempt for attempt in found.attempts] == [1, 2, 3]
    assert all("no good" in (attempt.error or "") for attempt in found.attempts)


def test_an_async_job_past_its_timeout_is_cancelled_and_retried(app: Treadle) -> None:
    cancelled: list[int] = []

    @app.task(name="slow", timeout=0.1, retry=Retries([0]))
    async def slow(ctx: Context) -> str:
        if ctx.attempt == 1:
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.append(ctx.attempt)
        return "second time lucky"

    job = slow.enqueue()

    async def scene(worker: Worker) -> None:
        assert await job.aresult(timeout=PATIENCE) == "second time lucky"

    assert serve(app, scene) == 0
    assert cancelled == [1]
    assert "timeout" in (look(app, job.id).attempts[0].error or "")


def test_a_body_that_swallows_its_timeout_has_timed_out_all_the_same(app: Treadle) -> None:
    @app.task(name="deaf", timeout=0.05, retry=Retries(max_failures=1))
    async def deaf() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "finished anyway"
        return "never"

    @app.task(name="late", timeout=0.05, retry=Retries(max_failures=1))
    def late(ctx: Context) -> str:
        gate = threading.Event()
        while not ctx.cancelled:
            gate.wait(0.01)
        return "finished anyway"

    jobs = [deaf.enqueue(), late.enqueue()]

    async def scene(worker: Worker) -> None:
        await until(ended(app, *(each.id for each in jobs)))

    serve(app, scene)
    for job in jobs:
        dead = look(app, job.id).dead
        assert dead is not None
        assert dead.cause == "timed_out"


def test_a_runner_that_was_cancelled_serves_on(app: Treadle) -> None:
    @app.task(name="hang", timeout=0.05, retry=Retries(max_failures=1))
    async def hang() -> None:
        await asyncio.Event().wait()

    @app.task(name="bounded")
    async def bounded() -> bool:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()
        except TimeoutError:
            return True
        return False

    hangs = [hang.enqueue() for _ in range(3)]

    async def scene(worker: Worker) -> None:
        await until(ended(app, *(each.id for each in hangs)))
        results = [await (await bounded.aenqueue()).aresult(timeout=PATIENCE) for _ in range(3)]
        assert results == [True, True, True]

    assert serve(app, scene, async_slots=1) == 0


def test_cancelling_a_running_job_reaches_its_body(app: Treadle) -> None:
    running = threading.Event()

    @app.task(name="patient")
    async def patient() -> None:
        running.set()
        await asyncio.Event().wait()

    @app.task(name="polite")
    def polite(ctx: Context) -> None:
        running.set()
        gate = threading.Event()
        while not ctx.cancelled:
            gate.wait(0.01)
        ctx.check_cancelled()

    async def scene(worker: Worker) -> None:
        for task in (patient, polite):
            running.clear()
            job = await task.aenqueue()
            await until(running.is_set)
            await job.acancel()
            await until(ended(app, job.id))
            assert (await job.ajob()).state is State.CANCELLED

    assert serve(app, scene) == 0


def test_progress_is_stored_while_the_body_runs(app: Treadle) -> None:
    go_on = threading.Event()

    @app.task(name="steady")
    def steady(ctx: Context) -> None:
        ctx.progress(0.5, "half way")
        assert go_on.wait(PATIENCE)

    job = steady.enqueue()

    async def scene(worker: Worker) -> None:
        async def half_way() -> bool:
            plan = app.store.engine.find(Filter(ids=[job.id]), Page())
            return "half way" in ((await app.session.arun(plan))[0].progress or "")

        await until(half_way)
        go_on.set()
        await until(ended(app, job.id))

    assert serve(app, scene) == 0


def test_draining_lets_jobs_finish_and_hands_back_what_had_not_started(app: Treadle) -> None:
    started, go_on = threading.Event(), threading.Event()

    @app.task(name="held")
    def held() -> None:
        started.set()
        assert go_on.wait(PATIENCE)

    jobs = [held.enqueue() for _ in range(3)]

    async def scene(worker: Worker) -> None:
        await until(started.is_set)
        worker.drain()
        go_on.set()

    assert serve(app, scene, threads=1) == 0
    found = [look(app, job.id) for job in jobs]
    assert found[0].state is State.COMPLETED
    assert {job.state for job in found[1:]} <= {State.QUEUED, State.COMPLETED}
    assert all(job.failures == job.crashes == 0 for job in found)


def test_a_second_signal_hands_back_what_runs(app: Treadle) -> None:
    started = asyncio.Event()

    @app.task(name="endless")
    async def endless() -> None:
        started.set()
        await asyncio.Event().wait()

    job = endless.enqueue()

    async def scene(worker: Worker) -> None:
        await asyncio.wait_for(started.wait(), PATIENCE)
        worker.drain()
        worker.abandon()

    assert serve(app, scene) == 0
    found = look(app, job.id)
    assert (found.state, found.releases, found.failures, found.crashes) == (State.QUEUED, 1, 0, 0)


def test_a_lease_that_is_gone_ends_everything_and_changes_nothing(app: Treadle) -> None:
    started = asyncio.Event()
    stopped: list[bool] = []

    @app.task(name="orphan")
    async def orphan() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.append(True)

    job = orphan.enqueue()

    async def scene(worker: Worker) -> None:
        await asyncio.wait_for(started.wait(), PATIENCE)
        from treadle.model.job import Witness

        (lease,) = await app.session.arun(app.store.engine.leases())
        await app.session.arun(app.store.engine.rescue([Witness(lease.id, "signal 9")], delay=1000.0))
        await until(lambda: bool(stopped))

    assert serve(app, scene) == 70
    found = look(app, job.id)
    assert (found.state, found.crashes, found.attempt) == (State.RETRYING, 1, 1)


def test_weights_share_the_slots_between_full_queues(app: Treadle) -> None:
    order: list[str] = []

    @app.task(name="count")
    async def count(queue: str) -> None:
        order.append(queue)

    for queue in ("big", "small"):
        app.enqueue_many([count.call(queue).options(queue=queue) for _ in range(200)])

    async def scene(worker: Worker) -> None:
        await until(lambda: len(order) == 400)

    assert serve(app, scene, queues=(("big", 3), ("small", 1)), async_slots=4) == 0
    # Among the first 40 starts, three of four come from the heavier queue, give or take one claim.
    assert abs(order[:40].count("big") - 30) <= 4


def test_strict_empties_the_first_queue_first(app: Treadle) -> None:
    order: list[str] = []

    @app.task(name="count")
    async def count(queue: str) -> None:
        order.append(queue)

    for queue in ("low", "high"):
        app.enqueue_many([count.call(queue).options(queue=queue) for _ in range(50)])

    async def scene(worker: Worker) -> None:
        await until(lambda: len(order) == 100)

    assert serve(app, scene, queues=(("low", 1), ("high", 10)), strict=True, async_slots=5) == 0
    assert order == ["high"] * 50 + ["low"] * 50


def test_the_reason_given_for_a_cancellation_is_kept_when_the_body_heeds_it(app: Treadle) -> None:
    begun = threading.Event()

    @app.task(name="patient")
    def patient(ctx: Context) -> None:
        begun.set()
        while not ctx.cancelled:
            time.sleep(0.005)
        ctx.check_cancelled()

    job = patient.enqueue()

    async def scene(worker: Worker) -> None:
        await until(begun.is_set)
        await job.acancel("the customer left")
        await until(ended(app, job.id))

    assert serve(app, scene) == 0
    found = look(app, job.id)
    assert (found.state, found.reason) == (State.CANCELLED, "the customer left")


def test_a_thread_that_heeds_its_timeout_costs_the_process_nothing(app: Treadle) -> None:
    @app.task(name="heeding", timeout=0.1, retry=Retries([1000]))
    def heeding(ctx: Context) -> None:
        while True:
            ctx.check_cancelled()
            time.sleep(0.005)

    @app.task(name="after")
    def after() -> str:
        return "served"

    job = heeding.enqueue()

    async def scene(worker: Worker) -> None:
        async def retrying() -> bool:
            return (await job.ajob()).state is State.RETRYING

        await until(retrying)
        next_job = await after.aenqueue()
        assert await next_job.aresult(timeout=PATIENCE) == "served"

    assert serve(app, scene, kill_grace=20.0) == 0
    assert look(app, job.id).failures == 1


def test_the_log_says_what_failed_and_what_became_a_dead_letter(app: Treadle, caplog: pytest.LogCaptureFixture) -> None:
    @app.task(name="work", retry=Retries([0.01]))
    def work(_secret: str) -> None:
        raise ValueError("boom\nand more")

    job = work.enqueue("what it was called with")

    async def scene(_: Worker) -> None:
        await until(ended(app, job.id))

    with caplog.at_level(logging.INFO, logger="treadle.worker"):
        assert serve(app, scene) == 0

    said = [(each.levelname, each.getMessage()) for each in caplog.records if job.id in each.getMessage()]
    assert said == [
        ("INFO", f"job {job.id} (work) failed at attempt 1, and is tried again in 0.01 s: ValueError: boom"),
        ("ERROR", f"job {job.id} (work) is a dead letter after attempt 2, failed: {look(app, job.id).reason}"),
    ]
    assert "called with" not in caplog.text
    assert [each.__dict__["task"] for each in caplog.records if job.id in each.getMessage()] == ["work"] * 2


def test_the_log_does_not_quote_a_payload_that_does_not_fit(app: Treadle, caplog: pytest.LogCaptureFixture) -> None:
    @app.task(name="paint")
    def paint(_colour: Literal["red"]) -> None: ...

    job = paint.call("red").id
    app.session.run(app.store.engine.enqueue([NewJob(job, "paint", args='{"_colour":"secret"}')]))

    async def scene(_: Worker) -> None:
        await until(ended(app, job))

    with caplog.at_level(logging.INFO, logger="treadle.worker"):
        assert serve(app, scene) == 0

    said = f"job {job} (paint) is a dead letter after attempt 1, invalid: `treadle dead show {job}` says why"
    assert [(each.levelname, each.getMessage()) for each in caplog.records if job in each.getMessage()] == [("ERROR", said)]
    assert "secret" in str(look(app, job).reason)
    assert "secret" not in caplog.text


def test_the_log_says_which_tasks_have_no_slots_here(app: Treadle, caplog: pytest.LogCaptureFixture) -> None:
    @app.task(name="plain")
    def plain() -> None: ...

    @app.task(name="quick")
    async def quick() -> None: ...

    job = plain.enqueue()

    async def scene(_: Worker) -> None:
        await (await quick.aenqueue()).aresult(timeout=PATIENCE)
        [obstacle] = app.client.obstacles([app.client.get(job.id)]).values()
        assert "no live worker" in obstacle.why

    assert serve(app, scene, threads=0) == 0
    assert "--threads is 0, so jobs of plain wait for another worker" in caplog.text
    assert "quick wait" not in caplog.text


def test_the_log_says_that_an_app_has_no_task_at_all(app: Treadle, caplog: pytest.LogCaptureFixture) -> None:
    async def scene(_: Worker) -> None: ...

    assert serve(app, scene) == 0
    assert "this app has no task" in caplog.text


def test_the_log_names_the_stuck_job_and_no_other(app: Treadle, caplog: pytest.LogCaptureFixture) -> None:
    release = threading.Event()

    @app.task(name="before", timeout=60)
    def before() -> None:
        pass

    @app.task(name="stuck", timeout=0.1, retry=Retries([1000]))
    def stuck() -> None:
        release.wait(PATIENCE)

    async def scene(worker: Worker) -> None:
        # The first body's thread arms the timer; what the timer says later is not about that body.
        await (await before.aenqueue()).aresult(timeout=PATIENCE)
        job = await stuck.aenqueue()

        async def retrying() -> bool:
            return (await job.ajob()).state is State.RETRYING

        await until(retrying)

    names_the_job = JobFilter("here")
    caplog.handler.addFilter(names_the_job)
    try:
        code = serve(app, scene, kill_grace=0.1, threads=1)
    finally:
        caplog.handler.removeFilter(names_the_job)
        release.set()
    assert code == 75
    said = [each for each in caplog.records if "past its timeout" in each.getMessage()]
    assert [each.__dict__["task"] for each in said] == ["stuck"]


def test_a_stuck_thread_flags_its_job_and_has_the_process_replaced(app: Treadle) -> None:
    release = threading.Event()

    @app.task(name="stuck", timeout=0.1, retry=Retries([1000]))
    def stuck() -> None:
        release.wait(PATIENCE)

    job = stuck.enqueue()

    async def scene(worker: Worker) -> None:
        async def retrying() -> bool:
            return (await job.ajob()).state is State.RETRYING

        await until(retrying)

    code = serve(app, scene, kill_grace=0.1)
    release.set()
    assert code == 75
    assert look(app, job.id).failures == 1


@pytest.mark.parametrize("executor", ["loop", "thread", "process"])
def test_a_body_completes_in_its_own_transaction_wherever_it_runs(
    tmp_path: Path, executor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"owntasks_{executor}"
    (tmp_path / f"{name}.py").write_text(OWN_TASKS.format(path=tmp_path / "own.db"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    app = load(name)

    async def scene(worker: Worker) -> None:
        handle = await app.registry.expect(executor).aenqueue()
        assert await handle.aresult(timeout=PATIENCE) == "from the transaction"
        await until(lambda: worker.settled >= 1)

    assert serve(app, scene, target=name) == 0
    with closing(sqlite3.connect(tmp_path / "own.db")) as connection:
        assert connection.execute("SELECT executor FROM mine").fetchall() == [(executor,)]
    app.close()


OWN_TASKS = """
import sqlite3
from contextlib import closing
from treadle import Context, Treadle

app = Treadle("sqlite:///{path}?driver=sqlite3")

def complete(ctx: Context, executor: str) -> str:
    with closing(sqlite3.connect("{path}", isolation_level=None, timeout=30)) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS mine (executor)")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO mine VALUES (?)", (executor,))
        ctx.complete_in(connection, "from the transaction")
        connection.execute("COMMIT")
    return "from the body"

@app.task(name="loop")
async def on_loop(ctx: Context) -> str:
    return complete(ctx, "loop")

@app.task(name="thread")
def in_thread(ctx: Context) -> str:
    return complete(ctx, "thread")

@app.task(name="process", executor="process")
def in_process(ctx: Context) -> str:
    return complete(ctx, "process")
"""
