"""What is said of queues while everything runs: hours, shares, caps, and pauses of queues, tasks and keys."""

from datetime import UTC, datetime, timedelta

import pytest

from treadle import Cap, InvalidOption, NotPermitted, Treadle
from treadle.app.hours import keep_hours
from treadle.model.record import Space, paused_key, paused_task

NOON = round(datetime(2036, 3, 5, 12, tzinfo=UTC).timestamp() * 1_000_000)
NIGHT = round(datetime(2036, 3, 5, 23, tzinfo=UTC).timestamp() * 1_000_000)


@pytest.fixture
def app(treadle_app):
    return treadle_app


def keep(app, now, queues=None):
    return app.connection.run(keep_hours(app.connection.engine, app.queues if queues is None else queues, now))


def now(app):
    return app.store.this_moment()


@pytest.fixture
def later(app):
    """Hours that begin in an hour or two."""
    hour = datetime.fromtimestamp(now(app) / 1e6, UTC).hour
    return f"{(hour + 2) % 24:02}:00-{(hour + 3) % 24:02}:00"


def paused(app):
    return {each.name: each.paused_why for each in app.client.queues() if each.paused}


def test_outside_its_hours_a_queue_is_paused_and_within_them_resumed(app):
    app.queue("bulk", window="22:00-06:00")
    assert keep(app, NOON) == (("bulk",), ())
    assert paused(app) == {"bulk": "served 22:00-06:00 UTC"}
    assert keep(app, NOON) == ((), ())
    assert keep(app, NIGHT) == ((), ("bulk",))
    assert paused(app) == {}
    assert keep(app, NIGHT) == ((), ())


def test_a_pause_by_a_person_stands(app):
    app.queue("bulk", window="22:00-06:00")
    app.client.pause("bulk", "repairs")
    keep(app, NOON)
    keep(app, NIGHT)
    assert paused(app) == {"bulk": "repairs"}


def test_an_operators_window_goes_before_the_codes(app):
    app.queue("bulk", window="22:00-06:00")
    app.client.describe("bulk", window="11:00-13:00", tz="UTC")
    assert keep(app, NOON) == ((), ())
    assert keep(app, NIGHT) == (("bulk",), ())
    app.client.describe("bulk", window="none")
    assert keep(app, NIGHT) == ((), ("bulk",))
    assert keep(app, NOON) == ((), ())
    app.client.describe("bulk", window="declared")
    assert keep(app, NOON) == (("bulk",), ())


def test_a_worker_that_declares_no_window_ends_a_pause_when_its_hours_come_and_not_before(app):
    app.queue("bulk", window="22:00-06:00")
    keep(app, NOON)
    assert keep(app, NOON, {}) == ((), ())
    assert keep(app, NIGHT, {}) == ((), ("bulk",))


def test_a_queue_that_only_its_hours_keep_closed_is_not_resumed(app, later):
    app.client.describe("bulk", window=later)
    keep(app, now(app))
    before = app.connection.run(app.connection.engine.read(Space.PAUSED))
    cure = r"It opens by itself at 20..-..-..T..:00:00Z\. To serve it at all hours: `treadle queues window bulk --none`\."
    with pytest.raises(NotPermitted, match=f"bulk: nobody has paused this queue: it is outside its hours, served .* {cure}"):
        app.client.resume("bulk")
    assert app.connection.run(app.connection.engine.read(Space.PAUSED)) == before
    app.client.describe("bulk", window="none")
    assert app.client.resume("bulk")
    assert paused(app) == {}


@pytest.mark.parametrize("first", ["hours", "person"])
def test_a_pause_by_hand_ends_in_the_hours_that_keep_the_queue_closed(app, first, later):
    app.client.describe("bulk", window=later)
    if first == "hours":
        keep(app, now(app))
    app.client.pause("bulk", "repairs")
    assert keep(app, now(app)) == ((), ())
    assert app.client.resume("bulk")
    assert paused(app) == {"bulk": f"served {later} UTC"}
    with pytest.raises(NotPermitted):
        app.client.resume("bulk")


