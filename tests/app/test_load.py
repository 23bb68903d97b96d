"""The load by which processes are started: what could run and waits, and what more processes would not help."""

import pytest

from treadle import State
from treadle.app.load import see_load
from treadle.model.job import WorkerInfo
from treadle.policy.scaling import Sight


@pytest.fixture
def app(treadle_app):
    for name, queue in (("mail", "default"), ("bulk", "bulk"), ("gated", "default")):
        treadle_app.task(name=name, queue=queue)(_nothing(name))
    return treadle_app


def _nothing(name):
    def nothing() -> None:
        pass

    nothing.__qualname__ = name
    return nothing


def load(app, queues=None, gated=()):
    moment = app.connection.store.this_moment()
    return app.connection.run(see_load(app.connection.engine, moment, queues, gated))


def serve(app, queues=("default",), tasks=("mail", "gated"), slots=4):
    engine = app.connection.engine
    worker = WorkerInfo("w", "h", 1, tuple(queues), tuple(tasks), slots)
    app.connection.run(engine.renew("l" * 32, 0, 3600.0, worker=worker))


def enqueue(app, task, number=1):
    app.enqueue_many([app.call(task) for _ in range(number)])


def test_what_could_run_is_counted_and_what_is_gated_apart(app, treadle_clock):
    serve(app)
    enqueue(app, "mail", 3)
    treadle_clock.advance(7)
    enqueue(app, "gated", 2)
    seen = load(app, ["default"], {"gated"})
    assert seen.sight == Sight(3, 2, 7.0, 0, 4, 1)
    assert (seen.parked, seen.paused) == (0, 0)


def test_what_is_paused_is_told_and_not_counted(app):
    serve(app, ("default", "bulk"), ("mail", "bulk", "gated"))
    enqueue(app, "mail", 3)
    enqueue(app, "bulk", 2)
    app.client.pause("bulk")
    app.client.pause(task="mail")
    seen = load(app)
    assert (seen.sight.plain, seen.paused) == (0, 5)


def test_tasks_that_no_worker_of_these_knows_are_not_counted(app):
    serve(app, tasks=("mail",))
    enqueue(app, "gated", 2)
    assert load(app).sight.plain == 0


def test_other_queues_are_not_looked_at(app):
    serve(app)
    enqueue(app, "bulk", 2)
    assert load(app, ["default"]).sight == Sight(0, 0, 0.0, 0, 4, 1)
    seen = load(app, ["bulk"]).sight
    assert (seen.plain, seen.processes) == (2, 0)
    assert app.client.count()[0].key == (State.QUEUED,)
