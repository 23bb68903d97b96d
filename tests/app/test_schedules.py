"""Schedules as an app declares them and as an operator meets them."""

import asyncio
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from treadle import (
    CatchUp,
    Context,
    DefinitionError,
    InvalidArguments,
    InvalidOption,
    InvalidSchedule,
    InvalidTime,
    Overlap,
    Redacted,
    State,
    Tasks,
    Treadle,
    UnknownSchedule,
)
from treadle.app.firing import carry_out, judge, look
from treadle.app.slot import SlotKind
from treadle.model.job import WorkerInfo
from treadle.model.record import Space, Write
from treadle.testing import FakeContext, VirtualClock, drain, on_memory

START = datetime(2026, 3, 27, 12, tzinfo=UTC)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(START)


@pytest.fixture
def app(clock: VirtualClock) -> Iterator[Treadle]:
    with on_memory(Treadle("memory://"), clock) as app:
        yield app


def nothing() -> None: ...


def greet(name: str = "Ada") -> str:
    return f"hi {name}"


def needy(name: str) -> None: ...


def now(app: Treadle) -> int:
    return app.store.clock.micros  # type: ignore[attr-defined]


def turn(app: Treadle, me: str = "me") -> list[datetime]:
    """What a scheduler does that looks once, and again while there is more; the slots it enqueued."""
    fired: list[datetime] = []
    again = True
    while again:
        again = False
        records = app.session.run(look(app.store.engine, [each.name for each in app.schedules]))
        for schedule in app.schedules:
            move = judge(schedule, records.get(schedule.name), now(app))
            if move is not None:
                moved = app.session.run(carry_out(app.store.engine, move, now(app), me))
                fired += [datetime.fromtimestamp(slot / 1e6, UTC) for slot in moved.fired]
                again = again or moved.again
    return fired


# -- declaring


def test_a_function_becomes_a_task_on_a_schedule(app: Treadle) -> None:
    task = app.schedule("30 2 * * *", tz="Europe/Paris")(nothing)
    assert app.registry.get(task.name) is task
    [schedule] = app.schedules
    assert (schedule.name, schedule.task, schedule.zone) == (task.name, task, "Europe/Paris")
    assert (schedule.catch_up, schedule.overlap, schedule.window) == (CatchUp.ONCE, Overlap.SKIP, 86_400.0)
    assert len(app.schedules) == 1
    assert repr(app.schedules) == f"<Schedules {task.name}>"


def test_one_task_may_have_several_schedules(app: Treadle) -> None:
    task = app.schedule("@daily", name="day")(app.schedule(every="1h", args={"name": "Bob"})(app.task(queue="mail")(greet)))
    assert [(each.name, each.task) for each in app.schedules] == [(task.name, task), ("day", task)]
    with pytest.raises(DefinitionError, match="two schedules are called day"):
        app.schedule("@hourly", name="day")(task)


def test_a_library_brings_its_schedules_along(app: Treadle) -> None:
    library = Tasks(prefix="mail")
    library.schedule(every="1h")(greet)
    app.attach(library)
    assert [each.name for each in app.schedules] == ["mail.greet"]
    with pytest.raises(DefinitionError, match="not a task of this app"):
        Treadle().schedule(every="1h")(next(iter(library)))


@pytest.mark.parametrize(
    ("cron", "words", "part"),
    [
        ("* * * * * *", {}, "six fields were given"),
        (None, {}, "either a cron expression or an interval"),
        ("@daily", {"every": "5m"}, "either a cron expression or an interval"),
        ("@daily", {"tz": "Europe/Pari"}, "Europe/Pari: there is no such time zone"),
        (None, {"every": "5m", "tz": "UTC"}, "an interval is elapsed time and knows no zones"),
        (None, {"every": "0.5s"}, "an interval is from one second to 366 days long"),
        (None, {"every": "400d"}, "an interval is from one second to 366 days long"),
        (None, {"every": "soon"}, "this does not read as a duration"),
        ("@daily", {"catch_up": "twice"}, "catch_up does not know this. Use one of 'once', 'skip', 'all'"),
        ("@daily", {"overlap": "queue"}, "Use one of 'skip', 'queue_one', 'allow'"),
        ("@daily", {"overlap": "skip", "catch_up": "all"}, 'with catch_up="all" it would drop most of the slots'),
        ("@daily", {"jitter": "2d"}, "spread over a day at most"),
        (None, {"every": "1m", "jitter": "2m"}, "no more than its interval"),
        ("@daily", {"window": -1}, "a duration cannot be negative"),
        ("@daily", {"name": "two words"}, "visible text without spaces"),
        ("@daily", {"name": "@daily"}, "does not begin with @"),
        ("@daily", {"name": "x" * 181}, "up to 180 bytes"),
        ("@daily", {"args": ["Ada"]}, "arguments are given by name"),
        ("@daily", {"timezone": "UTC"}, "timezone: a schedule has no such setting. Use one of: every, tz"),
        (5, {}, "a cron expression is a text"),
    ],
)
def test_what_cannot_be_declared_is_refused_with_the_value_and_the_cure(
    app: Treadle, cron: Any, words: dict[str, Any], part: str
) -> None:
    with pytest.raises(DefinitionError) as refused:
        app.schedule(cron, **words)(greet)
    assert part in str(refused.value)
    assert "greet" in str(refused.value)
    assert len(app.schedules) == 0


