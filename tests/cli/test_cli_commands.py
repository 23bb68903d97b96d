"""Each command: what it prints, what it answers in JSON, what it exits with, and what it refuses to do."""

import re
import secrets
import sys
from datetime import timedelta

import click
import pytest

from treadle.cli.main import _COMMANDS, treadle
from treadle.model.job import Want, WorkerInfo
from treadle.testing.draining import drain

UNKNOWN = "01890000-0000-7000-8000-000000000000"
ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def every_command() -> list[list[str]]:
    """All commands and sub-commands, as words."""
    found = []
    for name in _COMMANDS:
        each = treadle.get_command(click.Context(treadle), name)
        found.append([name])
        if isinstance(each, click.Group):
            found += [[name, sub] for sub in each.commands]
    return found


@pytest.mark.parametrize("words", every_command(), ids=" ".join)
def test_every_command_explains_itself(command, words) -> None:
    answer = command(*words, "--help")
    assert answer.code == 0
    assert answer.out.startswith("Usage: treadle ")


def test_the_help_lists_the_commands_and_the_exit_codes(command) -> None:
    answer = command("--help")
    assert all(f"  {name}" in answer.out for name in _COMMANDS)
    assert "Exit codes:" in answer.out
    assert "130" in answer.out


def test_the_version(command) -> None:
    assert re.fullmatch(r"treadle \d+\.\d+\.\d+\n", command("--version").out)


def test_a_group_alone_shows_its_help(command) -> None:
    assert "cancel" in (answer := command("jobs")).out + answer.err
    assert answer.code in (0, 2)


READS = [["jobs", "list"], ["dead", "list"], ["queues", "list"], ["workers"], ["doctor"], ["jobs", "show", UNKNOWN]]


@pytest.mark.parametrize("words", READS, ids=" ".join)
def test_looking_at_a_missing_store_is_an_error_and_makes_no_file(command, folder, words) -> None:
    answer = command(*words)
    assert answer.code == 5
    assert answer.err.count("\n") == 1
    assert str(folder / "treadle.db") in answer.err
    assert not (folder / "treadle.db").exists()


@pytest.mark.parametrize("words", [each for each in READS if UNKNOWN not in each], ids=" ".join)
def test_every_read_speaks_json_and_names_the_store_aside(command, folder, app, words) -> None:
    app.enqueue("tasks.hello", {"name": "Ada"})
    answer = command(*words, "--json")
    assert answer.code == 0
    assert answer.json is not None
    assert answer.err == f"store: {folder / 'treadle.db'}\n"


def test_an_enqueued_job_is_listed_and_shown(command) -> None:
    answer = command(
        "enqueue", "tasks.hello", '{"name": "Ada"}', "--priority", "5", "--tag", "t", "--key", "k", "--delay", "1h"
    )
    assert answer.code == 0
    (id_,) = ID.findall(answer.out)
    (job,) = command("jobs", "list", "--tag", "t", "--json").json
    wanted = {"id": id_, "state": "scheduled", "task": "tasks.hello", "args": {"name": "Ada"}, "priority": 5, "key": "k"}
    assert {name: job[name] for name in wanted} == wanted
    assert command("jobs", "list", "--state", "queued", "--json").json == []
    assert command("jobs", "list", "--older", "1h", "--json").json == []
    for narrow in (["--state", "scheduled"], ["--queue", "default"], ["--key", "k"], ["--newer", "1h"]):
        assert [each["id"] for each in command("jobs", "list", *narrow, "--json").json] == [id_]
    assert command("jobs", "list", "--tag", "other", "--json").json == []
    assert command("jobs", "list", "--tag", "other").out == "No such jobs.\n"
    assert id_ in command("jobs", "list").out
    shown = command("jobs", "show", id_)
    assert "tasks.hello" in shown.out
    assert command("jobs", "show", id_, "--json").json["attempts"] == []


def test_enqueue_warns_when_nobody_has_ever_served(command, caplog) -> None:
    command("enqueue", "tasks.hello", '{"name": "Ada"}')
    assert "no worker has ever served" in caplog.text


def serving(app, queues, tasks) -> str:
    """A live worker's lease, as far as others can see it."""
    lease = secrets.token_hex(16)
    app.session.run(app.store.engine.renew(lease, 0, 600.0, worker=WorkerInfo("host:1", "host", 1, queues, tasks, 4)))
    return lease


