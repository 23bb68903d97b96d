"""What users are shown: times as datetimes, JSON as values, nothing that is declared redacted."""

import asyncio
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime, timedelta

import pytest

from treadle import (
    Axis,
    Context,
    Filter,
    InvalidOption,
    InvalidTime,
    OnDead,
    Redacted,
    Retries,
    State,
)
from treadle.app.view import HIDDEN, UNREADABLE, moment
from treadle.engine.plan import Plan
from treadle.model.job import NewJob, WorkerInfo
from treadle.testing import assert_enqueued, drain

START = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture
def at_start(treadle_clock):
    treadle_clock.advance_to(START)
    return treadle_clock


@pytest.fixture
def work(treadle_app):
    def body(ctx: Context, number: int) -> dict[str, list[int]]:
        ctx.progress(0.5, "half", row=3)
        if number < 0:
            raise ValueError("negative")
        return {"numbers": [number]}

    return treadle_app.task(name="work", retry=Retries(["10s"]))(body)


def test_times_are_aware_datetimes_and_arguments_and_results_are_values(treadle_app, at_start, work):
    handle = work.options(start_within="1h", timeout="2m").enqueue(7)
    drain(treadle_app, through="1m")
    for job in (handle.job(), asyncio.run(handle.ajob()), treadle_app.client.get(handle.id), treadle_app.client.find()[0]):
        assert (job.enqueued_at, job.claimed_at, job.finished_at, job.due_at) == (START, START, START, None)
        assert job.enqueued_at.tzinfo is UTC
        assert job.args == {"number": 7}
        assert job.result == {"numbers": [7]}
        assert job.options == {"timeout": 120.0}
        assert (job.progress.fraction, job.progress.message, job.progress.data) == (0.5, "half", {"row": 3})
    with pytest.raises(FrozenInstanceError):
        job.state = State.QUEUED


def test_attempts_and_the_dead_letter_are_views_too(treadle_app, at_start, work):
    handle = work.enqueue(-1)
    drain(treadle_app, through="1m")
    job = handle.job()
    assert [(each.number, each.outcome, each.delay) for each in job.attempts] == [(1, "retrying", 10.0), (2, "died", None)]
    assert [each.started_at for each in job.attempts] == [START, START + timedelta(seconds=10)]
    error = job.attempts[1].error
    assert (error.error, error.message) == ("ValueError", "negative")
    assert error.frames[-1].function.endswith("body")
    assert (job.dead.status, job.dead.died_at, job.dead.changed_at) == ("open", START + timedelta(seconds=10), None)
    treadle_app.client.resolve(handle.id, "so be it")
    assert treadle_app.client.get(handle.id).dead.changed_at == START + timedelta(seconds=10)


def test_relatives_have_names(treadle_app, work):
    parent = work.options(delay="1h").enqueue(1)
    child = work.options(after=[(parent, OnDead.RUN)]).enqueue(2)
    (found,) = child.job().parents
    assert (found.id, found.on_dead, found.state) == (parent.id, OnDead.RUN, State.SCHEDULED)
    assert parent.job().children[0].id == child.id


def test_what_is_redacted_is_hidden_in_arguments_and_results(treadle_app):
    def sign(user: str, password: Redacted[str]) -> Redacted[str]:
        return password[::-1]

    task = treadle_app.task(name="sign")(sign)
    handle = task.enqueue("ada", "hunter2")
    drain(treadle_app)
    job = handle.job()
    assert (job.args, job.result) == ({"user": "ada", "password": HIDDEN}, HIDDEN)
    assert handle.result() == "2retnuh"
    (found,) = assert_enqueued(treadle_app, task, {"password": "hunter2"})
    assert found == treadle_app.client.find()[0]


def test_a_result_of_nothing_is_nothing_even_where_it_would_be_hidden(treadle_app):
    def none() -> Redacted[str | None]: ...

    handle = treadle_app.task(name="none")(none).enqueue()
    drain(treadle_app)
    assert handle.job().result is None


def test_one_spoilt_job_does_not_hide_the_others(treadle_app, work):
    good = work.enqueue(1)
    spoilt = [
        NewJob(id="00000000-0000-7000-8000-000000000001", task="work", args='{"number":'),
        NewJob(id="00000000-0000-7000-8000-000000000002", task="work", args="[1]", headers='{"redacted":["number"]}'),
        NewJob(id="00000000-0000-7000-8000-000000000003", task="work", args="[" * 5000, headers="no", options="none"),
    ]
    treadle_app.session.run(treadle_app.store.engine.enqueue(spoilt))
    seen = {each.id[-1]: each for each in treadle_app.client.find() if each.id != good.id}
    assert len(seen) == 3
    assert seen["1"].args == {UNREADABLE: '{"number":'}
    assert seen["2"].args == {UNREADABLE: HIDDEN}
    assert seen["3"].headers == {UNREADABLE: "no"}


def test_counts_and_workers_say_when(treadle_app, at_start, work):
    client = treadle_app.client
    work.enqueue(1)
    at_start.advance("1m")
    work.enqueue(2)
    (count,) = client.count(by=(Axis.TASK,))
    assert (count.key, count.count, count.oldest) == (("work",), 2, START)
    info = WorkerInfo("w1", "host", 7, ("default",), ("work",), 3)
    renew: Plan[object] = treadle_app.store.engine.renew("lease", 0, 30.0, worker=info)
    treadle_app.session.run(renew)
    for (worker,) in (client.workers(), asyncio.run(client.aworkers())):
        assert (worker.name, worker.host, worker.pid, worker.queues, worker.tasks) == info[:5]
        assert (worker.lease, worker.slots, worker.running, worker.expires_in) == ("lease", 3, 0, 30.0)
        assert worker.started_at == START + timedelta(minutes=1)
        assert worker.live
    at_start.advance("31s")
    assert not client.workers()[0].live


def test_a_filter_takes_aware_datetimes(treadle_app, at_start, work):
    first = work.enqueue(1)
    at_start.advance("1m")
    second = work.enqueue(2)
    client = treadle_app.client
    half = START + timedelta(seconds=30)
    assert [each.id for each in client.find(Filter(enqueued_before=half))] == [first.id]
    assert [each.id for each in client.find(Filter(enqueued_after=half))] == [second.id]
    drain(treadle_app)
    assert client.count(Filter(finished_before=half)) == []
    with pytest.raises(InvalidTime, match="no time zone"):
        Filter(enqueued_after=datetime(2030, 1, 1))  # noqa: DTZ001
    with pytest.raises(InvalidTime, match="not a datetime"):
        Filter(finished_before=1_700_000_000)
    with pytest.raises(InvalidOption, match="not a Filter"):
        client.find(first.id)


def test_a_time_beyond_the_calendar_is_its_end():
    end = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert moment(253_402_300_799_000_001) == moment(2**62) == end
    assert moment(None) is None