def test_parameters_that_nobody_fills_are_refused(app: Treadle) -> None:
    with pytest.raises(DefinitionError, match="name: nobody gives these parameters a value when a slot comes"):
        app.schedule("@daily")(needy)
    app.schedule("@daily", args={"name": "Ada"})(needy)


def test_arguments_are_checked_before_a_worker_serves(app: Treadle) -> None:
    app.schedule("@daily", args={"name": 5})(greet)
    [schedule] = app.schedules
    with pytest.raises(InvalidArguments):
        schedule.declared()


# -- firing


def test_a_nightly_job_over_a_change_of_the_clocks(app: Treadle, clock: VirtualClock) -> None:
    seen: list[str] = []

    def nightly(ctx: Context) -> None:
        slot = ctx.slot
        assert slot is not None
        seen.append(f"{slot.local:%d %H:%M %z} {slot.kind} {slot.zone} {slot.schedule} {slot.late_by:g}")

    app.schedule("30 2 * * *", tz="Europe/Paris", name="nightly")(app.task(name="nightly")(nightly))
    drained = drain(app, through="3d")
    assert [each.task for each in drained.ran] == ["nightly"] * 3
    assert seen == [
        "28 02:30 +0100 slot Europe/Paris nightly 0",
        "29 03:00 +0200 slot Europe/Paris nightly 0",
        "30 02:30 +0200 slot Europe/Paris nightly 0",
    ]


def test_a_body_is_tested_with_a_slot_of_ones_own() -> None:
    ctx = FakeContext(task="nightly", slot=START, zone="Asia/Tokyo")
    assert ctx.slot is not None
    assert (ctx.slot.schedule, ctx.slot.at, f"{ctx.slot.local:%H:%M}") == ("nightly", START, "21:00")
    assert FakeContext().slot is None


def test_a_job_of_no_schedule_has_no_slot(app: Treadle) -> None:
    def look_at(ctx: Context) -> bool:
        return ctx.slot is None

    job = app.task(name="look")(look_at).enqueue()
    drain(app)
    assert job.result(1) is True


def test_jobs_carry_what_their_task_says(app: Treadle, clock: VirtualClock) -> None:
    def send(token: Redacted[str], name: str = "") -> None: ...

    task = app.task(name="send", queue="mail", priority=7, tags=["nightly"], max_crashes=5)(send)
    app.schedule(every="1h", args={"token": "secret"})(task)
    turn(app)
    clock.advance("1h")
    assert turn(app) == [START + timedelta(hours=1)]
    [past] = app.schedules.history("send")
    job = past.job
    assert (job.queue, job.priority, job.tags) == ("mail", 7, ("nightly", "schedule:send"))
    assert job.args == {"token": "[redacted]"}
    assert (past.slot.at, past.slot.kind) == (START + timedelta(hours=1), SlotKind.SLOT)


def test_jitter_spreads_a_slot_and_everybody_agrees_how_far(app: Treadle, clock: VirtualClock) -> None:
    app.schedule("@hourly", jitter="10m", overlap="allow", catch_up="all")(greet)
    turn(app)
    clock.advance("1d")
    slots = turn(app)
    clock.advance("1h")
    slots += turn(app)
    dues = [past.job.due_at for past in reversed(app.schedules.history(next(iter(app.schedules)).name))]
    assert dues[:23] == [None] * 23, "what is caught up with is due at once"
    for slot, due in zip(slots[23:], dues[23:], strict=True):
        assert due is not None
        assert slot <= due < slot + timedelta(minutes=10)
    drained = drain(app, through="1d")
    later = [past.job for past in app.schedules.history(next(iter(app.schedules)).name, 20)]
    offsets = {(job.due_at.minute, job.due_at.second) for job in later if job.due_at is not None}
    assert len(offsets) > 10
    assert max(offsets)[0] < 10
    assert len(drained.ran) == 25 + 24 - 1, "the last slot comes as the day ends, and its job later"