def test_a_job_that_nobody_takes_says_why(command, app) -> None:
    job = app.enqueue("tasks.hello", {"name": "Ada"})
    later = app.call("tasks.hello", {"name": "Bo"}).options(delay="1h").enqueue()

    def said() -> str:
        shown = command("jobs", "show", job.id)
        listed = command("jobs", "list").out
        reason = command("jobs", "show", job.id, "--json").json["obstacle"]
        if reason is None:
            assert "obstacle" not in shown.out
            return ""
        assert re.search(f"^obstacle +{re.escape(reason)}$", shown.out, re.MULTILINE)
        assert reason in listed
        assert command("jobs", "list", "--state", "queued", "--json").json[0]["obstacle"] == reason
        return reason

    assert said() == "no worker is alive"
    serving(app, ("mail",), ("tasks.hello",))
    assert said() == "no live worker serves queue default"
    serving(app, ("default",), ("tasks.fail",))
    assert said() == "no live worker of queue default knows this task"
    serving(app, ("default",), ("tasks.hello",))
    assert said() == ""
    command("queues", "pause", "default", "--reason", "the bank is down")
    assert said() == f"queue default is paused by {app.client.actor}: the bank is down"
    assert command("jobs", "show", later.id, "--json").json["obstacle"] is None


def test_pausing_a_queue_that_nobody_knows_says_so(command, app) -> None:
    app.enqueue("tasks.hello", {"name": "Ada"})
    serving(app, ("mail",), ())
    for name, known in (("default", True), ("mail", True), ("defualt", False)):
        answer = command("queues", "pause", name)
        assert answer.code == 0
        assert answer.out == f"{name} is paused.\n"
        assert ("no job and no live worker" in answer.err) is not known


def test_cancelling_a_running_job_says_that_it_is_asked(command, app) -> None:
    job = app.enqueue("tasks.hello", {"name": "Ada"})
    lease = serving(app, ("default",), ("tasks.hello",))
    app.session.run(app.store.engine.claim(lease, [Want("default", 1, 1)], ["tasks.hello"]))
    assert command("jobs", "cancel", job.id, "--yes").out == "cancel 1 job:\n  1 running, asked to stop\n"


def test_resolving_says_what_becomes_of_the_letters(command, app) -> None:
    app.enqueue("tasks.fail", {"message": "no"})
    drain(app)
    assert command("dead", "resolve", "--all", "--dry-run").out == "would resolve 1 dead letter:\n  1 open -> resolved\n"
    assert command("dead", "resolve", "--all", "--yes").out == "resolve 1 dead letter:\n  1 open -> resolved\n"


def test_an_unknown_job_is_not_found(command, app) -> None:
    app.enqueue("tasks.hello", {"name": "Ada"})
    for words in (["jobs", "show"], ["dead", "show"], ["jobs", "cancel", "--yes"], ["dead", "replay", "--yes"]):
        answer = command(*words, UNKNOWN)
        assert answer.code == 3, words
        assert UNKNOWN in answer.err


def test_waiting_gives_the_result_or_runs_out_of_patience(command, app) -> None:
    answer = command("enqueue", "tasks.hello", '{"name": "Ada"}', "--wait", "--timeout", "0")
    assert answer.code == 4
    assert "has not ended within" in answer.err
    answer = command("enqueue", "tasks.hello", '{"name": "Ada"}', "--wait", "--timeout", "0", "--json")
    assert answer.code == 4
    assert answer.json["state"] == "queued"


def test_cancelling_asks_first_and_counts(command, app, monkeypatch) -> None:
    jobs = [app.enqueue("tasks.hello", {"name": str(number)}) for number in range(3)]
    refused = command("jobs", "cancel", "--task", "tasks.hello")
    assert refused.code == 2
    assert "cancel 3 jobs" in refused.err
    assert "--yes" in refused.err
    dry = command("jobs", "cancel", "--task", "tasks.hello", "--dry-run", "--json")
    assert (dry.code, dry.json["changed"], dry.json["dry_run"]) == (0, 3, True)
    assert {job.state().value for job in jobs} == {"queued"}
    done = command("jobs", "cancel", "--state", "queued", "--yes", "--reason", "enough")
    assert done.code == 0
    assert "3 queued -> cancelled" in done.out
    assert {job.state().value for job in jobs} == {"cancelled"}
    assert jobs[0].job().reason == "enough"


@pytest.mark.parametrize(("said", "code", "state"), [("y\n", 0, "cancelled"), ("n\n", 1, "queued"), ("", 130, "queued")])
def test_on_a_terminal_the_question_is_asked(app, folder, monkeypatch, said, code, state) -> None:
    from click.testing import CliRunner

    import treadle.cli.confirm

    job = app.enqueue("tasks.hello", {"name": "Ada"})
    monkeypatch.setattr(treadle.cli.confirm, "_attended", lambda: True)
    answer = CliRunner().invoke(_as_program(), ["jobs", "cancel", job.id], input=said)
    assert "cancel 1 job" in answer.output
    assert (answer.exit_code, job.state().value) == (code, state)


