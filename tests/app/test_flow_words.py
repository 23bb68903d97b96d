"""Limits, order, uniqueness and tenants as a task and a call say them: what reaches the engine, and what is refused."""

import dataclasses
from datetime import datetime

import pytest

from treadle import (
    Breaker,
    DefinitionError,
    InvalidOption,
    Limit,
    Ordered,
    Redacted,
    State,
    Tasks,
    Treadle,
    Unique,
    debounce,
    throttle,
)
from treadle.model import flow
from treadle.model.flow import Hold, Ordering


@pytest.fixture
def app(treadle_app):
    return treadle_app


@pytest.fixture
def stripe(app):
    return app.limit("stripe", rate="100/min", burst=20, concurrency=8, by="account")


def declare(app, **words):
    def charge(order: int, account: str = "house", when: datetime | None = None, note: Redacted[str] = "") -> None:
        pass

    return app.task(name="charge", **words)(charge)


def test_a_plain_job_carries_nothing(app):
    job = declare(app).call(1).to_job()
    assert (job.holds, job.ordering, job.unique, job.idempotency, job.fair, job.headers) == (
        (),
        None,
        None,
        None,
        None,
        '{"redacted":["note"]}',
    )


def test_a_limit_is_held_under_the_key_that_its_parameter_makes(app, stripe):
    charge = declare(app, limits=[stripe, app.limit("all", concurrency=100)], costs={"stripe": 3})
    job = charge.call(7, account="acme").to_job()
    assert job.holds == (Hold("stripe", "acme", 3), Hold("all", "", 1))
    assert '"limits":[["stripe","acme"],["all",""]]' in job.headers
    assert charge.settings.gated
    assert charge.settings.held == ("stripe", "all")


def test_a_default_makes_the_key_like_the_same_value_said(app, stripe):
    charge = declare(app, limits=[stripe])
    assert charge.call(7).to_job().holds == charge.call(7, account="house").to_job().holds == (Hold("stripe", "house", 1),)


@pytest.mark.parametrize(
    ("by", "args", "key"),
    [
        ("order", {"order": 7}, "7"),
        ("account", {"order": 7, "account": "a b"}, "a b"),
        ("account", {"order": 7, "account": "a\nb"}, '"a\\nb"'),
        (("account", "order"), {"order": 7}, '["house",7]'),
        ("when", {"order": 7}, "null"),
        ("when", {"order": 7, "when": "2036-01-01T00:00:00Z"}, "2036-01-01T00:00:00Z"),
        ("account", {"order": 7, "account": "é" * 100}, "é" * 100),
    ],
)
def test_the_text_of_a_key(app, by, args, key):
    charge = declare(app, ordered_by=by)
    job = charge.call_named(args, charge.call(1).said).to_job()
    assert job.ordering == Ordering(f"charge {key}")


def test_a_key_beyond_200_bytes_is_refused_at_enqueue(app, stripe):
    charge = declare(app, limits=[stripe])
    with pytest.raises(InvalidOption, match="201 bytes here, and a key has at most 200"):
        charge.enqueue(7, account="x" * 201)
    assert app.client.count() == []


def test_order_is_a_tasks_own_unless_tasks_name_a_group(app):
    charge = declare(app, ordered_by=Ordered("account", on_dead="stop", group="ledger"))
    assert charge.call(7).to_job().ordering == Ordering("ledger house", stop=True)
    assert charge.settings.gated


def test_unique_by_parameters_and_by_all_arguments(app):
    charge = declare(app, unique=Unique(by="order", during=("queued",), within="5m"))
    assert charge.call(7).to_job().unique == flow.Unique("charge 7", (State.QUEUED,), 300.0, flow.OnConflict.RETURN)
    whole = charge.options(unique=Unique())
    one = whole.call(7, account="house").to_job().unique.key
    assert one == whole.call(7).to_job().unique.key == whole.call(order=7).to_job().unique.key
    assert one != whole.call(8).to_job().unique.key
    assert one.startswith("charge ")


def test_debounce_waits_and_replaces_and_throttle_takes_the_first(app):
    job = declare(app, unique=debounce("10s", by="account")).call(7).to_job()
    assert job.delay == 10.0
    assert job.unique == flow.Unique("charge house", (State.SCHEDULED,), None, flow.OnConflict.REPLACE)
    charge = app.registry.expect("charge")
    assert charge.options(delay=3).call(7).to_job().delay == 3
    job = charge.options(unique=throttle("1m", by="account")).call(7).to_job()
    assert (job.delay, job.unique) == (None, flow.Unique("charge house", (), 60.0, flow.OnConflict.RETURN))


def test_an_idempotency_key_knows_its_payload_in_any_spelling(app):
    charge = declare(app)
    keyed = charge.options(idempotency_key="request-1")
    one, two = (each.to_job().idempotency for each in (keyed.call(7, account="a"), keyed.call(account="a", order=7)))
    assert one == two
    assert (one.key, one.ttl) == ("charge request-1", 86_400.0)
    assert keyed.call(8, account="a").to_job().idempotency.digest != one.digest


