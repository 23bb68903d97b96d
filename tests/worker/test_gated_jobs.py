"""Gated jobs in a real worker: never more at once than allowed, each in its turn, and none left behind by a full worker."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from treadle import Treadle
from treadle.model.filter import Filter
from treadle.model.flow import Hold, Ordering, Rule
from treadle.model.job import NewJob
from treadle.model.record import Space, Write
from treadle.model.state import State
from worker.test_worker import serve, until


@pytest.fixture(params=["memory", "sqlite"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Treadle]:
    url = "memory://worker" if request.param == "memory" else f"sqlite:///{tmp_path}/jobs.db"
    app = Treadle(url, allow_volatile=True)
    yield app
    app.close()


class Scene:
    """A task that notes who starts and how many run at once, and the jobs of it."""

    def __init__(self, app: Treadle) -> None:
        self.app = app
        self.lock = threading.Lock()
        self.started: list[int] = []
        self.running: list[int] = []
        self.most = 0

        @app.task(name="body")
        def body(number: int) -> None:
            with self.lock:
                self.started.append(number)
                self.running.append(number)
                self.most = max(self.most, len(self.running))
            with self.lock:
                self.running.remove(number)

        self.name = body.name

    def enqueue(self, count: int, **options: Any) -> None:
        jobs = [
            NewJob(f"018bcfe5-6800-7000-8000-{number:012x}", self.name, f'{{"number": {number}}}', **options)
            for number in range(count)
        ]
        store = self.app.store
        store.session().run(store.engine.enqueue(jobs))

    def rule(self, limit: str, rule: Rule) -> None:
        store = self.app.store
        store.session().run(store.engine.write([Write(Space.LIMIT, limit, rule.to_text())]))

    def completed(self) -> int:
        store = self.app.store
        return store.session().run(store.engine.count(Filter(states=[State.COMPLETED]), []))[0].count


def run(scene: Scene, count: int, **words: Any) -> None:
    async def watch(_: object) -> None:
        await until(lambda: scene.completed() == count)

    assert serve(scene.app, watch, **words) == 0


def test_more_gated_jobs_than_slots_all_run(app: Treadle) -> None:
    scene = Scene(app)
    scene.enqueue(60, holds=(Hold("free"),))
    run(scene, 60, threads=2)

    assert sorted(scene.started) == list(range(60))
    assert scene.most <= 2


def test_no_more_run_at_once_than_a_limit_allows(app: Treadle) -> None:
    scene = Scene(app)
    scene.rule("few", Rule(concurrency=2))
    scene.enqueue(40, holds=(Hold("few"),))
    run(scene, 40, threads=8)

    assert scene.most <= 2


def test_jobs_of_one_key_run_in_their_order(app: Treadle) -> None:
    scene = Scene(app)
    scene.enqueue(30, ordering=Ordering("key"))
    run(scene, 30, threads=8)

    assert scene.started == list(range(30))
    assert scene.most == 1


def test_a_rate_paces_the_starts(app: Treadle) -> None:
    scene = Scene(app)
    scene.rule("paced", Rule(rate=50, period=1_000_000))
    scene.enqueue(10, holds=(Hold("paced"),))
    run(scene, 10, threads=8)

    assert scene.started == list(range(10))