def _as_program() -> click.Command:
    """The entry point as something that click's runner can run."""
    from treadle.cli.main import run

    @click.command(context_settings={"ignore_unknown_options": True})
    @click.argument("words", nargs=-1, type=click.UNPROCESSED)
    def program(words: tuple[str, ...]) -> None:
        sys.exit(run(list(words)))

    return program


def test_a_selection_is_needed_and_must_be_one(command, app) -> None:
    job = app.enqueue("tasks.hello", {"name": "Ada"})
    for words in (["jobs", "cancel"], ["jobs", "retry"], ["dead", "replay"], ["dead", "resolve"], ["dead", "purge"]):
        nothing = command(*words, "--yes")
        assert nothing.code == 2
        assert "Give ids, a filter, or --all." in nothing.err
        both = command(*words, "--yes", job.id, "--task", "tasks.hello")
        assert both.code == 2
        assert "cannot be mixed" in both.err
    assert job.state().value == "queued"


def test_a_job_that_has_ended_cannot_be_cancelled(command, app) -> None:
    job = app.enqueue("tasks.hello", {"name": "Ada"})
    drain(app)
    answer = command("jobs", "cancel", job.id, "--yes")
    assert answer.code == 1
    assert f"left alone: {job.id} is completed" in answer.err


def test_the_life_of_a_dead_letter(command, app) -> None:
    kept, gone = (app.enqueue("tasks.fail", {"message": f"\x1b[31m{number}"}) for number in range(2))
    drain(app)
    listed = command("dead", "list")
    assert "gave_up" in listed.out
    assert "\x1b" not in listed.out
    assert {each["dead"]["status"] for each in command("dead", "list", "--json").json} == {"open"}
    shown = command("dead", "show", kept.id)
    assert "in fail" in shown.out
    assert "\x1b" not in shown.out
    replayed = command("dead", "replay", kept.id, "--yes")
    assert replayed.code == 0
    assert "1 dead -> queued" in replayed.out
    assert command("dead", "show", kept.id).code == 3
    assert [each["id"] for each in command("dead", "list", "--status", "replayed", "--json").json] == [kept.id]
    assert command("dead", "resolve", gone.id, "--yes", "--note", "known").code == 0
    assert command("dead", "show", gone.id, "--json").json["dead"]["note"] == "known"
    assert command("dead", "list").out == "No such dead letters.\n"
    assert command("dead", "purge", "--all", "--yes", "--json").json["changed"] == 1
    assert command("jobs", "show", gone.id).code == 3


def test_a_command_about_the_dead_never_touches_the_living(command, app) -> None:
    job = app.enqueue("tasks.hello", {"name": "Ada"})
    for verb in ("replay", "resolve", "purge"):
        answer = command("dead", verb, job.id, "--yes")
        assert answer.code == 3
        assert "not a dead letter" in answer.err
        command("dead", verb, "--all", "--yes")
    assert job.state().value == "queued"


def test_a_dead_letter_is_replayed_with_new_arguments(command, app) -> None:
    job = app.enqueue("tasks.fail", {"message": "old"})
    drain(app)
    assert command("dead", "replay", job.id, "--yes", "--args", '{"message": "new"}').code == 2
    wrong = command("dead", "replay", job.id, "--yes", "--args", '{"message": 3}', "--app", "tasks")
    assert wrong.code == 2
    assert "message" in wrong.err
    right = command("dead", "replay", job.id, "--yes", "--args", '{"message": "new"}', "--app", "tasks")
    assert right.code == 0, right.err
    assert job.job().args == {"message": "new"}


def test_a_dead_job_is_retried(command, app) -> None:
    job = app.enqueue("tasks.fail", {"message": "no"})
    drain(app)
    answer = command("jobs", "retry", "--state", "dead", "--yes", "--json")
    assert answer.json["jobs"] == [{"id": job.id, "before": "dead", "after": "queued", "done": True, "holder": None}]


def test_a_queue_is_paused_and_resumed(command, app) -> None:
    app.enqueue("tasks.hello", {"name": "Ada"})
    assert command("queues", "pause", "default", "--reason", "lunch").code == 0
    (queue,) = command("queues", "list", "--json").json
    assert (queue["paused"], queue["paused_why"], queue["depth"]["queued"]) == (True, "lunch", 1)
    assert "lunch" in command("queues", "list").out
    assert command("queues", "resume", "default").code == 0
    assert command("queues", "resume", "default").code == 3


