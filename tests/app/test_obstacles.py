"""What an operator is told of jobs that wait under flow control: at which key, behind which job, and what to do about it."""

import pytest

from treadle import Context, GiveUp, Obstacle, OnDead, Ordered, Retry, State, Treadle, Unique, UnknownLimit
from treadle.app import obstacles
from treadle.model.job import Want, WorkerInfo
from treadle.testing import drain


@pytest.fixture
def app(treadle_app):
    return treadle_app


def obstacle(app, job) -> Obstacle | None:
    """What keeps a job, as `treadle jobs show` has it."""
    return app.client.obstacles([app.client.get(job.id)]).get(job.id)


@pytest.fixture
def contact(app):
    provider = app.limit("provider", rate="1/min", by="account")
    smtp = app.limit("smtp", concurrency=100)

    @app.task(name="contact", limits=[smtp, provider], costs={"smtp": 3})
    def contact(account: str) -> None:
        pass

    return contact


def test_at_which_key_of_which_limit_a_job_waits(app, contact):
    jobs = [contact.enqueue("acme") for _ in range(3)]
    drain(app)
    found = obstacle(app, jobs[2])
    assert (found.limit, found.key, found.behind, found.cure) == ("provider", "acme", None, "")
    assert found.why.startswith("key acme of limit provider: 1/min, burst 1, and 2 wait; the next may start at 20")
    job = app.client.get(jobs[2].id)
    assert [tuple(each) for each in job.limits] == [("smtp", "", 3), ("provider", "acme", 1)]
    assert app.client.obstacles(app.client.find()).keys() == {jobs[1].id, jobs[2].id}
    assert app.client.holdups() == []


def test_all_that_may_run_do(app):
    smtp = app.limit("smtp", concurrency=1)

    @app.task(name="send", limits=[smtp])
    def send(number: int) -> None: ...

    drain(app)
    jobs = [send.enqueue(number) for number in range(3)]
    engine = app.connection.engine
    app.connection.run(engine.renew("one", 0, 60.0, worker=WorkerInfo("w", "host", 1, ("default",), ("send",), 4)))
    app.connection.run(engine.claim("one", [Want("default", 5, 5)], ["send"], gated=5))
    assert obstacle(app, jobs[2]).why == "limit smtp: 1 run, which is as many as may, and 2 wait"


def test_a_paused_key_says_who_why_and_how_it_ends(app, contact):
    app.client.pause(limit="provider", key="new acme", reason="they asked us to")
    jobs = [contact.enqueue("new acme") for _ in range(2)]
    drain(app)
    who = app.client.actor
    found = obstacle(app, jobs[0])
    assert found.why == f"key new acme of limit provider is paused by {who}: they asked us to"
    assert found.cure == "End that with `treadle limits resume provider 'new acme'`."
    (view,) = [each for each in app.client.limits.list() if each.name == "provider"]
    assert view.paused == {"new acme": (who, "they asked us to")}
    assert [(each.key, each.waiting, each.paused) for each in app.client.limits.keys("provider")] == [
        ("new acme", 2, (who, "they asked us to"))
    ]
    assert [(each.count, each.why, each.cure) for each in app.client.holdups()] == [(2, found.why, found.cure)]
    app.client.resume(limit="provider", key="new acme")
    app.client.pause(limit="provider", key="idle")
    drain(app)
    assert [each.why for each in app.client.holdups()] == []
    assert {each.key: each.paused is not None for each in app.client.limits.keys("provider")} == {
        "idle": True,
        "new acme": False,
    }


def test_a_pause_of_a_limit_that_only_its_app_knows_is_listed(app):
    with pytest.raises(UnknownLimit, match="no worker has told this store of a limit of this name"):
        app.client.pause(limit="provdier", key="")
    app.limit("provdier", concurrency=1)
    app.client.pause(limit="provdier")
    (view,) = app.client.limits.list()
    assert (view.name, view.rate, view.declared, list(view.paused)) == ("provdier", None, None, [""])


def test_a_breaker_whose_time_is_over_is_half_open(app, contact, monkeypatch):
    drain(app)
    contact.enqueue("acme")
    drain(app)
    app.client.limits.open("smtp", duration="1h")
    job = contact.enqueue("acme")
    drain(app)
    now = obstacles.here()
    monkeypatch.setattr(obstacles, "here", lambda: now + 2 * 3600 * 1_000_000)
    assert obstacle(app, job).why == "the breaker of limit smtp is half open: 1 at a time may try, until one succeeds"


def test_a_breaker_says_who_opened_it_and_why(app, contact):
    job = contact.enqueue("acme")
    drain(app)
    assert job.job().state is State.COMPLETED
    app.client.limits.open("smtp", duration="1h", reason="they are down")
    job = contact.enqueue("acme")
    drain(app)
    found = obstacle(app, job)
    assert (found.limit, found.key) == ("smtp", None)
    assert found.why.startswith("the breaker of limit smtp is open until 20")
    assert found.why.endswith(f"Z, opened by {app.client.actor}: they are down")
    assert [each.count for each in app.client.holdups()] == [1]
    app.client.limits.open("smtp")
    assert obstacle(app, job).why == f"the breaker of limit smtp is open until it is closed, opened by {app.client.actor}"


@pytest.fixture
def post(app):
    @app.task(name="post", ordered_by=Ordered("account", on_dead="stop"), unique=Unique(by=("account", "number")))
    def post(ctx: Context, account: str, number: int) -> None:
        if number == 0:
            raise GiveUp("no such account")
        if number == 1 and ctx.failures == 0:
            raise Retry(after="1h")

    return post