def test_a_tenant_is_named(app):
    assert declare(app, fair_by="account").call(7, account="acme").to_job().fair == "acme"


def test_one_call_may_say_otherwise_and_its_worker_hears_of_it(app, stripe):
    charge = declare(app, limits=[stripe], ordered_by="account")
    job = charge.options(limits=[], ordered_by=Ordered("order")).call(7).to_job()
    assert (job.holds, job.ordering) == ((), Ordering("charge 7"))
    settings = charge.settings_for(job.options)
    assert (settings.held, settings.gated) == ((), True)
    mail = app.limit("mail", rate="1/s")
    job = charge.options(limits=[mail], costs={"mail": 2}).call(7).options(priority=3).to_job()
    assert (job.holds, job.priority) == ((Hold("mail", "", 2),), 3)
    assert charge.settings_for(job.options).held == ("mail",)


def test_costs_of_limits_that_a_call_drops_are_dropped(app, stripe):
    charge = declare(app, limits=[stripe], costs={"stripe": 3})
    assert charge.options(limits=[]).call(7).to_job().holds == ()
    with pytest.raises(InvalidOption, match="costs names a limit"):
        charge.options(limits=[], costs={"stripe": 2}).call(7).to_job()


@pytest.mark.parametrize(
    "words",
    [
        {"limits": "stripe"},
        {"limits": ["stripe"]},
        {"limits": [Limit("a", concurrency=1), Limit("a", concurrency=1)]},
        {"limits": [Limit(f"l{n}", concurrency=1) for n in range(9)]},
        {"limits": [Limit("a", concurrency=1, by=("nothing",))]},
        {"limits": [Limit("a", concurrency=1, by=("note",))]},
        {"costs": {"stripe": 2}},
        {"limits": [Limit("a", concurrency=1)], "costs": {"a": 0}},
        {"limits": [Limit("a", concurrency=1)], "costs": 5},
        {"ordered_by": "nothing"},
        {"ordered_by": 5},
        {"ordered_by": ()},
        {"ordered_by": ("account", "account")},
        {"unique": True},
        {"unique": Unique(by="nothing")},
        {"unique": Unique(by="note")},
        {"fair_by": "nothing"},
    ],
)
def test_what_cannot_work_is_refused_when_the_task_is_declared(words):
    with pytest.raises(DefinitionError, match="charge"):
        declare(Treadle("memory://"), **words)


@pytest.mark.parametrize(
    "words",
    [
        {},
        {"rate": "often"},
        {"rate": "2000000/s"},
        {"rate": "1/s", "burst": 0},
        {"burst": 5, "concurrency": 1},
        {"rate": "1/s", "strict": True, "burst": 5},
        {"rate": "1/s", "strict": "yes"},
        {"concurrency": 0},
        {"concurrency": True},
        {"concurrency": 1, "by": 7},
        {"concurrency": 1, "breaker": 5},
        {"concurrency": 1, "window": 5},
    ],
)
def test_a_limit_that_cannot_work_is_refused(app, words):
    with pytest.raises(DefinitionError, match="limit stripe"):
        app.limit("stripe", **words)


@pytest.mark.parametrize("name", ["", "a b", "é", "a\n", "x" * 101])
def test_a_limits_name_is_plain(app, name):
    with pytest.raises(DefinitionError, match="not a limit's name"):
        app.limit(name, concurrency=1)


def test_one_name_means_one_limit(app, stripe):
    assert app.limit("stripe", rate="100/min", burst=20, concurrency=8, by="account") == stripe
    with pytest.raises(DefinitionError, match="two limits are called stripe"):
        app.limit("stripe", rate="99/min")


def test_a_librarys_limits_come_with_its_tasks(app):
    library = Tasks(prefix="mail")
    smtp = library.limit("smtp", concurrency=2, breaker=Breaker(3))

    @library.task(limits=[smtp])
    def send() -> None:
        pass

    app.attach(library)
    assert app.limits["smtp"] is smtp
    assert send.call().to_job().holds == (Hold("smtp", "", 1),)


@pytest.mark.parametrize(
    "words",
    [
        {"during": "soon"},
        {"during": ["soon"]},
        {"during": []},
        {"on_conflict": "wait"},
        {"by": []},
    ],
)
def test_a_rule_of_uniqueness_that_means_nothing_is_refused(words):
    with pytest.raises(InvalidOption):
        Unique(**words)


def test_rules_are_values():
    assert Unique(by="a") == Unique(by=("a",))
    assert Ordered("a") == Ordered(["a"])
    with pytest.raises(dataclasses.FrozenInstanceError):
        Unique().by = ("b",)
    with pytest.raises(InvalidOption, match="on_dead"):
        Ordered("a", on_dead="go")
    with pytest.raises(InvalidOption, match="a group"):
        Ordered("a", group="")
