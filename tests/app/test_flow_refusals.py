"""What flow control refuses, and that it says what was given, what it breaks and what to do instead."""

import re

import pytest

from treadle import (
    Breaker,
    Cap,
    Context,
    DefinitionError,
    InvalidDuration,
    InvalidOption,
    Misuse,
    State,
    Unique,
    UnknownLimit,
    debounce,
    throttle,
)
from treadle.app.limitbook import declare_limits
from treadle.testing import FakeContext, drain


def work() -> None: ...


@pytest.fixture
def app(treadle_app):
    return treadle_app


def declare(app, **words):
    limit = app.limit("provider", **words)
    app.connection.run(declare_limits(app.connection.engine, [limit]))
    return app.client.limits


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda _: Cap(), "a cap without a depth and an age caps nothing"),
        (lambda _: Cap(age="0s"), "0s: an age of nothing would refuse"),
        (lambda _: Cap("3"), "'3': a cap's depth is a whole number from 1 to 1,000,000,000"),
        (lambda _: Breaker(failures=0), "0: failures is a whole number from 1 to 1,000,000"),
        (lambda app: app.limit("x", concurrency="2"), "'2': concurrency is a whole number from 1 to 1,000,000,000"),
        (lambda app: app.limit("", rate="1/s"), "limit '': this is not a limit's name. Use 1 to 100"),
        (lambda app: app.limit("x", rate="1/s", by=""), "'': by names a parameter or several, each once and none empty"),
        (lambda app: app.queue(""), "queue '': this is not a queue name. Use 1 to 100"),
        (lambda app: app.limit("a\nb", rate="1/s"), "limit 'a\\nb': this is not a limit's name."),
        (lambda app: app.queue("a\nb"), "queue 'a\\nb': this is not a queue name."),
        (lambda app: app.limit("l"), "limit l: this limit limits nothing."),
        (lambda app: app.limit("l", concurrency=0), "limit l: 0: concurrency is a whole number"),
        (lambda app: app.limit("x", rate="100/min\n"), "limit x: '100/min\\n': this does not read as a rate."),
        (lambda _: Breaker(open_for="1h", longest="1s"), "1s: the longest opening cannot be shorter than the first, open_for"),
        (lambda _: Unique(during=("running",), on_conflict="replace"), "running: only a job that waits is replaced"),
        (lambda _: Unique(within=0), "0: a within of nothing would make no two calls one"),
        (lambda _: Cap(3, timeout="1s"), "1s: timeout says how long an enqueue waits for room, and with reject none does"),
        (lambda app: app.task(version="2")(work), "'2': version is a whole number from 1 to 2,147,483,647"),
        (lambda _: debounce("0s"), "'0s': a wait of nothing would make no two calls one"),
        (lambda _: throttle(0), "0: a period of nothing would make no two calls one"),
    ],
)
def test_what_is_refused_is_named_with_its_bounds(app, make, words):
    with pytest.raises((InvalidOption, InvalidDuration, DefinitionError), match=re.escape(words)):
        make(app)


def test_a_cost_is_a_number_and_no_text(app):
    limit = app.limit("provider", rate="1/s")
    with pytest.raises(DefinitionError, match="'2': a cost is a whole number from 1 to 1,000,000,000"):
        app.task(limits=[limit], costs={"provider": "2"})(work)


def test_an_idempotency_key_that_is_empty_is_shown(app):
    with pytest.raises(InvalidOption, match="'': an idempotency key is 1 to 200 bytes"):
        app.task(work).options(idempotency_key="")


def test_the_alias_of_a_name_is_refused(app):
    with pytest.raises(DefinitionError, match=r"'work'\): the second is not a task\. Hand over the task itself"):
        app.alias("old", "work")


@pytest.mark.parametrize(
    ("declared", "change", "words"),
    [
        ({"rate": "1/s"}, {"strict": True, "burst": 3}, "burst 3: a strict limit has no burst"),
        ({"rate": "1/s", "strict": True}, {"burst": 3}, "burst 3: a strict limit has no burst"),
        ({"concurrency": 2}, {"burst": 3}, "burst 3: burst and strict speak of a rate, and this limit has none"),
        ({"concurrency": 2}, {"strict": True}, "strict: burst and strict speak of a rate, and this limit has none"),
        ({"rate": "1/s"}, {"rate": "unlimited", "burst": 3}, "burst 3: burst and strict speak of a rate"),
    ],
)
def test_an_operator_is_refused_what_code_is(app, declared, change, words):
    limits = declare(app, **declared)
    before = limits.list()
    with pytest.raises(InvalidOption, match=words):
        limits.set("provider", **change)
    assert limits.list() == before


