"""Enqueueing: what is stored, from sync and async code, alone and in bulk, with options and with edges."""

import asyncio
import logging
from datetime import UTC, datetime, timedelta, timezone

import pytest

from treadle import (
    BadInput,
    Durability,
    InvalidArguments,
    InvalidDuration,
    InvalidOption,
    InvalidTime,
    JobHandle,
    JobHandles,
    OnDead,
    Retries,
    State,
    StoreBusy,
    Treadle,
    UnknownParent,
    UnknownTask,
    new_id,
)
from treadle.app.options import read_options

SOON = datetime(2036, 1, 1, tzinfo=UTC)


@pytest.fixture
def app(treadle_app):
    def work(number: int = 0, text: str = "") -> int:
        return number

    treadle_app.task(name="work", queue="jobs", priority=3, tags=["kind"])(work)
    return treadle_app


@pytest.fixture
def work(app):
    return app.registry.expect("work")


def test_a_job_is_stored_as_its_task_says(app, work):
    handle = work.enqueue(7, text="x")
    job = app.client.get(handle.id)
    assert (job.task, job.queue, job.priority, job.tags) == ("work", "jobs", 3, ("kind",))
    assert job.args == {"number": 7, "text": "x"}
    assert job.state is State.QUEUED
    assert job.options == {}


def test_the_awaitable_twin_stores_the_same(app, work):
    async def body():
        one = await work.aenqueue(1)
        two = await work.options(priority=9).aenqueue(2)
        three = await work.call(3).aenqueue()
        four = await app.aenqueue("work", {"number": 4})
        five, six = await app.aenqueue_many([work.call(5), work.call(6)])
        return [await each.ajob() for each in (one, two, three, four, five, six)]

    jobs = asyncio.run(body())
    assert [each.args for each in jobs] == [{"number": n} for n in range(1, 7)]
    assert [each.priority for each in jobs] == [3, 9, 3, 3, 3, 3]


def test_options_win_over_the_task(app, work):
    handle = work.options(priority=-5, queue="other", tags=["x", "kind"], key="k", start_within="1h", delay="10m").enqueue(1)
    job = app.client.get(handle.id)
    assert (job.priority, job.queue, job.tags, job.key) == (-5, "other", ("kind", "x"), "k")
    assert job.state is State.SCHEDULED
    assert job.due_at - job.enqueued_at == timedelta(minutes=10)
    assert job.start_by - job.due_at == timedelta(hours=1)


def test_a_call_s_own_options_win_over_those_it_was_made_with(work):
    call = work.options(priority=1, delay="5m", tags=["a"], timeout="1m").call(1).options(priority=2, run_at=SOON)
    job = call.to_job()
    assert (job.priority, job.delay, job.run_at) == (2, None, 2_082_758_400_000_000)
    assert job.tags == ("kind", "a")
    assert work.settings_for(job.options).timeout == 60


def test_zero_is_an_option_like_any_other(work):
    assert work.options(priority=9, delay=5).call(1).options(priority=0, delay=0).to_job().priority == 0
    assert work.options(priority=0).call(1).to_job().priority == 0


def test_what_a_worker_must_know_travels_with_the_job(work):
    job = work.options(timeout="90s", retry=Retries(["1m"], within="1h"), durability="relaxed").call(1).to_job()
    settings = work.settings_for(job.options)
    assert settings.timeout == 90
    assert settings.retry == Retries(["1m"], within="1h")
    assert settings.durability is Durability.RELAXED
    assert settings.queue == work.settings.queue
    assert work.settings_for(None) is work.settings
    assert work.settings_for(job.options) is settings


def test_stored_options_that_do_not_read_are_refused(work):
    for text in ("", "[]", '{"timeout":"x"}', '{"retry":{"jitter":"some"}}'):
        with pytest.raises(InvalidArguments, match="newer version"):
            work.settings_for(text)
    assert work.settings_for('{"later":1}') == work.settings


def test_many_different_options_are_not_remembered_for_ever(work):
    found = [work.settings_for(f'{{"timeout":{n}}}').timeout for n in range(1, 600)]
    assert found == list(range(1, 600))
    assert len(work._overridden) <= 256


def test_a_retry_rule_that_travels_keeps_the_task_s_exceptions(app):
    def body() -> None: ...

    task = app.task(name="picky", retry=Retries(on=(OSError,), give_up_on=(FileNotFoundError,)))(body)
    found = task.settings_for(task.options(retry=Retries(max_failures=2, jitter="none")).call().to_job().options).retry
    assert found == Retries(max_failures=2, jitter="none", on=(OSError,), give_up_on=(FileNotFoundError,))