def test_health_says_what_is_wrong(command, app, folder) -> None:
    assert command("health").code == 1
    app.enqueue("tasks.hello", {"name": "Ada"})
    answer = command("health", "--json")
    assert (answer.code, answer.json["healthy"], answer.json["workers"]) == (0, True, 0)
    lonely = command("health", "--worker")
    assert lonely.code == 1
    assert "no live worker" in lonely.err
    (folder / "other.db").write_text("this is no database, whatever it is called " * 200)
    broken = command("health", "--url", "sqlite:///other.db", "--json")
    assert (broken.code, broken.json["healthy"]) == (1, False)


def test_doctor_examines_a_store(command, app) -> None:
    app.enqueue("tasks.hello", {"name": "Ada"})
    answer = command("doctor", "--json")
    assert answer.code == 0
    assert answer.json["healthy"]
    assert {"name", "level", "message"} == answer.json["checks"][0].keys()
    assert "durability: D2" in command("doctor").out


def queued(command) -> list[tuple[str, str]]:
    """What doctor finds about jobs that wait."""
    answer = command("doctor", "--json")
    assert answer.code == 0
    return [(each["level"], each["message"]) for each in answer.json["checks"] if each["name"] == "queued jobs"]


def test_doctor_says_which_jobs_nobody_takes_and_what_to_do(command, app) -> None:
    later = app.call("tasks.hello", {"name": "Bo"}).options(delay="1h").enqueue()
    assert [level for level, _ in queued(command)] == ["ok"]
    app.enqueue_many([app.call("tasks.hello", {"name": str(number)}) for number in range(3)])
    app.enqueue("tasks.fail", {"message": "x"}, queue="mail")
    (many, one) = queued(command)
    assert many[0] == one[0] == "warning"
    assert "3 of tasks.hello in queue default" in many[1]
    assert "no worker is alive" in many[1]
    assert "1 of tasks.fail in queue mail" in one[1]
    assert "--queue mail" in one[1]
    serving(app, ("default",), ("tasks.fail",))
    many, one = queued(command)
    assert "no live worker of queue default knows this task" in many[1]
    assert "app.alias" in many[1]
    assert "no live worker serves queue mail" in one[1]
    app.client.pause("mail", "month's end")
    assert "treadle queues resume mail" in queued(command)[1][1]
    app.client.resume("mail")
    serving(app, ("default", "mail"), ("tasks.fail", "tasks.hello"))
    assert [level for level, _ in queued(command)] == ["ok"]
    assert later.cancel()


def test_doctor_names_the_most_numerous_of_many_kinds(command, app) -> None:
    for number in range(7):
        app.enqueue("tasks.fail", {"message": "x"}, queue=f"q{number}")
    app.enqueue("tasks.hello", {"name": "x"}, queue="q6")
    app.enqueue("tasks.fail", {"message": "y"}, queue="q5")
    found = queued(command)
    assert len(found) == 6
    assert "2 of tasks.fail in queue q5" in found[0][1]
    assert "3 more of 3 other kinds" in found[-1][1]


def test_doctor_looks_at_no_job_of_a_store_that_use_would_change(command, folder, monkeypatch) -> None:
    from treadle.engine.sqlite.store import SqliteStore

    command("migrate")
    monkeypatch.setattr(SqliteStore, "pending_migrations", lambda _: [("0009", "")])
    assert queued(command) == []


def test_migrate_plans_before_it_applies(command, folder) -> None:
    planned = command("migrate", "--plan", "--json").json
    assert planned["applied"] == []
    assert planned["pending"]
    assert "CREATE TABLE" in command("migrate", "--sql").out.upper()
    assert command("migrate", "--json").json == {"applied": planned["pending"], "pending": []}
    assert command("migrate").out == "The schema is up to date.\n"


def test_the_store_comes_from_the_option_then_the_environment(command, app, folder, monkeypatch) -> None:
    monkeypatch.setenv("TREADLE_URL", "sqlite:///from_env.db")
    assert str(folder / "from_env.db") in command("jobs", "list").err
    assert str(folder / "from_option.db") in command("jobs", "list", "--url", "sqlite:///from_option.db").err


@pytest.mark.parametrize(("delay", "seconds"), [("5m", 300), ("1.5", 1.5)])
def test_running_again_takes_a_delay_as_everything_does(command, app, delay, seconds) -> None:
    job = app.call("tasks.hello", {"name": "Ada"}).enqueue()
    assert job.cancel()
    assert command("jobs", "retry", job.id, "--yes", "--delay", delay).code == 0
    again = job.job()
    assert again.state.value == "scheduled"
    assert again.due_at is not None
    assert again.due_at - again.enqueued_at >= timedelta(seconds=seconds)
