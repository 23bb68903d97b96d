"""Limits, order, uniqueness and idempotency end to end: declared on tasks, enqueued, run on a virtual clock."""

import asyncio
from datetime import timedelta

import pytest

from treadle import (
    Breaker,
    Context,
    DuplicateJob,
    GiveUp,
    IdempotencyConflict,
    InvalidOption,
    Ordered,
    Retries,
    Retry,
    Snooze,
    State,
    Unique,
    UnknownLimit,
    UnknownParent,
    debounce,
    throttle,
)
from treadle.app.limitbook import declare_limits
from treadle.testing import FakeContext, drain

MINUTE = timedelta(minutes=1)


@pytest.fixture
def app(treadle_app):
    return treadle_app


@pytest.fixture
def starts(treadle_clock):
    """Notes what starts when, in seconds since the first look."""
    began = treadle_clock.now

    class Starts(list):
        def note(self, what):
            self.append((what, (treadle_clock.now - began).total_seconds()))

    return Starts()


def declare(app):
    """What a worker does when it starts."""
    return app.connection.run(declare_limits(app.connection.engine, app.limits.values()))


def test_starts_are_paced_by_the_rate_for_each_key(app, starts):
    provider = app.limit("provider", rate="10/min", burst=2, by="account")

    @app.task(name="contact", limits=[provider])
    def contact(account: str, number: int) -> None:
        starts.note((account, number))

    app.enqueue_many([contact.call(account, number) for number in range(4) for account in "ab"])
    drain(app, through="5m")
    assert starts == [
        *(((account, number), 0.0) for number in range(2) for account in "ab"),
        *(((account, number), 6.0) for number in (2,) for account in "ab"),
        *(((account, number), 12.0) for number in (3,) for account in "ab"),
    ]


def test_a_cost_takes_more_of_the_rate(app, starts):
    provider = app.limit("provider", rate="60/min", burst=5)

    @app.task(name="contact", limits=[provider], costs={"provider": 5})
    def contact(number: int) -> None:
        starts.note(number)

    app.enqueue_many([contact.call(number) for number in range(3)])
    contact.options(costs={"provider": 1}).enqueue(9)
    drain(app, through="5m")
    assert starts == [(0, 0.0), (1, 5.0), (2, 10.0), (9, 11.0)]


def test_what_waits_at_a_limit_says_so_and_its_keys_are_listed(app):
    provider = app.limit("provider", rate="1/min", by="account")

    @app.task(name="contact", limits=[provider])
    def contact(account: str) -> None:
        pass

    jobs = app.enqueue_many([contact.call("acme") for _ in range(3)])
    drain(app)
    job = app.client.get(jobs[2].id)
    assert (job.state, job.blocked_on) == (State.BLOCKED, "limit")
    (gate,) = app.client.limits.keys("provider")
    assert (gate.key, gate.running, gate.waiting) == ("acme", 0, 2)
    (view,) = app.client.limits.list()
    assert (view.name, view.rate, view.burst, view.waiting, view.breaker) == ("provider", "1/min", 1, 2, "closed")


def test_order_is_kept_over_retries(app, starts):
    @app.task(name="post", ordered_by="account", retry=Retries(["10s"]))
    def post(ctx: Context, account: str, number: int) -> None:
        starts.note((account, number))
        if number == 0 and ctx.failures == 0:
            raise OSError

    app.enqueue_many([post.call(account, number) for number in range(3) for account in "ab"])
    drain(app, through="5m")
    for account in "ab":
        assert [(number, at) for (name, number), at in starts if name == account] == [(0, 0.0), (0, 10.0), (1, 10.0), (2, 10.0)]


def test_a_dead_head_stops_its_key_until_it_is_resolved_where_that_is_asked(app, starts):
    @app.task(name="post", ordered_by=Ordered("account", on_dead="stop"))
    def post(account: str, number: int) -> None:
        starts.note((account, number))
        if number == 0 and account == "a":
            raise GiveUp("broken")

    jobs = app.enqueue_many([post.call(account, number) for number in range(2) for account in "ab"])
    drain(app, through="5m")
    assert [what for what, _ in starts] == [("a", 0), ("b", 0), ("b", 1)]
    app.client.resolve(jobs[0].id)
    drain(app, through="5m")
    assert starts[-1][0] == ("a", 1)


def test_a_second_enqueue_is_given_the_first_job_and_told(app):
    @app.task(name="charge", unique=Unique(by="order"))
    def charge(order: int, note: str = "") -> None:
        pass

    first, second, other = charge.enqueue(7), charge.enqueue(7, note="again"), charge.enqueue(8)
    assert (first.existing, second.existing, other.existing) == (False, True, False)
    assert second == first
    drain(app)
    assert not charge.enqueue(7).existing