def test_a_pause_by_hand_ends_once_the_hours_are_gone(app, later):
    app.client.describe("bulk", window=later)
    keep(app, now(app))
    app.client.pause("bulk")
    app.client.describe("bulk", window="declared")
    app.client.resume("bulk")
    assert paused(app) == {"bulk": f"served {later} UTC"}
    app.client.pause("bulk")
    app.client.describe("bulk", window="none")
    keep(app, now(app))
    app.client.describe("bulk", window="declared")
    assert app.client.resume("bulk")
    assert paused(app) == {}


def test_a_queue_whose_hours_change_says_the_new_ones(app):
    app.queue("bulk", window="22:00-06:00")
    keep(app, NOON)
    app.client.describe("bulk", window="23:00-06:00")
    assert keep(app, NOON) == ((), ())
    assert paused(app) == {"bulk": "served 23:00-06:00 UTC"}


def test_what_waits_in_a_queue_outside_its_hours_is_told_when_they_begin(app, later):
    @app.task(name="load", queue="bulk")
    def load() -> None: ...

    job = load.enqueue()
    app.client.describe("bulk", window=later)
    keep(app, now(app))
    told = app.client.obstacles([app.client.get(job.id)])[job.id]
    assert told.why == f"queue bulk is paused by its hours: served {later} UTC"
    opens = datetime.fromtimestamp(now(app) / 1e6, UTC).replace(minute=0, second=0, microsecond=0) + timedelta(hours=2)
    assert told.cure == (
        f"It opens by itself at {opens:%Y-%m-%dT%H:%M:%S}Z. To serve it at all hours: `treadle queues window bulk --none`."
    )
    assert [each.cure for each in app.client.standstills()] == [told.cure]
    app.client.describe("bulk", window="00:00-24:00")
    app.client.pause("bulk", "repairs")
    assert app.client.obstacles([job.job()])[job.id].cure == "End that with `treadle queues resume bulk`."


def test_what_an_operator_said_is_shown_with_the_queue(app):
    app.client.describe("bulk", cap=Cap(10, age="5m", action="shed"), window="22:00-06:00", tz="Europe/Paris", weight=7)
    (queue,) = app.client.queues()
    assert (queue.cap, queue.window, queue.weight) == ("10 jobs or 300 s old: shed", "22:00-06:00 Europe/Paris", 7)
    app.client.describe("bulk", cap="none", window="none", weight=0)
    (queue,) = app.client.queues()
    assert (queue.cap, queue.window, queue.weight) == ("none", "none", None)
    app.client.describe("bulk", cap="declared", window="declared")
    assert app.client.queues() == []


@pytest.mark.parametrize(
    "words",
    [{}, {"cap": 5}, {"weight": -1}, {"weight": True}, {"window": "night"}],
)
def test_what_says_nothing_of_a_queue_is_refused(app, words):
    with pytest.raises(InvalidOption):
        app.client.describe("bulk", **words)


def test_tasks_and_keys_are_paused_by_name(app):
    app.limit("stripe", rate="1/s", by="account")
    app.client.pause(task="mail.send", reason="smtp is down")
    app.client.pause(limit="stripe", key="acme")
    records = app.connection.run(app.connection.engine.read(Space.PAUSED))
    assert [each.key for each in records] == [paused_key("stripe", "acme"), paused_task("mail.send")]
    assert app.client.queues() == []
    assert app.client.resume(task="mail.send")
    assert app.client.resume(limit="stripe", key="acme")
    assert not app.client.resume(task="mail.send")


@pytest.mark.parametrize("words", [{}, {"queue": "a", "task": "b"}, {"task": "a\nb"}, {"limit": "a\nb"}, {"queue": "a b"}])
def test_one_thing_is_paused_at_a_time(words):
    with pytest.raises(InvalidOption):
        Treadle("memory://", allow_volatile=True).client.pause(**words)


def test_a_paused_task_says_so(app):
    @app.task(name="mail.send")
    def send() -> None:
        pass

    job = send.enqueue()
    app.client.pause(task="mail.send", reason="smtp is down")
    assert app.client.obstacles([app.client.get(job.id)])[job.id].why.startswith("task mail.send is paused by ")