def test_an_operator_may_turn_a_strict_limit_even(app):
    limits = declare(app, rate="1/s", strict=True)
    limits.set("provider", strict=False, burst=3)
    assert (limits.list()[0].burst, limits.list()[0].strict) == (3, False)


def test_a_limit_that_no_worker_has_told_of_is_refused_with_the_cure(app):
    with pytest.raises(UnknownLimit, match=r"(?s)no worker has told this store of a limit of this name.*when it starts"):
        app.client.limits.set("stranger", rate="1/s")
    app.limit("provider", rate="1/s", by="account")
    app.client.limits.set("provider", rate="2/s")
    app.client.pause(limit="provider", key="acme")


def test_a_key_of_a_limit_without_keys_is_not_paused(app):
    declare(app, rate="1/s")
    with pytest.raises(InvalidOption, match="acme: limit provider was declared without by=, so it has no keys"):
        app.client.pause(limit="provider", key="acme")
    assert not app.client.resume(limit="provider", key="acme")
    app.client.pause(limit="provider")
    assert app.client.resume(limit="provider")


def test_a_key_of_a_limit_that_has_keys_now_is_paused(app):
    declare(app, rate="1/s")
    app.limits.clear()
    declare(app, rate="1/s", by="account")
    app.client.pause(limit="provider", key="acme")
    assert app.client.resume(limit="provider", key="acme")


@pytest.mark.parametrize(
    ("given", "limit", "words"),
    [
        (None, None, "throttled(None): a NoneType is not a duration"),
        (-5, None, "throttled(-5): a duration cannot be negative"),
        ("soon", "provider", "throttled('soon'): this does not read as a duration"),
        (5, "other", "throttled(limit='other'): this job holds no such limit. It holds provider."),
    ],
)
def test_slowing_down_wrongly_is_a_dead_letter_at_once(app, given, limit, words):
    held = app.limit("provider", concurrency=5)

    @app.task(name="work", limits=[held])
    def work(ctx: Context) -> None:
        raise ctx.throttled(given, limit=limit)

    job = work.enqueue()
    assert len(drain(app)) == 1
    seen = job.job()
    assert (seen.state, seen.attempt) == (State.DEAD, 1)
    assert "its code is wrong, and another attempt would do the same" in seen.dead.reason
    assert words in seen.dead.reason


def test_a_job_without_limits_slows_down_nothing():
    with pytest.raises(Misuse, match=r"throttled: this job holds no limit\. Give its task one: limits="):
        FakeContext().throttled(5)


def test_a_key_to_pause_is_text_that_a_job_could_have(app):
    declare(app, rate="1/s", by="account")
    for key in (None, 5):
        with pytest.raises(InvalidOption, match=f"{key}: key must be text"):
            app.client.pause(limit="provider", key=key)
    with pytest.raises(InvalidOption, match="a key of 300 bytes: a key has at most 200"):
        app.client.pause(limit="provider", key="x" * 300)
    app.client.pause(limit="provider", key="x" * 200)
    with pytest.raises(InvalidOption, match="provider: this limit has a key for each account, and none was named"):
        app.client.pause(limit="provider")
    app.client.pause(limit="provider", key="")
    assert sorted(app.client.limits.list()[0].paused) == ["", "x" * 200]


def test_options_that_go_together_are_taken():
    assert Breaker(open_for="1h").longest == Breaker(open_for="1h", longest="1h").longest == 3600
    assert Breaker().longest == 600
    assert Unique(during=("running",), within="1m", on_conflict="replace").within == 60
    assert Unique(during=("running", "queued"), on_conflict="replace").on_conflict == "replace"
    assert (Cap(3).timeout, Cap(3, action="block", timeout="1s").timeout) == (30, 1)


def test_a_key_that_is_too_long_is_not_repeated_whole(app):
    limit = app.limit("provider", rate="1/s", by="account")

    @app.task(name="contact", limits=[limit])
    def contact(account: str) -> None: ...

    with pytest.raises(InvalidOption, match="201 bytes") as refused:
        contact.enqueue("x" * 201)
    assert str(refused.value).startswith("x" * 60 + "...: ")