def test_a_slot_is_skipped_while_the_job_of_the_one_before_goes_on(app: Treadle, clock: VirtualClock) -> None:
    app.schedule(every="1m")(greet)
    turn(app)
    clock.advance("1m")
    assert len(turn(app)) == 1
    clock.advance("1m")
    assert turn(app) == []
    [view] = app.schedules.list()
    assert (view.fired, view.dropped, view.late) == (1, 1, None)
    assert (view.drops[0].why, view.drops[0].number) == ("the job of an earlier slot has not ended", 1)
    drain(app)
    clock.advance("1m")
    assert len(turn(app)) == 1


def test_one_slot_is_queued_behind_the_one_that_runs(app: Treadle, clock: VirtualClock) -> None:
    name = app.schedule(every="1m", overlap="queue_one")(greet).name
    turn(app)
    clock.advance("1m")
    turn(app)
    lease = "lease"
    engine = app.store.engine
    app.session.run(engine.renew(lease, 0, 10_000.0, worker=WorkerInfo("w", "h", 1, ("default",), (name,), 1)))
    from treadle.model.job import Want

    [running] = app.session.run(engine.claim(lease, [Want("default", 5, 5)], [name])).jobs
    clock.advance("1m")
    assert len(turn(app)) == 1, "one waits behind the one that runs"
    clock.advance("1m")
    assert turn(app) == [], "no second one does"
    waiting, first = (past.job for past in app.schedules.history(name))
    assert (first.id, first.state) == (running.id, State.RUNNING)
    assert (waiting.state, waiting.blocked_on) == (State.BLOCKED, "parents")
    assert app.client.get(waiting.id).parents[0].id == first.id
    assert app.session.run(engine.claim(lease, [Want("default", 5, 5)], [name])).jobs == []


def test_downtime_is_caught_up_as_declared(app: Treadle, clock: VirtualClock) -> None:
    for catch_up in CatchUp:
        app.schedule(every="1h", name=f"{catch_up}", catch_up=catch_up, window="4h", overlap="allow")(greet)
    turn(app)
    clock.advance("10h")
    clock.advance("10m")
    slots = turn(app)
    assert len(slots) == 1 + 0 + 4
    views = {each.name: each for each in app.schedules.list()}
    assert {name: (view.fired, view.dropped) for name, view in views.items()} == {
        "once": (1, 9),
        "skip": (0, 10),
        "all": (4, 6),
    }
    assert views["once"].last == START + timedelta(hours=10)


def test_a_schedule_that_changes_fires_none_of_its_past(app: Treadle, clock: VirtualClock) -> None:
    app.schedule("0 * * * *", name="one", catch_up="all")(greet)
    turn(app)
    clock.advance("90m")
    changed = Treadle("memory://")
    changed.connection.exchange(app.connection.exchange(None))
    changed.schedule("30 * * * *", name="one", catch_up="all")(greet)
    [view] = changed.schedules.list()
    assert view.drift == ("the store has it declared differently: rule", "slots have come that no worker has dealt with")
    assert turn(changed, "new") == []
    [view] = changed.schedules.list()
    assert (view.drift, view.rule, view.last) == ((), "30 * * * *", None)
    clock.advance("1h")
    assert len(turn(changed, "new")) == 1


def test_another_setting_changes_without_losing_a_slot(app: Treadle, clock: VirtualClock) -> None:
    app.schedule("0 * * * *", name="one")(greet)
    turn(app)
    clock.advance("1h")
    changed = Treadle("memory://")
    changed.connection.exchange(app.connection.exchange(None))
    changed.schedule("0 * * * *", name="one", args={"name": "Bob"})(greet)
    assert len(turn(changed, "new")) == 1
    assert changed.schedules.history("one")[0].job.args == {"name": "Bob"}


