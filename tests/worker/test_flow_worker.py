"""Flow control under a real worker: gated jobs start when they are claimed, breakers open and close, rules change in flight."""

import asyncio
import itertools
import logging
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from treadle import Breaker, Context, Filter, Retries, State, Treadle
from treadle.worker.fetcher import Fetcher
from treadle.worker.rules import Rules
from treadle.worker.worker import Worker
from worker.serving import PATIENCE, serve, until


@pytest.fixture(params=["memory", "sqlite"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Treadle]:
    url = "memory://flow" if request.param == "memory" else f"sqlite:///{tmp_path}/jobs.db"
    app = Treadle(url, allow_volatile=True)
    yield app
    app.close()


def completed(app: Treadle, number: int) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        counts = await app.client.acount(Filter(states=[State.COMPLETED]))
        return sum(each.count for each in counts) == number

    return check


def test_no_more_run_under_a_key_than_its_limit_has_slots(app: Treadle) -> None:
    limit = app.limit("pool", concurrency=3, by="key")
    running: Counter[str] = Counter()
    most: Counter[str] = Counter()

    @app.task(name="work", limits=[limit])
    async def work(key: str) -> None:
        running[key] += 1
        most[key] = max(most[key], running[key])
        await asyncio.sleep(0)
        running[key] -= 1

    app.enqueue_many([work.call(key) for _ in range(30) for key in "ab"])

    async def scene(_: Worker) -> None:
        await until(completed(app, 60))

    assert serve(app, scene) == 0
    assert most["a"] <= 3
    assert most["b"] <= 3


def test_a_gated_job_never_waits_in_the_workers_hands(app: Treadle) -> None:
    limit = app.limit("wide", concurrency=1000)
    waiting, seen = threading.Event(), []

    @app.task(name="quick")
    def quick() -> None:
        pass

    @app.task(name="work", limits=[limit])
    def work() -> None:
        waiting.wait(PATIENCE)

    async def scene(worker: Worker) -> None:
        # Measured bodies make the worker hold some jobs beyond its slots: plain ones, and these only.
        app.enqueue_many([quick.call() for _ in range(500)])
        await until(completed(app, 500))
        app.enqueue_many([work.call() for _ in range(10)])
        await until(lambda: sum(run.started is not None for run in worker._inflight.runs.values()) == 2)
        counts = {each.key[0]: each.count for each in await app.client.acount()}
        seen.append(counts["running"])
        waiting.set()
        await until(completed(app, 510))

    assert serve(app, scene, threads=2) == 0
    assert seen == [2]


def test_what_was_claimed_ahead_and_does_not_begin_is_handed_back(app: Treadle) -> None:
    limit = app.limit("wide", concurrency=1000)
    waiting = threading.Event()

    @app.task(name="work", limits=[limit])
    def work(slow: bool) -> None:
        if slow:
            waiting.wait(PATIENCE)

    async def running() -> int:
        return sum(each.count for each in await app.client.acount(Filter(states=[State.RUNNING])))

    async def scene(worker: Worker) -> None:
        app.enqueue_many([work.call(False) for _ in range(1000)])
        await until(completed(app, 1000))
        app.enqueue_many([work.call(True) for _ in range(50)])
        await until(lambda: sum(run.started is not None for run in worker._inflight.runs.values()) == 2)

        async def two() -> bool:
            return await running() == 2

        await until(two)
        waiting.set()
        await until(completed(app, 1050))

    assert serve(app, scene, threads=2) == 0
    assert {each.attempt for each in app.client.find(Filter()) if each.failures or each.crashes} == set()


def test_a_rate_holds_over_every_stretch_of_time(app: Treadle) -> None:
    limit = app.limit("provider", rate="100/s", burst=5)
    starts: list[int] = []

    @app.task(name="work", limits=[limit])
    async def work(ctx: Context) -> None:
        starts.append(ctx._claimed.claimed_at)

    app.enqueue_many([work.call() for _ in range(60)])

    async def scene(_: Worker) -> None:
        await until(completed(app, 60))

    assert serve(app, scene) == 0
    starts.sort()
    for first in range(60):
        for last in range(first, 60):
            assert last - first + 1 <= 5 + (starts[last] - starts[first]) / 10_000 + 1e-6


def test_order_is_kept_with_many_slots_and_a_failure(app: Treadle) -> None:
    began: list[tuple[str, int]] = []

    @app.task(name="post", ordered_by="key", retry=Retries([0.01]))
    async def post(ctx: Context, key: str, number: int) -> None:
        began.append((key, number))
        await asyncio.sleep(0)
        if number == 3 and ctx.failures == 0:
            raise OSError

    app.enqueue_many([post.call(key, number) for number in range(8) for key in "ab"])

    async def scene(_: Worker) -> None:
        await until(completed(app, 16))

    assert serve(app, scene) == 0
    for key in "ab":
        assert [number for name, number in began if name == key] == [0, 1, 2, 3, 3, 4, 5, 6, 7]


def test_a_breaker_opens_on_a_run_of_failures_and_closes_when_a_probe_succeeds(
    app: Treadle, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "treadle.worker")
    limit = app.limit("provider", concurrency=1, breaker=Breaker(3, open_for="0.2s"))
    healthy, tries = threading.Event(), []

    @app.task(name="contact", limits=[limit], retry=Retries(max_failures=20, first=0.01))
    async def contact(number: int) -> None:
        tries.append(number)
        if not healthy.is_set():
            raise ConnectionError("the provider is down")

    app.enqueue_many([contact.call(number) for number in range(20)])

    async def scene(_: Worker) -> None:
        async def opened() -> bool:
            return (await app.client.limits.alist())[0].breaker != "closed"

        await until(opened)
        view = (await app.client.limits.alist())[0]
        assert "ConnectionError: the provider is down" in view.why
        assert view.opened_by is None
        healthy.set()
        await until(completed(app, 20))

        async def closed() -> bool:
            return (await app.client.limits.alist())[0].breaker == "closed"

        await until(closed)
        # The worker says so once it has its answer, which is after the store shows it.
        await until(lambda: any("the breaker of limit provider is closed" in each.message for each in caplog.records))

    assert serve(app, scene) == 0
    # Twenty that succeeded; what failed was at most the run that opened it, what ran on while the store was told, and probes.
    assert len(tries) < 20 + 12
    assert any("the breaker of limit provider is open" in each.message for each in caplog.records)


def test_a_limit_that_was_opened_by_hand_is_closed_by_a_success_though_it_has_no_breaker(app: Treadle) -> None:
    limit = app.limit("provider", concurrency=5)

    @app.task(name="work", limits=[limit])
    async def work() -> None:
        pass

    async def scene(_: Worker) -> None:
        await app.client.limits.aopen("provider", duration="0.1s")
        await app.aenqueue_many([work.call() for _ in range(3)])
        await until(completed(app, 3))

        async def closed() -> bool:
            return (await app.client.limits.alist())[0].breaker == "closed"

        await until(closed)

    assert serve(app, scene) == 0


def test_no_attempt_starts_between_a_probe_that_fails_and_the_breaker_that_opens_again(app: Treadle) -> None:
    limit = app.limit("provider", breaker=Breaker(1, open_for="0.1s"))
    starts: list[int] = []

    @app.task(name="contact", limits=[limit], retry=Retries([0.01] * 100))
    async def contact(ctx: Context, number: int) -> None:
        starts.append(ctx._claimed.claimed_at)
        raise ConnectionError("the provider is down")

    app.enqueue_many([contact.call(number) for number in range(10)])

    async def scene(_: Worker) -> None:
        await until(lambda: len(starts) >= 3)

    # One slot: what runs beside the first failure would tell nothing of probes.
    assert serve(app, scene, async_slots=1) == 0
    for before, after in itertools.pairwise(starts):
        assert after - before >= 100_000, "an attempt started before the breaker's time was over"


def test_being_told_to_slow_down_opens_a_breaker_without_a_failure(app: Treadle) -> None:
    limit = app.limit("provider", concurrency=1, by="key", breaker=Breaker(2, open_for="0.1s"))
    calls = []

    @app.task(name="contact", limits=[limit])
    def contact(ctx: Context, key: str) -> None:
        calls.append(key)
        if len(calls) <= 2:
            raise ctx.throttled(0.05)

    jobs = app.enqueue_many([contact.call(key) for key in "ab"])
    opened = []

    async def scene(_: Worker) -> None:
        async def told() -> bool:
            opened.append((await app.client.limits.alist())[0].why)
            return "jobs were told to slow down" in opened

        await until(told)
        await until(completed(app, 2))

    assert serve(app, scene) == 0
    assert [app.client.get(job.id).failures for job in jobs] == [0, 0]


def test_a_worker_declares_the_limits_of_its_code(app: Treadle) -> None:
    app.limit("provider", rate="100/min", burst=20)

    @app.task(name="work")
    def work() -> None:
        pass

    async def scene(_: Worker) -> None:
        views = await app.client.limits.alist()
        assert [(each.name, each.rate, each.burst) for each in views] == [("provider", "100/min", 20)]

    assert serve(app, scene) == 0


def test_a_job_of_a_newer_version_is_put_off(app: Treadle, caplog: pytest.LogCaptureFixture) -> None:
    ran = []

    @app.task(name="work", version=2)
    def newer() -> None:
        ran.append(2)

    job = newer.options(start_within="1h").enqueue()
    mine = Treadle(app.url, allow_volatile=True)
    mine.connection.exchange((app.store, app.session))

    @mine.task(name="work")
    def work() -> None:
        ran.append(1)

    async def scene(_: Worker) -> None:
        async def put_off() -> bool:
            return (await app.client.aget(job.id)).state is State.SCHEDULED

        await until(put_off)

    assert serve(mine, scene) == 0
    assert ran == []
    seen = app.client.get(job.id)
    assert seen.releases == 1
    assert seen.start_by is not None, "nobody has started it"
    why = app.client.obstacles([seen])[job.id].why
    assert why.startswith("put off by worker ")
    assert why.endswith(": its arguments were stored for version 2 of work, and the code of that worker has version 1")
    assert {each.why for each in app.client.obstacles(app.client.find()).values()} == {why}
    assert [(each.count, each.why) for each in app.client.holdups()] == [(1, why)]
    assert any("enqueued for version 2, and this worker has 1" in each.message for each in caplog.records)


def test_a_worker_that_starts_outside_the_hours_of_a_queue_takes_nothing_of_it(app: Treadle) -> None:
    hour = (datetime.now(UTC).hour + 6) % 24
    app.queue("bulk", window=f"{hour:02}:00-{hour:02}:30")
    ran: list[str] = []

    @app.task(name="work")
    async def work(queue: str) -> None:
        ran.append(queue)

    app.enqueue_many(
        work.options(queue=queue, priority=priority).call(queue) for queue, priority in [("bulk", 9), ("default", 0)]
    )

    async def scene(_: Worker) -> None:
        await until(completed(app, 1))

    assert serve(app, scene, queues=(("bulk", 1), ("default", 1))) == 0
    assert ran == ["default"]


def test_weights_and_hours_are_heeded_while_a_worker_runs(app: Treadle) -> None:
    app.queue("bulk", window="22:00-06:00")

    @app.task(name="work")
    def work() -> None:
        pass

    told: list[Any] = []
    rules = Rules(app, app.session, told.append)
    app.client.describe("default", weight=9)
    app.client.describe("bulk", window="00:00-24:00")
    asyncio.run(rules.turn())
    assert told == [{"default": 9}]
    assert not any(each.paused for each in app.client.queues())


@pytest.mark.parametrize("strict", [False, True])
def test_a_fetcher_shares_by_what_it_was_told_last(strict: bool) -> None:
    app = Treadle("memory://", allow_volatile=True)
    inflight: Any = None
    fetcher = Fetcher(app.store.engine, "l", app.registry, [("a", 60), ("b", 30), ("c", 10)], strict, {}, inflight)
    assert fetcher._split(100) == ([100, 0, 0] if strict else [60, 30, 10])
    fetcher.reweigh({"c": 90, "a": 0 + 1})
    assert dict(zip(fetcher._queues, fetcher._weights, strict=True)) == {"a": 1, "b": 30, "c": 90}
    assert fetcher._queues == (["c", "b", "a"] if strict else ["a", "b", "c"])
    fetcher.reweigh({})
    assert dict(zip(fetcher._queues, fetcher._weights, strict=True)) == {"a": 60, "b": 30, "c": 10}