def test_the_awaitable_twins_tell_too(app):
    @app.task(name="charge", unique=Unique())
    def charge(order: int) -> None:
        pass

    async def body():
        one, two = await charge.aenqueue(7), await charge.aenqueue(7)
        many = await app.aenqueue_many([charge.call(7), charge.call(8)])
        return one, two, many

    one, two, many = asyncio.run(body())
    assert (one.existing, two.existing, two) == (False, True, one)
    assert [each.existing for each in many] == [True, False]
    assert many[0] == one


def test_a_conflict_may_be_an_error_and_then_nothing_is_stored(app):
    @app.task(name="charge", unique=Unique(by="order", on_conflict="raise"))
    def charge(order: int) -> None:
        pass

    first = charge.enqueue(7)
    with pytest.raises(DuplicateJob, match=first.id) as error:
        app.enqueue_many([charge.call(8), charge.call(7)])
    assert error.value.job == first.id
    assert [each.count for each in app.client.count()] == [1]


def test_a_waiting_job_may_be_replaced_and_says_by_whom(app):
    @app.task(name="charge", unique=Unique(by="order", on_conflict="replace"))
    def charge(order: int, cents: int) -> None:
        pass

    first, second = charge.enqueue(7, 100), charge.enqueue(7, 200)
    assert not second.existing
    assert first.state() is State.CANCELLED
    assert second.id in first.job().reason


def test_debounce_runs_once_when_calls_have_ceased(app, treadle_clock, starts):
    @app.task(name="index", unique=debounce("10s", by="document"))
    def index(document: str, version: int) -> None:
        starts.note(version)

    for version in range(3):
        index.enqueue("d", version)
        treadle_clock.advance(5)
    drain(app, through="1m")
    assert starts == [(2, 20.0)]


def test_throttle_takes_the_first_of_each_period(app, treadle_clock, starts):
    @app.task(name="greet", unique=throttle("1m", by="user"))
    def greet(user: str, number: int) -> None:
        starts.note(number)

    for number in range(5):
        greet.enqueue("ada", number)
        drain(app)
        treadle_clock.advance(20)
    assert [what for what, _ in starts] == [0, 3]


def test_a_request_is_served_once_even_after_its_job_has_ended(app, treadle_clock):
    @app.task(name="charge")
    def charge(order: int) -> int:
        return order

    keyed = charge.options(idempotency_key="request-1")
    first = keyed.enqueue(7)
    drain(app)
    again = keyed.enqueue(order=7)
    assert (again.existing, again, again.result(timeout=0)) == (True, first, 7)
    with pytest.raises(IdempotencyConflict, match="with other arguments"):
        keyed.enqueue(8)
    treadle_clock.advance(86_400)
    assert not keyed.enqueue(8).existing


def test_a_job_that_stands_for_another_is_no_parent_of_this_call(app):
    @app.task(name="charge", unique=Unique(by="order"))
    def charge(order: int) -> None:
        pass

    charge.enqueue(7)
    parent = charge.call(7)
    with pytest.raises(UnknownParent):
        app.enqueue_many([parent, charge.call(8).options(after=[parent])])


def test_throttled_slows_everybody_under_the_key(app, starts):
    provider = app.limit("provider", concurrency=10, by="account")

    @app.task(name="contact", limits=[provider])
    def contact(ctx: Context, account: str, number: int) -> None:
        starts.note((account, number))
        if (account, number) == ("a", 0) and len(starts) == 1:
            raise ctx.throttled("30s")

    contact.enqueue("a", 0)
    drain(app)
    app.enqueue_many([contact.call("a", 1), contact.call("b", 1)])
    drain(app, through="5m")
    assert sorted(starts) == [(("a", 0), 0.0), (("a", 0), 30.0), (("a", 1), 30.0), (("b", 1), 0.0)]
    assert app.client.find()[-1].failures == 0


def test_throttled_is_for_jobs_that_hold_the_limit():
    context = FakeContext(limits=[("provider", "acme"), ("all", "")])
    snooze = context.throttled(5, limit="provider")
    assert isinstance(snooze, Snooze)
    assert [(name, value) for _, name, value in context.recorder.notes] == [("provider\nacme", "5.000000")]
    context.throttled(5)
    assert len(context.recorder.notes) == 3
    with pytest.raises(InvalidOption, match="holds no such limit"):
        context.throttled(5, limit="other")


def test_code_declares_and_an_operator_has_the_last_word(app):
    app.limit("provider", rate="100/min", burst=20, breaker=Breaker(probes=3))
    limits = app.client.limits
    with pytest.raises(UnknownLimit):
        limits.set("stranger", rate="1/s")
    assert declare(app) == ["provider"]
    assert declare(app) == []
    limits.set("provider", rate="5/s")
    (view,) = limits.list()
    assert (view.rate, view.burst, view.set_by, view.declared) == ("5/s", 20, app.client.actor, "100/min, burst 20")
    assert declare(app) == []
    assert limits.list()[0].rate == "5/s"
    assert limits.reset("provider")
    assert not limits.reset("provider")
    (view,) = limits.list()
    assert (view.rate, view.set_by) == ("100/min", None)


