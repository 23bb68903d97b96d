"""Bad input gets one message that names the value, the rule and the cure; nothing is stored, and no trace of ours is shown."""

import subprocess
import sys

import pytest

BAD = {
    "an argument of the wrong type": (["enqueue", "tasks.hello", '{"name": 7}'], 2, "name"),
    "an argument that does not exist": (["enqueue", "tasks.hello", '{"nom": "Ada"}'], 2, "nom"),
    "a missing argument": (["enqueue", "tasks.hello"], 2, "name"),
    "NaN": (["enqueue", "tasks.hello", '{"name": NaN}'], 2, "NaN is not JSON"),
    "no JSON at all": (["enqueue", "tasks.hello", "Ada"], 2, "must be JSON"),
    "a list": (["enqueue", "tasks.hello", '["Ada"]'], 2, "not a list"),
    "depth without end": (["enqueue", "tasks.hello", "[" * 100_000], 2, "nested too deeply"),
    "a payload beyond the cap": (["enqueue", "tasks.hello", '{"name": "' + "x" * 70_000 + '"}'], 2, "65"),
    "an unknown task": (["enqueue", "tasks.helo", "{}"], 2, "tasks.hello"),
    "a task without its module": (["enqueue", "hello", "{}"], 2, "--app"),
    "a module that is not there": (["enqueue", "missing.hello", "{}"], 2, "missing"),
    "a path instead of a module": (["worker", "./tasks.py"], 2, "without `.py`"),
    "an app that is not there": (["worker", "tasks:application"], 2, "application"),
    "a file instead of a module": (["dev", "tasks.py"], 2, "Write tasks,"),
    "a queue without a name": (["enqueue", "tasks.hello", '{"name": "a"}', "--queue", ""], 2, "'': this is not a queue name"),
    "a queue to serve that can hold no job": (["worker", "tasks", "--queue", "a b"], 2, "queue name"),
    "a tag that is no Unicode": (["jobs", "list", "--tag", "\udcff"], 2, "Unicode"),
    "a queue name that is none": (["enqueue", "tasks.hello", '{"name": "a"}', "--queue", "a b"], 2, "queue name"),
    "a weight that is none": (["worker", "tasks", "--queue", "default:many"], 2, "--queue name:weight"),
    "a queue named twice": (["worker", "tasks", "-q", "a", "-q", "a:2"], 2, "named twice"),
    "a priority out of range": (["enqueue", "tasks.hello", '{"name": "a"}', "--priority", "101"], 2, "-100 to 100"),
    "a delay that does not parse": (["enqueue", "tasks.hello", '{"name": "a"}', "--delay", "soon"], 2, "soon"),
    "a delay in the past": (["enqueue", "tasks.hello", '{"name": "a"}', "--delay", "-5"], 2, "-5"),
    "a delay that is no number": (["enqueue", "tasks.hello", '{"name": "a"}', "--delay", "nan"], 2, "nan"),
    "a grace that does not parse": (["worker", "tasks", "--grace", "5 parsecs"], 2, "5 parsecs"),
    "a log level that is none": (["worker", "tasks", "--log-level", "loud"], 2, "LOUD"),
    "an unknown scheme": (["jobs", "list", "--url", "oracle://here"], 2, "oracle"),
    "an unknown parameter": (["jobs", "list", "--url", "sqlite:///a.db?speed=high"], 2, "speed"),
    "a folder as a database": (["migrate", "--url", "sqlite:///folder"], 5, "folder"),
    "something else as a database": (["jobs", "list", "--url", "sqlite:///tasks.py"], 5, "tasks.py"),
    "an unknown option": (["jobs", "list", "--colour", "red"], 2, "--colour"),
    "an unknown state": (["jobs", "list", "--state", "lost"], 2, "lost"),
    "an unknown command": (["frobnicate"], 2, "No such command 'frobnicate'.\n"),
    "a command's name with a letter too few": (["job", "list"], 2, "No such command 'job'. Did you mean 'jobs'?"),
    "a command's name with letters swapped": (["shcedules"], 2, "Did you mean 'schedules'?"),
    "a command that another one has": (["list"], 2, "No such command 'list'.\n"),
    "a demo of nothing": (["demo", "folder"], 2, "no .py file"),
    "a demo of a file": (["demo", "tasks.py"], 2, "not a folder"),
}


@pytest.mark.parametrize("case", BAD, ids=str)
def test_bad_input_is_one_message_and_changes_nothing(command, folder, monkeypatch, case) -> None:
    (folder / "folder").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    words, code, said = BAD[case]
    answer = command(*words)
    assert answer.code == code, answer.err
    assert said in answer.err
    assert "Traceback" not in answer.err
    assert answer.out == ""
    assert not (folder / "treadle.db").exists()


def test_a_module_that_does_not_import_shows_its_own_traceback(command, folder) -> None:
    (folder / "broken_module.py").write_text("import json\n\n\ndef early():\n    return json.loads('{')\n\n\nearly()\n")
    answer = command("enqueue", "broken_module.task", "{}")
    assert answer.code == 2
    assert 'broken_module.py", line 8' in answer.err
    assert "JSONDecodeError" in answer.err
    assert "treadle/cli" not in answer.err
    assert "treadle/app" not in answer.err


def test_a_database_from_a_newer_schema_is_refused(command, app, folder) -> None:
    import apsw

    app.enqueue("tasks.hello", {"name": "Ada"})
    app.close()
    connection = apsw.Connection(str(folder / "treadle.db"))
    connection.execute("update treadle_meta set value = 999 where name = 'version'")
    connection.close()
    answer = command("jobs", "list")
    assert answer.code == 5, answer.out
    assert "Upgrade treadle" in answer.err


def test_a_reader_that_goes_away_is_no_error(folder, app) -> None:
    for number in range(200):
        app.enqueue("tasks.hello", {"name": str(number) * 50})
    line = f"'{sys.executable}' -m treadle jobs list --limit 200 --json 2>errors | head -n 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", line], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in (folder / "errors").read_text()


@pytest.mark.parametrize(
    "words", [("jobs", "show", "\udcff"), ("queues", "pause", "default", "--reason", "\udcff")], ids=" ".join
)
def test_what_is_no_unicode_is_refused_by_a_store_that_exists(command, words: tuple[str, ...]) -> None:
    assert command("migrate").code == 0
    answer = command(*words)
    assert (answer.code, answer.out) == (2, "")
    assert "no Unicode" in answer.err
    assert command("queues", "list", "--json").json == []