def test_of_two_versions_of_the_code_the_one_that_started_last_fires(
    app: Treadle, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    app.schedule("0 * * * *", name="one", overlap="allow")(greet)
    newer = Treadle("memory://")
    newer.connection.exchange((app.store, app.session))
    newer.schedule("30 * * * *", name="one", overlap="allow")(greet)
    engine = app.store.engine
    for lease in ("old", "new"):
        app.session.run(engine.renew(lease, 0, 7200.0, worker=WorkerInfo(lease, "h", 1, (), (), 1)))
        clock.advance("1s")
    turn(app, "old")
    turn(newer, "new")
    clock.advance("1h")
    assert turn(app, "old") == [], "it stands aside"
    assert len(turn(newer, "new")) == 1
    from treadle.worker.scheduler import Scheduler

    old = Scheduler(app, app.session, "old")
    with caplog.at_level(logging.WARNING, "treadle.worker"):
        for _ in range(3):
            asyncio.run(old.turn())
    assert [record.message for record in caplog.records] == [
        "schedule one is declared differently by a worker that started later, lease new: it fires there, not here"
    ]
    clock.advance("2h")
    assert turn(app, "old") == [], "its lease has run out, so the old code takes the schedule over and fires none of the past"
    clock.advance("1h")
    assert len(turn(app, "old")) == 1


def test_a_broken_record_stops_one_schedule_and_says_the_cure(
    app: Treadle, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    from treadle.worker.scheduler import Scheduler

    app.schedule(every="1h", name="broken")(greet)
    app.schedule(every="1h", name="whole")(greet)
    app.session.run(app.store.engine.write([Write(Space.SCHEDULE, "broken", json.dumps({"odd": 1}))]))
    scheduler = Scheduler(app, app.session, "me")
    asyncio.run(scheduler.turn())
    clock.advance("1h")
    with caplog.at_level(logging.ERROR, "treadle.worker"):
        assert 0 <= asyncio.run(scheduler.turn()) <= 16
    assert "`treadle schedules forget broken` begins it anew" in caplog.text
    assert len(app.schedules.history("whole")) == 1
    app.schedules.forget("broken")
    turn(app)
    assert [each.drift for each in app.schedules.list()] == [(), ()]


# -- operating


def test_pausing_and_resuming(app: Treadle, clock: VirtualClock) -> None:
    name = app.schedule(every="1h", catch_up="all")(greet).name
    with pytest.raises(InvalidOption, match="2,001 characters"):
        app.schedules.pause(name, "x" * 2_001)
    app.schedules.pause(name, "moving house")
    [view] = app.schedules.list()
    assert (view.paused, view.paused_by, view.paused_why, view.next) == (True, app.client.actor, "moving house", None)
    clock.advance("3h")
    assert turn(app) == []
    assert app.schedules.list()[0].late is None
    assert app.schedules.resume(name)
    assert not app.schedules.resume(name)
    assert turn(app) == [], "what passed meanwhile is not caught up with"
    clock.advance("1h")
    assert len(turn(app)) == 1


def test_running_now_is_beside_the_slots(app: Treadle, clock: VirtualClock) -> None:
    name = app.schedule(every="1h")(greet).name
    app.schedules.pause(name)
    clock.advance("90s")
    job = app.schedules.run(name)
    drain(app)
    assert job.result(1) == "hi Ada"
    [past] = app.schedules.history(name)
    assert (past.slot.kind, past.slot.at) == (SlotKind.RUN, clock.now)
    assert app.schedules.list()[0].fired == 0


def test_past_slots_are_filled_in_once(app: Treadle, clock: VirtualClock) -> None:
    name = app.schedule("30 2 * * *", tz="Europe/Paris")(greet).name
    start, end = datetime(2026, 3, 20, tzinfo=UTC), datetime(2026, 3, 24, tzinfo=UTC)
    rehearsal = app.schedules.backfill(name, start, end, dry_run=True)
    assert app.schedules.history(name) == []
    filled = app.schedules.backfill(name, start, end)
    assert filled == rehearsal
    assert [each.local.isoformat() for each in filled] == [f"2026-03-{day}T02:30:00+01:00" for day in (20, 21, 22, 23)]
    assert all(each.enqueued for each in filled)
    assert not any(each.enqueued for each in app.schedules.backfill(name, start, end))
    assert not any(each.enqueued for each in app.schedules.backfill(name, start, end, dry_run=True))
    assert {past.slot.kind for past in app.schedules.history(name)} == {SlotKind.BACKFILL}
    assert [past.job.due_at for past in app.schedules.history(name)] == [None] * 4


def test_a_range_begins_with_its_start_and_ends_before_its_end(app: Treadle) -> None:
    name = app.schedule(every="1h")(greet).name
    filled = app.schedules.backfill(name, START - timedelta(hours=2), START)
    assert [each.at for each in filled] == [START - timedelta(hours=2), START - timedelta(hours=1)]


@pytest.mark.parametrize(
    ("start", "end", "error", "part"),
    [
        (START, START, InvalidTime, "the range ends before it begins"),
        (START, START + timedelta(days=1), InvalidTime, "slots to come fire by themselves"),
        (START.replace(tzinfo=None), START, InvalidTime, "it has no time zone"),
        (START - timedelta(days=20), START, InvalidOption, "more than 10,000 slots"),
    ],
)
def test_a_range_that_cannot_be_filled_in_is_refused(
    app: Treadle, start: datetime, end: datetime, error: type[Exception], part: str
) -> None:
    name = app.schedule(every="1m")(greet).name
    with pytest.raises(error, match=part):
        app.schedules.backfill(name, start, end)


def test_the_next_slots_with_what_the_clocks_do(app: Treadle) -> None:
    name = app.schedule("30 2 * * *", tz="Europe/Paris")(greet).name
    first, second, third = app.schedules.preview(name, 3)
    assert (first.at, first.remark) == (datetime(2026, 3, 28, 1, 30, tzinfo=UTC), "")
    assert (second.local.isoformat(), second.remark[:20]) == ("2026-03-29T03:00:00+02:00", "clocks went forward ")
    assert third.local.isoformat() == "2026-03-30T02:30:00+02:00"
    assert len(app.schedules.preview(name)) == 20
    with pytest.raises(InvalidOption, match="from 1 to 10,000"):
        app.schedules.preview(name, 0)


def test_what_no_code_here_declares_can_be_operated_all_the_same(app: Treadle, clock: VirtualClock) -> None:
    name = app.schedule("@hourly", name="far")(app.task(name="far")(greet)).name
    assert app.schedules.list()[0].drift == ("no worker has served it yet",)
    turn(app)
    stranger = Treadle("memory://")
    stranger.connection.exchange((app.store, app.session))
    assert stranger.schedules.list()[0].drift == (), "without code nothing can be said about code"
    assert len(stranger.schedules.preview(name, 2)) == 2
    stranger.schedules.pause(name)
    stranger.schedules.resume(name)
    job = stranger.schedules.run(name)
    drain(app)
    assert job.result(1) == "hi Ada"
    stranger.schedule("@daily", name="near")(greet)
    assert {each.name: each.drift for each in stranger.schedules.list()} == {
        "far": ("this app does not declare it",),
        "near": ("no worker has served it yet",),
    }
    clock.advance("2h")
    late = next(each for each in stranger.schedules.list() if each.name == "far")
    assert late.late == 3600.0
    assert late.drift[-1] == "slots have come that no worker has dealt with"


def test_a_name_that_means_no_schedule(app: Treadle) -> None:
    with pytest.raises(UnknownSchedule, match="known once a worker has served its module"):
        app.schedules.pause("nightly")
    app.schedule("@daily", name="nightly")(greet)
    schedules = app.schedules
    for ask in (schedules.pause, schedules.resume, schedules.run, schedules.preview, schedules.history, schedules.forget):
        with pytest.raises(UnknownSchedule, match=r"nightl: .*"):
            ask("nightl")
    with pytest.raises(UnknownSchedule, match="Did you mean nightly"):
        app.schedules.run("nightl")
    with pytest.raises(UnknownSchedule, match="It knows: nightly"):
        app.schedules.run("zzzzzzz")
    with pytest.raises(UnknownSchedule):
        app.schedules.backfill("zzz", START - timedelta(days=1), START)


def test_every_question_has_an_awaitable_twin(app: Treadle, clock: VirtualClock) -> None:
    name = app.schedule(every="1h")(greet).name
    schedules = app.schedules

    async def ask() -> None:
        assert [each.name for each in await schedules.alist()] == [name]
        assert len(await schedules.apreview(name, 2)) == 2
        await schedules.apause(name, "why")
        assert await schedules.aresume(name)
        job = await schedules.arun(name)
        assert [past.job.id for past in await schedules.ahistory(name)] == [job.id]
        assert len(await schedules.abackfill(name, START - timedelta(hours=3), START)) == 3
        turn(app)
        await schedules.aforget(name)

    asyncio.run(ask())
    assert schedules.list()[0].drift == ("no worker has served it yet",)


def test_a_bad_schedule_has_its_own_error() -> None:
    assert issubclass(InvalidSchedule, ValueError)
