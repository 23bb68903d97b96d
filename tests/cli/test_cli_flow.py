"""Limits, queues' words, pauses of tasks, deploys and the figure for scalers, from the command line."""

import shlex
from datetime import UTC, datetime

import pytest

from treadle import NO_RETRY, Treadle, Unique
from treadle.app.hours import keep_hours
from treadle.app.limitbook import declare_limits
from treadle.app.storetime import here
from treadle.testing import drain


@pytest.fixture
def app(folder):
    app = Treadle()
    yield app
    app.close()


@pytest.fixture
def provider(app):
    limit = app.limit("provider", rate="100/min", burst=20, concurrency=8, by="account")
    app.connection.run(declare_limits(app.connection.engine, app.limits.values()))
    return limit


def test_limits_are_listed_changed_and_reset(command, provider):
    assert command("limits", "list", "--json").json == [
        {
            "name": "provider",
            "rate": "100/min",
            "burst": 20,
            "strict": False,
            "concurrency": 8,
            "breaker": "closed",
            "open_until": None,
            "why": "",
            "opened_by": None,
            "set_by": None,
            "declared": "100/min, burst 20; 8 at once",
            "running": 0,
            "waiting": 0,
            "paused": [],
        }
    ]
    assert command("limits", "set", "provider", "--rate", "5/s", "--concurrency", "unlimited").out == (
        "provider: 5/s, burst 20; any number at once\n"
    )
    assert "code says 100/min" in command("limits", "list").out
    assert command("limits", "reset", "provider").code == 0
    assert command("limits", "reset", "provider").code == 3
    assert command("limits", "set", "stranger", "--rate", "5/s").code == 3
    assert command("limits", "set", "provider").code == 2
    assert command("limits", "keys", "provider", "--json").json == []
    assert command("limits", "keys", "provdier").code == 3


def test_a_change_of_a_limit_is_refused_in_the_words_of_the_command(command, provider):
    refused = command("limits", "set", "provider")
    assert (refused.code, "Say --rate, --burst, --strict or --even, or --concurrency." in refused.err) == (2, True)
    refused = command("limits", "set", "provider", "--strict", "--burst", "5")
    assert (refused.code, "a strict limit has no burst" in refused.err) == (2, True)
    assert "-1 is not in the range 0<=x<=1000000" in command("queues", "weight", "bulk", "-1").err


def test_a_key_of_a_limit_without_keys_is_not_paused(command, app):
    app.connection.run(declare_limits(app.connection.engine, [app.limit("whole", rate="1/s")]))
    refused = command("limits", "pause", "whole", "acme")
    assert (refused.code, "it has no keys" in refused.err) == (2, True)
    assert command("limits", "pause", "whole").code == 0


def test_a_cap_by_one_half_says_that_the_other_is_gone(command, provider):
    said = command("queues", "cap", "bulk", "--age", "5m")
    assert said.out == "cap of bulk: 300 s old: reject\n"
    assert "in place of the whole cap that code declares: say --depth too if code has one and it is to hold." in said.err
    assert "say --age too if code has one" in command("queues", "cap", "bulk", "--depth", "5").err
    assert "whole cap" not in command("queues", "cap", "bulk", "--age", "5m", "--depth", "5").err


def test_a_breaker_is_opened_and_closed(command, provider):
    assert command("limits", "open", "provider", "--for", "1h", "--reason", "they are down").code == 0
    (limit,) = command("limits", "list", "--json").json
    assert (limit["breaker"], limit["why"]) == ("open", "they are down")
    assert limit["open_until"].endswith("Z")
    assert command("limits", "close", "provider").code == 0
    assert command("limits", "close", "provider").code == 3


def test_keys_and_tasks_are_paused_and_resumed(command, provider):
    assert command("limits", "pause", "provider", "acme").out == "key acme of limit provider is paused.\n"
    assert command("limits", "resume", "provider", "acme").code == 0
    refused = command("limits", "pause", "provdier", "acme")
    assert (refused.code, refused.out) == (3, "")
    assert "provdier: no worker has told this store of a limit of this name. Look for its name" in refused.err
    assert command("limits", "resume", "provider").code == 3
    paused = command("tasks", "pause", "mail.send", "--reason", "smtp is down")
    assert (paused.code, paused.out) == (0, "task mail.send is paused.\n")
    assert "is that its name" in paused.err
    assert command("tasks", "resume", "mail.send").code == 0
    assert command("tasks", "resume", "mail.send").code == 3


