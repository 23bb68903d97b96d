"""The load by which processes are started: what could run and waits, and what more processes would not help."""

import pytest

from treadle import State
from treadle.app.limitbook import declare_limits
from treadle.app.load import see_load
from treadle.app.served import served_write
from treadle.model.job import Want, WorkerInfo
from treadle.policy.scaling import Kind


@pytest.fixture
def app(treadle_app):
    one = treadle_app.limit("one", concurrency=1)
    for name, queue, limits in (("mail", "default", []), ("bulk", "bulk", []), ("gated", "default", [one])):
        treadle_app.task(name=name, queue=queue, limits=limits)(_nothing(name))

    @treadle_app.task(name="fetch")
    async def fetch() -> None: ...

    @treadle_app.task(name="post", ordered_by="key")
    def post(key: int) -> None: ...

    return treadle_app


def _nothing(name):
    def nothing() -> None:
        pass

    nothing.__qualname__ = name
    return nothing


def load(app, queues=None):
    moment = app.connection.store.this_moment()
    return app.connection.run(see_load(app.connection.engine, moment, queues))


def serve(app, queues=("default",), tasks=("mail", "gated"), slots=4, name="l"):
    engine = app.connection.engine
    worker = WorkerInfo("w", "h", 1, tuple(queues), tuple(tasks), slots)
    app.connection.run(engine.renew(name * 32, 0, 3600.0, worker=worker))


def tell(app, **slots):
    app.connection.run(app.connection.engine.write([served_write("tasks", app.registry, slots)]))


def claim(app, number, name="l"):
    engine, names = app.connection.engine, app.registry.names()
    app.connection.run(engine.claim(name * 32, [Want("default", number, number)], names, gated=number))


def enqueue(app, task, number=1):
    app.enqueue_many([app.call(task) for _ in range(number)])


def test_what_could_run_is_counted_and_what_is_gated_apart(app, treadle_clock):
    tell(app, thread=4)
    serve(app)
    enqueue(app, "mail", 3)
    treadle_clock.advance(7)
    enqueue(app, "gated", 2)
    seen = load(app, ["default"])
    assert (seen.kinds, seen.processes) == ({"thread": Kind(3, 2, 7.0, 0, 4)}, 1)
    assert (seen.blocked, seen.paused) == (0, 0)


def test_each_kind_of_slots_is_seen_by_itself(app):
    tell(app, loop=100, thread=2)
    for name in "kl":
        serve(app, tasks=app.registry.names(), slots=102, name=name)
    enqueue(app, "mail", 4)
    claim(app, 4)
    enqueue(app, "mail", 5)
    enqueue(app, "fetch", 6)
    assert load(app).kinds == {"loop": Kind(6, 0, 0.0, 0, 200), "thread": Kind(5, 0, 0.0, 4, 4)}
    assert load(app).sight.short


def test_workers_with_other_numbers_of_slots_share_them_alike(app):
    tell(app, loop=100, thread=20)
    serve(app, tasks=app.registry.names(), slots=12)
    assert {place: each.slots for place, each in load(app).kinds.items()} == {"loop": 10, "thread": 2}


def test_what_waits_at_a_limit_or_for_its_turn_is_told_and_not_counted(app):
    tell(app, thread=4)
    serve(app, tasks=app.registry.names())
    app.enqueue_many([app.call("post", {"key": 7}) for _ in range(3)] + [app.call("gated") for _ in range(3)])
    app.connection.run(declare_limits(app.connection.engine, app.limits.values()))
    claim(app, 6)
    seen = load(app)
    assert (seen.blocked, seen.kinds["thread"].running) == (4, 2)
    assert seen.sight.wanted == 1
    assert load(app, ["bulk"]).blocked == 0


def test_what_is_paused_is_told_and_not_counted(app):
    serve(app, ("default", "bulk"), ("mail", "bulk", "gated"))
    enqueue(app, "mail", 3)
    enqueue(app, "bulk", 2)
    app.client.pause("bulk")
    app.client.pause(task="mail")
    seen = load(app)
    assert (seen.sight.waiting, seen.paused) == (0, 5)


def test_what_no_worker_of_these_would_take_is_not_counted(app):
    serve(app, tasks=("mail", "bulk"))
    serve(app, queues=("bulk",), tasks=("fetch",), name="k")
    enqueue(app, "gated", 2)
    enqueue(app, "bulk", 3)
    assert load(app).sight.waiting == 0


def test_other_queues_are_not_looked_at(app):
    serve(app)
    enqueue(app, "bulk", 2)
    assert load(app, ["default"]).kinds == {"": Kind(slots=4)}
    seen = load(app, ["bulk"]).sight
    assert (seen.waiting, seen.processes) == (2, 0)
    assert app.client.count()[0].key == (State.QUEUED,)