def test_a_moment_in_any_zone_is_the_same_moment(work):
    there = SOON.astimezone(timezone(timedelta(hours=9)))
    assert work.options(run_at=there).call().to_job().run_at == work.options(run_at=SOON).call().to_job().run_at


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ({"run_at": datetime(2036, 1, 1)}, InvalidTime),  # noqa: DTZ001 - that is the point
        ({"run_at": "tomorrow"}, InvalidTime),
        ({"run_at": datetime(1960, 1, 1, tzinfo=UTC)}, InvalidTime),
        ({"run_at": SOON, "delay": 1}, InvalidOption),
        ({"delay": "soon"}, InvalidDuration),
        ({"delay": -1}, InvalidDuration),
        ({"start_within": float("nan")}, InvalidDuration),
        ({"timeout": 0}, InvalidOption),
        ({"priority": 101}, InvalidOption),
        ({"priority": 1.0}, InvalidOption),
        ({"priority": True}, InvalidOption),
        ({"queue": "no spaces"}, InvalidOption),
        ({"queue": 3}, InvalidOption),
        ({"tags": "tag"}, InvalidOption),
        ({"tags": ["x" * 201]}, InvalidOption),
        ({"tags": [""]}, InvalidOption),
        ({"tags": [str(n) for n in range(21)]}, InvalidOption),
        ({"key": "ü" * 101}, InvalidOption),
        ({"key": "line\nbreak"}, InvalidOption),
        ({"job_id": "7"}, InvalidOption),
        ({"job_id": "00000000-0000-4000-8000-000000000000"}, InvalidOption),
        ({"durability": "strong"}, InvalidOption),
        ({"retry": 3}, InvalidOption),
        ({"retry": Retries(on=(OSError,))}, InvalidOption),
        ({"after": "one"}, InvalidOption),
        ({"after": 3}, InvalidOption),
        ({"after": [3]}, InvalidOption),
        ({"after": [("id", "panic")]}, InvalidOption),
        ({"after": ["id", "id"]}, InvalidOption),
        ({"dealy": 3}, InvalidOption),
    ],
)
def test_an_option_that_cannot_be_is_refused_and_nothing_is_stored(app, work, words, error):
    with pytest.raises(error) as caught:
        work.options(**words).enqueue(1)
    assert caught.value.cure
    assert app.client.count() == []
    with pytest.raises(error):
        work.call(1).options(**words)


def test_none_means_unsaid(work):
    words = dict.fromkeys(("delay", "run_at", "priority", "queue", "timeout", "key", "job_id", "durability", "retry"))
    assert read_options(words) == read_options({})
    assert work.options(**words).call(1).to_job().priority == 3


def test_a_call_enqueued_twice_is_stored_once(app, work):
    call = work.call(1)
    assert call.enqueue() == call.enqueue() == call.handle()
    job_id = new_id()
    first = work.options(job_id=job_id).enqueue(1)
    assert first.id == job_id
    assert first == work.options(job_id=job_id).enqueue(1)
    assert sum(each.count for each in app.client.count()) == 2


def test_many_calls_are_one_step(app, work):
    handles = app.enqueue_many(work.call(number) for number in range(10_000))
    assert isinstance(handles, JobHandles)
    assert len(handles) == 10_000
    assert [(each.key, each.count) for each in app.client.count()] == [(("queued",), 10_000)]
    assert handles[17].job().args == {"number": 17}
    assert isinstance(handles[:2], JobHandles)
    assert handles.ids[3] == handles[3].id
    assert len(app.enqueue_many([])) == 0


def test_what_is_no_call_is_named(app, work):
    stored = work.enqueue(1)
    for wrong, said in (
        ([work.call(2), 3], r"^3: this is not a call"),
        ([work.call(2), stored], stored.id),
        (work.call(2), "not a list of calls"),
        (3, r"^3: this is not a list of calls"),
    ):
        with pytest.raises(BadInput, match=said):
            app.enqueue_many(wrong)
        with pytest.raises(BadInput, match=said):
            asyncio.run(app.aenqueue_many(wrong))
    assert [(each.key, each.count) for each in app.client.count()] == [(("queued",), 1)]


def test_one_bad_parent_refuses_the_whole_batch(app, work):
    stranger = new_id()
    with pytest.raises(UnknownParent, match=stranger):
        app.enqueue_many([work.call(1), work.options(after=[stranger]).call(2)])
    assert app.client.count() == []


def test_edges_name_handles_calls_and_ids_with_their_policy(app, work):
    first = work.enqueue(1)
    second = work.call(2)
    third = work.options(after=[first, (second, OnDead.RUN)]).call(3)
    fourth = work.options(after=[(third.id, "cancel")]).call(4)
    app.enqueue_many([fourth, third, second])
    job = app.client.get(third.id)
    assert job.state is State.BLOCKED
    assert {(parent, policy) for parent, policy, _ in job.parents} == {(first.id, OnDead.HOLD), (second.id, OnDead.RUN)}
    assert [(parent, policy) for parent, policy, _ in app.client.get(fourth.id).parents] == [(third.id, OnDead.CANCEL)]