def test_a_queue_is_capped_given_hours_and_a_share(command, provider):
    assert command("queues", "cap", "bulk", "--depth", "10", "--action", "shed").out == "cap of bulk: 10 jobs: shed\n"
    assert command("queues", "window", "bulk", "22:00-06:00", "--tz", "Europe/Paris").code == 0
    assert command("queues", "weight", "bulk", "7").code == 0
    (queue,) = command("queues", "list", "--json").json
    assert (queue["cap"], queue["window"], queue["weight"]) == ("10 jobs: shed", "22:00-06:00 Europe/Paris", 7)
    assert "cap 10 jobs: shed, hours 22:00-06:00 Europe/Paris, weight 7" in command("queues", "list").out
    command("queues", "cap", "bulk", "--declared")
    command("queues", "window", "bulk", "--none")
    command("queues", "weight", "bulk", "0")
    (queue,) = command("queues", "list", "--json").json
    assert (queue["cap"], queue["window"], queue["weight"]) == (None, "none", None)


@pytest.mark.parametrize(
    "words",
    [
        ["cap", "bulk"],
        ["cap", "bulk", "--depth", "3", "--none"],
        ["cap", "bulk", "--depth", "0"],
        ["cap", "b k", "--depth", "3"],
        ["window", "bulk"],
        ["window", "bulk", "at night"],
        ["window", "bulk", "22:00-06:00", "--tz", "Mars/Olympus"],
        ["cap", "bulk", "--age", "0s"],
        ["weight", "bulk", "-1"],
    ],
)
def test_what_means_nothing_is_bad_input(command, provider, words):
    assert command("queues", *words).code == 2


def test_a_deploy_is_checked_against_what_waits(command, app, folder):
    app.task(name="tasks.hello")(_older).enqueue(7)
    app.task(name="gone")(_gone).enqueue()
    answer = command("check-deploy", "tasks", "--json")
    assert answer.code == 1
    assert [(each["task"], each["count"]) for each in answer.json] == [("gone", 1), ("tasks.hello", 1)]
    assert "no task of this name" in command("check-deploy", "tasks").out
    app.client.cancel([each.id for each in app.client.find()])
    answer = command("check-deploy", "tasks")
    assert (answer.code, answer.out) == (0, "tasks can take every job that waits.\n")


def _older(name: int) -> None:
    pass


def _gone() -> None:
    pass


def test_the_figure_for_scalers(command, provider):
    figures = {"wanted": 0, "processes": 0, "slots": 0, "running": 0, "queued": 0, "age": 0, "blocked": 0, "paused": 0}
    assert command("scale", "--json").json == figures | {"executors": {}}
    assert command("scale", "--least", "2").out.startswith("2 worker processes wanted, 0 alive\n")
    refused = command("scale", "--least", "5", "--most", "3")
    assert refused.code == 2
    assert "--least 5 is more than --most 3" in refused.err


@pytest.mark.parametrize("words", ["0", "3:2", "x", "1:x", ":", "1:"])
def test_processes_that_cannot_be_are_refused(command, folder, words):
    assert command("worker", "tasks", "--processes", words).code == 2


def test_a_replay_says_who_has_the_unique_key(command, app):
    @app.task(name="charge", unique=Unique(by="order"), retry=NO_RETRY)
    def charge(order: int) -> None:
        raise ValueError(order)

    first = charge.enqueue(7)
    drain(app)
    second = charge.enqueue(7)
    answer = command("dead", "replay", first.id, "--yes")
    assert answer.code == 1
    assert f"left alone: {first.id} is dead, and {second.id} has its unique key" in answer.err
    (refused,) = command("dead", "replay", first.id, "--yes", "--json").json["jobs"]
    assert (refused["done"], refused["holder"]) == (False, second.id)
    command("jobs", "cancel", second.id, "--yes")
    assert command("dead", "replay", first.id, "--yes").code == 0


def test_waiting_jobs_are_given_another_priority(command, app):
    @app.task(name="hello")
    def hello(name: str) -> None: ...

    first, second, third = (hello.enqueue(name) for name in "abc")
    command("jobs", "cancel", third.id, "--yes")
    assert command("jobs", "prioritise", first.id).code == 2
    assert command("jobs", "prioritise", first.id, "--priority", "101").code == 2
    answer = command("jobs", "prioritise", first.id, third.id, "--priority", "50", "--yes")
    assert answer.code == 1
    assert "1 now of priority 50" in answer.out
    assert f"left alone: {third.id} is cancelled" in answer.err
    rehearsed = command("jobs", "prioritise", "--all", "--priority", "7", "--dry-run", "--json").json
    assert (rehearsed["dry_run"], rehearsed["changed"]) == (True, 2)
    assert command("jobs", "prioritise", "--queue", "default", "--priority", "7", "--yes", "--json").json["changed"] == 2
    assert [job.job().priority for job in (first, second, third)] == [7, 7, 0]


