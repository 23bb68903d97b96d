"""What the command line says of jobs that wait under flow control, and forgetting a limit."""

import pytest

from treadle import GiveUp, Ordered, Treadle, Unique
from treadle.testing import drain


@pytest.fixture
def app(folder):
    app = Treadle()
    yield app
    app.close()


@pytest.fixture
def held(app):
    """Two jobs at a paused key of a limit."""
    provider = app.limit("provider", rate="100/min", by="account")

    @app.task(name="contact", limits=[provider], costs={"provider": 2})
    def contact(account: str) -> None: ...

    app.client.pause(limit="provider", key="acme", reason="month's end")
    jobs = [contact.enqueue("acme") for _ in range(2)]
    drain(app)
    return jobs


def checks(command):
    return [each["message"] for each in command("doctor", "--json").json["checks"] if each["name"] == "held jobs"]


def test_a_job_at_a_paused_key(command, app, held):
    why = f"key acme of limit provider is paused by {app.client.actor}: month's end"
    shown = command("jobs", "show", held[0].id).out.splitlines()
    assert "state      blocked on key" in shown
    assert "limit      provider, key acme, cost 2" in shown
    assert f"obstacle   {why}" in shown
    assert "cure       End that with `treadle limits resume provider acme`." in shown
    assert why in command("jobs", "list").out
    told = command("jobs", "show", held[0].id, "--json").json
    assert told["obstacle"] == why
    assert told["waits_for"] == {
        "cure": "End that with `treadle limits resume provider acme`.",
        "limit": "provider",
        "key": "acme",
        "ordering": None,
        "behind": None,
        "state": None,
    }
    assert told["limits"] == [{"limit": "provider", "key": "acme", "cost": 2}]
    assert (told["ordering"], told["stops"]) == (None, False)
    assert checks(command) == [f"2 jobs wait: {why}. End that with `treadle limits resume provider acme`."]


def test_paused_keys_are_listed(command, app, held):
    who = app.client.actor
    assert f"acme by {who}: month's end" in command("limits", "list").out
    (limit,) = command("limits", "list", "--json").json
    assert limit["paused"] == [{"key": "acme", "by": who, "why": "month's end"}]
    assert f"by {who}: month's end" in command("limits", "keys", "provider").out
    (key,) = command("limits", "keys", "provider", "--json").json
    assert key == {
        "key": "acme",
        "running": 0,
        "waiting": 2,
        "looked_at": None,
        "paused": {"by": who, "why": "month's end"},
    }


def test_queues_say_how_long_what_is_blocked_has_waited(command, app, held):
    (queue,) = command("queues", "list", "--json").json
    assert (queue["depth"]["blocked"], queue["oldest"]) == (2, None)
    assert queue["oldest_blocked"] >= 0
    assert "oldest blocked" in command("queues", "list").out.splitlines()[0].lower()


def test_a_limit_is_forgotten(command, app, held, monkeypatch):
    refused = command("limits", "forget", "provider")
    assert refused.code == 2
    assert "forget limit provider: 2 jobs that wait there go on without it" in refused.err
    rehearsed = command("limits", "forget", "provider", "--dry-run")
    assert (rehearsed.code, rehearsed.out) == (
        0,
        "would forget limit provider: 2 jobs that wait there go on without it.\n",
    )
    assert len(command("limits", "list", "--json").json) == 1
    done = command("limits", "forget", "provider", "--yes")
    assert done.code == 0
    assert done.out.startswith("provider is forgotten: 2 jobs that wait there go on without it.")
    assert command("limits", "list", "--json").json == []
    assert command("limits", "forget", "provider", "--yes").code == 3
    app.session.run(app.store.engine.promote())
    assert {job["state"] for job in command("jobs", "list", "--json").json} == {"queued"}


def test_the_twin_of_a_dead_letter_that_stops_its_order(command, app):
    @app.task(name="post", ordered_by=Ordered("account", on_dead="stop"), unique=Unique(by="account"))
    def post(account: str) -> None:
        raise GiveUp("no such account")

    head = post.enqueue("acme")
    drain(app)
    twin = post.enqueue("acme")
    drain(app)
    shown = command("jobs", "show", twin.id).out
    why = f"behind dead letter {head.id}, which stops order post acme"
    assert f"obstacle   {why}" in shown
    cure = (
        f"Resolve it (`treadle dead resolve {head.id}`), and job {twin.id}, which has its unique key by now, runs in its stead"
        f"; or cancel that one first (`treadle jobs cancel {twin.id}`)."
    )
    assert f"cure       {cure}" in shown
    assert checks(command) == [f"1 job waits: {why}. {cure}"]

    for group in ("dead", "jobs"):
        of_head = command(group, "show", head.id)
        assert "order      post acme, which it stops until it is resolved\n" in of_head.out
        assert f"obstacle   job {twin.id}, which stands behind this letter, has its unique key\n" in of_head.out
        assert f"cure       {cure}\n" in of_head.out
    assert command("dead", "show", head.id, "--json").json["stops"] is True
    assert "treadle dead replay" not in command("jobs", "list").out

    refused = command("dead", "replay", head.id, "--yes")
    assert refused.code == 1
    left = f"left alone: {head.id} is dead, and {twin.id} has its unique key."
    assert f"{left} {cure}" in refused.err
    assert "wait for its end" not in command("jobs", "retry", head.id, "--yes").err
    assert command("dead", "resolve", head.id, "--yes").code == 0
    assert command("jobs", "show", twin.id, "--json").json["state"] == "queued"