def test_a_circle_of_edges_is_refused(app, work):
    one, two, three = work.call(1), work.call(2), work.call(3)
    circle = [one.options(after=[three]), two.options(after=[one]), three.options(after=[two]), work.call(4)]
    with pytest.raises(BadInput, match="waits for itself"):
        app.enqueue_many(circle)
    with pytest.raises(BadInput, match="waits for itself"):
        one.options(after=[one]).enqueue()
    assert app.client.count() == []


def test_by_name_with_arguments_by_name(app):
    handle = app.enqueue("work", {"number": 3}, priority=8)
    assert isinstance(handle, JobHandle)
    assert app.client.get(handle.id).priority == 8
    with pytest.raises(UnknownTask, match="Did you mean work"):
        app.enqueue("wrok")


def test_redacted_values_are_stored_but_not_shown(app):
    from treadle import Redacted

    def body(user: str, token: Redacted[str]) -> None: ...

    task = app.task(name="secretive")(body)
    handle = task.enqueue("ada", "hunter2")
    assert app.client.get(handle.id).args == {"user": "ada", "token": "[redacted]"}
    assert "hunter2" not in repr(app.client.find())
    stored = task.call("ada", "hunter2").to_job()
    assert task.prepare(stored.args)[0] == ("ada", "hunter2")


class Broken:
    """A session whose store is not reached."""

    def run(self, plan, durability=Durability.DEFAULT):
        raise StoreBusy("memory: it is away")


class Watching:
    """A session that remembers how strict each plan was asked to be."""

    def __init__(self, session):
        self.session = session
        self.asked = []

    def run(self, plan, durability=Durability.DEFAULT):
        if plan.name.startswith("enqueue"):
            self.asked.append(durability)
        return self.session.run(plan, durability)


def test_a_batch_is_as_strict_as_its_strictest_member(app, work):
    store, session = app.store, app.session
    watching = Watching(session)
    app.connection.exchange((store, watching))
    relaxed = work.options(durability="relaxed")
    relaxed.enqueue(1)
    app.enqueue_many([relaxed.call(1), relaxed.call(2)])
    app.enqueue_many([relaxed.call(1), work.call(2)])
    work.enqueue(1)
    app.connection.exchange((store, session))
    assert watching.asked == [Durability.RELAXED] * 2 + [Durability.DEFAULT] * 2


def test_the_first_enqueue_says_when_no_worker_has_ever_served_the_store(app, work, caplog):
    with caplog.at_level(logging.WARNING, logger="treadle"):
        work.enqueue(1)
        work.enqueue(2)
    assert [each.getMessage() for each in caplog.records if "no worker has ever served" in each.getMessage()] == [
        f"no worker has ever served {app.store.location}: the job waits there until one does. "  # noqa: ISC004
        "Start one with `treadle worker MODULE`."
    ]


def warnings(caplog):
    return [each.getMessage() for each in caplog.records if "no worker has ever served" in each.getMessage()]


class Far:
    """A session whose store takes a while, so that others come meanwhile."""

    def __init__(self, session):
        self.session = session

    async def arun(self, plan, durability=Durability.DEFAULT):
        await asyncio.sleep(0)
        return await self.session.arun(plan, durability)


def test_first_enqueues_at_the_same_time_say_it_once(app, work, caplog):
    store, session = app.store, app.session
    app.connection.exchange((store, Far(session)))

    async def crowd():
        await asyncio.gather(*(work.aenqueue(number) for number in range(16)))

    asyncio.run(crowd())
    app.connection.exchange((store, session))

    assert len(app.client.find()) == 16
    assert len(warnings(caplog)) == 1


def test_a_first_enqueue_that_fails_leaves_it_to_the_next(app, work, caplog):
    store, session = app.store, app.session
    app.connection.exchange((store, Broken()))
    with pytest.raises(StoreBusy):
        work.enqueue(1)
    app.connection.exchange((store, session))

    work.enqueue(2)

    assert len(warnings(caplog)) == 1


def test_it_says_nothing_once_a_worker_has(app, work, caplog):
    from treadle.model.record import Space, Write

    app.session.run(app.store.engine.write([Write(Space.SERVED, "tasks", "{}")]))
    with caplog.at_level(logging.WARNING, logger="treadle"):
        work.enqueue(1)
    assert caplog.records == []


def test_a_generator_that_fails_stores_nothing(app, work):
    def calls():
        yield work.call(1)
        yield work.call("two")

    with pytest.raises(BadInput):
        app.enqueue_many(calls())
    assert app.client.count() == []


def test_tasks_of_one_process_do_not_know_another_s():
    assert Treadle().registry.names() == ()


def test_parents_are_as_urgent_as_what_waits_for_them(app, work):
    first = work.options(priority=-5).call(1)
    second = work.options(priority=90).call(2)
    middle = work.options(priority=2).call(3).options(after=[first, second])
    urgent = work.options(priority=50).call(4).options(after=[middle])
    apart = work.options(priority=1).call(5)
    app.enqueue_many([urgent, first, apart, middle, second])
    priorities = [app.client.get(each.id).priority for each in (first, second, middle, urgent, apart)]
    assert priorities == [50, 90, 50, 50, 1]