def test_behind_a_dead_letter_that_stops_the_order(app, post):
    head = post.enqueue("acme", 0)
    jobs = [post.enqueue("acme", number) for number in (2, 3)]
    drain(app)
    found = obstacle(app, jobs[1])
    assert (found.ordering, found.behind, found.state) == ("post acme", head.id, State.DEAD)
    assert found.why == f"behind dead letter {head.id}, which stops order post acme"
    assert f"`treadle dead replay {head.id}`" in found.cure
    assert f"`treadle dead resolve {head.id}`" in found.cure
    assert [(each.count, each.why) for each in app.client.holdups()] == [(2, found.why)]
    assert app.client.get(jobs[1].id).ordering == "post acme"


def test_the_newer_twin_of_a_dead_head_and_a_replay_of_it(app, post):
    """Each waits for the other: the twin for its turn, the replay for the unique key. Either way out works."""
    for way_out in ("resolve", "cancel"):
        head = post.enqueue("acme", 0)
        drain(app)
        twin = post.enqueue("acme", 0)
        drain(app)
        assert (twin.id != head.id, obstacle(app, twin).behind) == (True, head.id)
        (refused,) = app.client.replay(head.id)
        assert (refused.done, refused.holder) == (False, twin.id)
        if way_out == "resolve":
            app.client.resolve(head.id)
            drain(app)
            assert app.client.get(twin.id).state is State.DEAD
            app.client.resolve(twin.id)
        else:
            app.client.cancel(twin.id)
            assert app.client.replay(head.id)[0].done


def test_behind_a_job_that_waits_itself(app, post):
    first, second = post.enqueue("acme", 1), post.enqueue("acme", 2)
    drain(app)
    assert obstacle(app, second).why == f"behind job {first.id} of order post acme, which is retrying"
    assert app.client.holdups() == []
    provider = app.limit("provider", concurrency=1)
    app.client.pause(limit="provider", reason="closed")

    @app.task(name="slow", ordered_by="account", limits=[provider])
    def slow(account: str) -> None: ...

    first, second = slow.enqueue("acme"), slow.enqueue("acme")
    drain(app)
    found = obstacle(app, second)
    assert found.why == (
        f"behind job {first.id} of order slow acme, which is blocked: limit provider is paused by {app.client.actor}: closed"
    )
    assert found.cure == "End that with `treadle limits resume provider`."


def test_behind_the_first_in_line_that_nobody_takes(app, post):
    first = post.enqueue("acme", 1)
    drain(app)
    second = post.enqueue("acme", 2)
    drain(app)
    app.client.retry(first.id)
    assert obstacle(app, second).why == f"behind job {first.id} of order post acme, which is queued: no worker is alive"


def test_a_parent_that_is_a_dead_letter(app, post):
    parent = post.enqueue("acme", 0)
    child = post.options(after=[parent]).enqueue("other", 5)
    assert obstacle(app, child) is None
    drain(app)
    found = obstacle(app, child)
    assert (found.why, found.behind) == (f"its parent {parent.id} is a dead letter", parent.id)
    assert OnDead.HOLD in [each.on_dead for each in app.client.get(child.id).parents]


def test_a_limit_that_is_forgotten_lets_its_jobs_go(app, contact):
    jobs = [contact.enqueue("acme") for _ in range(5)]
    app.client.pause(limit="provider", key="other")
    drain(app)
    assert app.client.limits.forget("provider", dry_run=True) == 4
    assert [each.name for each in app.client.limits.list()] == ["provider", "smtp"]
    assert app.client.limits.forget("provider") == 4
    assert [each.name for each in app.client.limits.list()] == ["smtp"]

    later = Treadle(app.url, allow_volatile=True)
    later.connection.exchange((app.store, app.session))
    later.task(name="contact")(_contact)
    drain(later)
    assert {each.job().state for each in jobs} == {State.COMPLETED}
    with pytest.raises(UnknownLimit):
        app.client.limits.forget("provider")


def _contact(account: str) -> None: ...


def test_the_oldest_that_is_blocked_is_told_by_queue(app, contact):
    contact.enqueue("acme")
    drain(app)
    assert app.client.queues() == []
    contact.enqueue("acme")
    drain(app)
    (queue,) = app.client.queues()
    assert (queue.oldest, queue.depth) == (None, {State.BLOCKED: 1})
    assert queue.oldest_blocked is not None


def test_all_who_wait_behind_a_letter_that_its_twin_keeps_are_told_the_way_on(app, post):
    head = post.enqueue("acme", 0)
    drain(app)
    third, twin = post.enqueue("acme", 2), post.enqueue("acme", 0)
    assert obstacle(app, head).behind == twin.id  # which no claim has seen yet
    drain(app)
    cures = {obstacle(app, each).cure for each in (third, twin, head)} | {each.cure for each in app.client.holdups()}
    (cure,) = cures
    assert cure.startswith(f"Resolve it (`treadle dead resolve {head.id}`), and job {twin.id}")
    assert "replay" not in cure
    app.client.cancel(twin.id)
    assert obstacle(app, head) is None
    assert f"`treadle dead replay {head.id}`" in obstacle(app, third).cure


def test_a_twin_whose_rule_lets_the_letter_be_replayed_is_no_obstacle(app, post):
    running = post.options(unique=Unique(by=("account", "number"), during=("running",)))
    head = running.enqueue("acme", 0)
    drain(app)
    twin = running.enqueue("acme", 0)
    drain(app)
    assert obstacle(app, head) is None
    assert f"`treadle dead replay {head.id}`" in obstacle(app, twin).cure
    assert app.client.replay(head.id)[0].done