def test_a_queue_is_given_an_age(command, app):
    assert app.client.queues() == []
    assert command("queues", "age", "bulk", "10m").out == "age of bulk: 10m\n"
    (queue,) = command("queues", "list", "--json").json
    assert queue["age"] == 600.0
    assert "age 10m" in command("queues", "list").out
    assert command("queues", "age", "bulk", "--none").out == "age of bulk: none\n"
    assert command("queues", "list", "--json").json == []
    assert command("queues", "age", "bulk").code == 2
    assert command("queues", "age", "bulk", "soon").code == 2


def test_a_limit_that_has_keys_is_not_paused_without_one(command, provider):
    refused = command("limits", "pause", "provider")
    assert (refused.code, refused.out) == (2, "")
    rule = "provider: this limit has a key for each account, and none was named. Name the key to pause"
    assert rule in refused.err
    assert "stop all of it with `treadle limits open provider`" in refused.err
    assert command("limits", "list", "--json").json[0]["paused"] == []
    assert command("limits", "pause", "provider", "").out == "the empty key of limit provider is paused.\n"
    assert command("limits", "resume", "provider").out == "limit provider is resumed.\n"
    refused = command("limits", "resume", "provider", "")
    assert (refused.code, refused.err.splitlines()[-1]) == (3, "treadle: the empty key of limit provider was not paused.")


@pytest.mark.parametrize("key", ["-5", "-dash", "-h", "-"])
def test_a_key_may_begin_with_a_dash(command, provider, key):
    assert command("limits", "pause", "provider", key, "--reason", "why not").out == f"key {key} of limit provider is paused.\n"
    assert [each["key"] for each in command("limits", "keys", "provider", "--json").json] == [key]
    assert command("limits", "resume", "provider", key).code == 0


def test_a_key_that_begins_with_two_dashes_stands_behind_two(command, provider):
    for verb in ("pause", "resume"):
        refused = command("limits", verb, "provider", "--acme")
        assert refused.code == 2
        way = f"A key that begins so stands behind `--`: `treadle limits {verb} provider -- --acme`."
        assert f"No such option: --acme. {way}" in " ".join(refused.err.split())
        assert command("limits", verb, "provider", "--", "--acme").code == 0


def test_the_cure_of_a_key_that_begins_with_a_dash_can_be_typed(command, app, provider):
    contact = app.task(name="contact", limits=[provider])(_contact)
    job = contact.enqueue(-5)
    command("limits", "pause", "provider", "-5")
    drain(app)
    cure = command("jobs", "show", job.id, "--json").json["waits_for"]["cure"]
    assert cure == "End that with `treadle limits resume provider -- -5`."
    assert command(*shlex.split(cure.split("`")[1])[1:]).out == "key -5 of limit provider is resumed.\n"


def _contact(account: int) -> None: ...


def test_a_queue_that_only_its_hours_keep_closed_is_left_to_them(command, app):
    hour = datetime.now(UTC).hour
    window = f"{(hour + 2) % 24:02}:00-{(hour + 3) % 24:02}:00"
    app.client.describe("bulk", window=window)
    app.connection.run(keep_hours(app.connection.engine, {}, here()))
    refused = command("queues", "resume", "bulk")
    assert (refused.code, refused.out) == (2, "")
    assert (
        f"bulk: nobody has paused this queue: it is outside its hours, served {window} UTC. It opens by itself at 2"
        in refused.err
    )
    assert "`treadle queues window bulk --none`" in refused.err
    command("queues", "pause", "bulk", "--reason", "repairs")
    resumed = command("queues", "resume", "bulk")
    assert (resumed.code, resumed.out) == (0, "bulk is resumed.\n")
    assert f"its hours keep it closed until they begin: served {window} UTC." in resumed.err
    assert command("queues", "list", "--json").json[0]["paused_by"] == "its hours"


@pytest.mark.parametrize(
    "words", [["cap", "blk", "--depth", "3"], ["window", "blk", "1:00-2:00"], ["weight", "blk", "7"], ["age", "blk", "1m"]]
)
def test_what_is_said_of_a_queue_that_nobody_serves_gives_a_hint(command, provider, words):
    said = command("queues", *words)
    assert (said.code, said.out.count("blk")) == (0, 1)
    assert "no job and no live worker is of a queue blk: is that its name?" in said.err


def test_a_job_that_completed_after_a_replay_shows_no_death(command, app):
    calm = []

    @app.task(name="flaky", retry=NO_RETRY)
    def flaky() -> None:
        if not calm:
            raise ValueError("not yet")

    job = flaky.enqueue()
    drain(app)
    remark = "failed 1 of 1 times; last error: ValueError: not yet"
    assert command("jobs", "list").out.count(remark) == 1
    assert f"dead       {remark}" in command("jobs", "show", job.id).out
    assert "failed: failed" not in command("jobs", "list").out
    calm.append(True)
    app.client.replay(job.id)
    assert remark not in command("jobs", "list").out
    drain(app)
    listed = command("jobs", "list").out
    assert ("completed" in listed, "failed" in listed) == (True, False)