def test_a_new_declaration_goes_to_the_store_but_not_over_an_operators(app):
    app.limit("provider", rate="100/min")
    declare(app)
    app.limits.clear()
    app.limit("provider", rate="50/min")
    assert declare(app) == ["provider"]
    assert app.client.limits.list()[0].rate == "50/min"
    app.client.limits.set("provider", concurrency=3)
    app.limits.clear()
    app.limit("provider", rate="20/min")
    assert declare(app) == ["provider"]
    (view,) = app.client.limits.list()
    assert (view.rate, view.concurrency, view.declared) == ("50/min", 3, "20/min, burst 1")
    app.client.limits.reset("provider")
    (view,) = app.client.limits.list()
    assert (view.rate, view.concurrency) == ("20/min", None)


def test_an_operator_opens_and_closes_a_breaker(app, starts):
    provider = app.limit("provider", concurrency=10)

    @app.task(name="contact", limits=[provider])
    def contact(number: int) -> None:
        starts.note(number)

    declare(app)
    app.client.limits.open("provider", duration="1m", reason="they asked us to")
    (view,) = app.client.limits.list()
    assert (view.breaker, view.why, view.opened_by) == ("open", "they asked us to", app.client.actor)
    contact.enqueue(1)
    drain(app, through="30s")
    assert starts == []
    drain(app, through="5m")
    assert starts == [(1, 60.0)]
    assert app.client.limits.list()[0].breaker == "half open"
    assert app.client.limits.close("provider")
    assert not app.client.limits.close("provider")
    app.client.limits.open("provider")
    contact.enqueue(2)
    drain(app, through="5m")
    assert app.client.limits.list()[0].open_until is None
    app.client.limits.close("provider")
    drain(app, through="1s")
    assert [what for what, _ in starts] == [1, 2]


@pytest.mark.parametrize(
    "words",
    [{}, {"rate": "often"}, {"burst": 0}, {"concurrency": 0}, {"concurrency": "many"}],
)
def test_a_change_that_means_nothing_is_refused(app, words):
    app.limit("provider", rate="1/s")
    with pytest.raises(InvalidOption):
        app.client.limits.set("provider", **words)


def test_a_limit_may_be_lifted(app):
    app.limit("provider", rate="1/s", concurrency=3)
    app.client.limits.set("provider", rate="unlimited", concurrency="unlimited")
    (view,) = app.client.limits.list()
    assert (view.rate, view.concurrency, view.declared) == (None, None, "1/s, burst 1; 3 at once")


def test_the_awaitable_twins_of_limits(app):
    app.limit("provider", rate="1/s")

    async def body():
        limits = app.client.limits
        await limits.aset("provider", rate="2/s")
        await limits.aopen("provider")
        (view,) = await limits.alist()
        assert await limits.akeys("provider") == []
        return view, await limits.aclose("provider"), await limits.areset("provider")

    view, closed, reset = asyncio.run(body())
    assert (view.rate, view.breaker, closed, reset) == ("2/s", "open", True, True)


def test_a_paused_key_and_a_paused_task_wait(app, starts):
    provider = app.limit("provider", concurrency=10, by="account")

    @app.task(name="contact", limits=[provider])
    def contact(account: str) -> None:
        starts.note(account)

    @app.task(name="other")
    def other() -> None:
        starts.note("other")

    app.client.pause(limit="provider", key="a")
    app.client.pause(task=other.name)
    app.enqueue_many([contact.call("a"), contact.call("b"), other.call()])
    drain(app)
    assert [what for what, _ in starts] == ["b"]
    app.client.resume(limit="provider", key="a")
    app.client.resume(task=other.name)
    drain(app)
    assert sorted(what for what, _ in starts) == ["a", "b", "other"]


def test_tenants_take_turns(app, starts):
    @app.task(name="work", fair_by="tenant")
    def work(tenant: str, number: int) -> None:
        starts.note((tenant, number))

    app.enqueue_many([work.call("flood", number) for number in range(50)])
    app.enqueue_many([work.call("small", number) for number in range(3)])
    drain(app)
    assert max(place for place, (what, _) in enumerate(starts) if what[0] == "small") < 10


def test_a_retry_that_asks_for_its_own_delay_waits_at_the_limit_as_well(app, starts):
    provider = app.limit("provider", rate="1/min")

    @app.task(name="contact", limits=[provider])
    def contact(ctx: Context, number: int) -> None:
        starts.note(number)
        if ctx.failures == 0:
            raise Retry(after=1)

    contact.enqueue(1)
    drain(app, through="5m")
    assert starts == [(1, 0.0), (1, 60.0)]
