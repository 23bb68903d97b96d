"""User code as a type checker sees it: pyright and mypy, both strict, must accept the good and refuse the bad.

Every `type: ignore` here marks a mistake that must be found: both checkers are told to complain about an ignore that
suppresses nothing.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import datetime
from typing import Any, assert_type

from treadle import (
    HIGH,
    NO_RETRY,
    Call,
    Context,
    ErrorRecord,
    Filter,
    Job,
    JobHandle,
    JobHandles,
    OnDead,
    Progress,
    Redacted,
    Retries,
    State,
    Tasks,
    Treadle,
)
from treadle.testing import ainline, inline

app = Treadle()
library = Tasks(prefix="mail")


@dataclass
class Receipt:
    id: int


@app.task
def plain(number: int, text: str = "") -> Receipt:
    return Receipt(number)


@app.task
async def awaited(number: int) -> Receipt:
    return Receipt(number)


@app.task
def with_context(ctx: Context, number: int) -> str:
    return f"{ctx.id} {number}"


@app.task
async def awaited_with_context(ctx: Context, number: int, *, urgent: bool = False) -> str:
    return f"{ctx.id} {number} {urgent}"


@app.task(queue="slow", priority=HIGH, retry=Retries(["1m", "5m"]), timeout="2m", tags=["a"])
def plain_configured(number: int) -> Receipt:
    return Receipt(number)


@app.task(retry=NO_RETRY)
async def awaited_configured(number: int) -> Receipt:
    return Receipt(number)


@app.task(executor="process", hard_timeout="1m")
def with_context_configured(ctx: Context, number: int) -> str:
    return ctx.task


@app.task(at_most_once=True)
async def awaited_with_context_configured(ctx: Context, number: int) -> str:
    return ctx.task


@app.schedule("30 2 * * *", tz="Europe/Paris", catch_up="once", overlap="skip")
def nightly(ctx: Context, day: int = 1) -> Receipt:
    return Receipt(ctx.slot.at.day if ctx.slot else day)


@app.schedule(every="5m")
async def refresh() -> int:
    return 1


@app.schedule("@daily", name="twice", args={"number": 1})
@app.schedule("@hourly", args={"number": 2})
@app.task(queue="slow")
async def scheduled_task(ctx: Context, number: int) -> str:
    return ctx.task


app.schedule("@daily", zone="UTC")  # type: ignore[call-arg]


@library.task
def send(to: Redacted[str]) -> None: ...


@app.task
def nothing() -> None: ...


@app.task
async def many(*numbers: int, scale: float = 1.0, **words: str) -> list[int]:
    return list(numbers)


def calling_a_task_is_calling_its_function(ctx: Context) -> None:
    assert_type(plain(1, text="x"), Receipt)
    _ = assert_type(awaited(1), Coroutine[Any, Any, Receipt])
    assert_type(with_context(ctx, 1), str)
    _ = assert_type(awaited_with_context(ctx, 1, urgent=True), Coroutine[Any, Any, str])
    assert_type(plain_configured(1), Receipt)
    _ = assert_type(awaited_configured(1), Coroutine[Any, Any, Receipt])
    assert_type(with_context_configured(ctx, 1), str)
    _ = assert_type(awaited_with_context_configured(ctx, 1), Coroutine[Any, Any, str])
    send("ada")
    plain("1")  # type: ignore[arg-type]
    with_context(1)  # type: ignore[call-arg, arg-type]


def a_schedule_leaves_a_task_what_it_is(ctx: Context) -> None:
    assert_type(nightly(ctx, 3), Receipt)
    assert_type(nightly.enqueue(3), JobHandle[Receipt])
    _ = assert_type(refresh(), Coroutine[Any, Any, int])
    assert_type(refresh.enqueue(), JobHandle[int])
    assert_type(scheduled_task.enqueue(1), JobHandle[str])
    scheduled_task.enqueue("1")  # type: ignore[arg-type]
    upcoming = app.schedules.preview("nightly")
    assert_type(upcoming[0].remark, str)


def enqueueing_hides_the_context() -> None:
    assert_type(plain.enqueue(1, text="x"), JobHandle[Receipt])
    assert_type(awaited.enqueue(1), JobHandle[Receipt])
    assert_type(with_context.enqueue(1), JobHandle[str])
    assert_type(awaited_with_context.enqueue(1, urgent=True), JobHandle[str])
    assert_type(plain_configured.enqueue(1), JobHandle[Receipt])
    assert_type(awaited_configured.enqueue(number=1), JobHandle[Receipt])
    assert_type(with_context_configured.enqueue(number=1), JobHandle[str])
    assert_type(awaited_with_context_configured.enqueue(1), JobHandle[str])
    assert_type(send.enqueue("ada"), JobHandle[None])
    assert_type(nothing.enqueue(), JobHandle[None])
    assert_type(many.enqueue(1, 2, scale=2.0, word="x"), JobHandle[list[int]])


def wrong_calls_are_found(ctx: Context) -> None:
    plain.enqueue()  # type: ignore[call-arg]
    plain.enqueue("1")  # type: ignore[arg-type]
    plain.enqueue(1, text=2)  # type: ignore[arg-type]
    plain.enqueue(1, colour=2)  # type: ignore[call-arg]
    with_context.enqueue(ctx, 1)  # type: ignore[call-arg, arg-type]
    awaited_with_context.enqueue(1, True)  # type: ignore[call-arg]
    nothing.enqueue(1)  # type: ignore[call-arg]
    many.enqueue("x")  # type: ignore[arg-type]
    plain.call("1")  # type: ignore[arg-type]
    plain.options(priority=3).enqueue("1")  # type: ignore[arg-type]
    plain.options(dealy=3)  # type: ignore[call-arg]
    plain.options(delay=[3])  # type: ignore[arg-type]
    inline(plain)  # type: ignore[arg-type]


def wrong_settings_are_found() -> None:
    app.task(quue="x")  # type: ignore[call-overload]
    app.task(executor="fiber")  # type: ignore[call-overload]
    app.task(retry=3)  # type: ignore[call-overload]


def options_keep_the_signature() -> None:
    step = with_context.options(delay="10m", priority=HIGH, queue="x", tags=["a"], key="k", after=[plain.call(1)])
    assert_type(step.enqueue(1), JobHandle[str])
    assert_type(step.call(1), Call[str])
    assert_type(step.call(1).options(delay=5), Call[str])
    assert_type(plain.options(after=[(plain.call(1), OnDead.RUN), (step.enqueue(2), "cancel"), "id"]).call(1), Call[Receipt])


def bulk_keeps_the_result_type() -> None:
    assert_type(app.enqueue_many([plain.call(1), awaited.call(2)]), JobHandles[Receipt])
    handles = app.enqueue_many(plain.call(n) for n in range(3))
    assert_type(handles[0], JobHandle[Receipt])
    assert_type(handles.results(timeout="1m"), list[Receipt])


def results_have_the_body_s_type() -> None:
    assert_type(plain.enqueue(1).result(timeout=30), Receipt)
    assert_type(awaited.enqueue(1).result(), Receipt)
    assert_type(inline(awaited.call(1)), Receipt)
    assert_type(app.enqueue("some.task", {"number": 1}), JobHandle[Any])


async def the_twins_have_the_same_types() -> None:
    assert_type(await plain.aenqueue(1), JobHandle[Receipt])
    assert_type(await with_context.options(delay=1).aenqueue(1), JobHandle[str])
    assert_type(await (await awaited.aenqueue(1)).aresult(timeout=30), Receipt)
    assert_type(await awaited(1), Receipt)
    assert_type(await ainline(plain.call(1)), Receipt)
    await plain.aenqueue("1")  # type: ignore[arg-type]
    await with_context.aenqueue()  # type: ignore[call-arg]


def a_job_is_seen_in_python_s_own_types(job: Job) -> None:
    assert_type(plain.enqueue(1).job(), Job)
    assert_type(app.client.find(Filter(enqueued_before=job.enqueued_at)), list[Job])
    assert_type(job.enqueued_at, datetime)
    assert_type(job.finished_at, datetime | None)
    assert_type(job.progress, Progress | None)
    assert_type(job.attempts[0].error, ErrorRecord | None)
    assert_type(job.parents[0].state, State)
    assert_type(app.client.count()[0].oldest, datetime | None)
    assert_type(app.client.workers()[0].started_at, datetime)
    job.state = State.QUEUED  # type: ignore[misc]
    Filter(enqueued_before=1_700_000_000)  # type: ignore[arg-type]


def a_handle_of_something_is_a_handle_of_anything(handle: JobHandle[Receipt]) -> JobHandle[object]:
    return handle
