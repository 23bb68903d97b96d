"""Commands as processes: a real worker, a real wait, real signals."""

import json
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

PATIENCE = 60.0


def treadle(*args: str, **more) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "treadle", *args], capture_output=True, text=True, timeout=PATIENCE, check=False, **more
    )


@contextmanager
def serving(folder, *args: str):
    """`treadle` with these words in the background, until the block ends; then it must leave in peace."""
    with (folder / "serving.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "treadle", *args], stdout=log, stderr=log, cwd=folder)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        try:
            code = process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    assert code == 0, (folder / "serving.log").read_text()


def until(condition, process=None) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert process is None or process.poll() is None
        assert time.monotonic() < end
        threading.Event().wait(0.05)


def test_a_job_is_enqueued_run_and_waited_for(folder) -> None:
    with serving(folder, "worker", "tasks", "--queue", "default:2"):
        good = treadle("enqueue", "tasks.hello", '{"name": "Ada"}', "--wait", "--timeout", "50s")
        assert (good.returncode, good.stdout) == (0, "hi Ada\n"), good.stderr
        bad = treadle("enqueue", "tasks.fail", '{"message": "on purpose"}', "--wait", "--timeout", "50s", "--json")
        assert bad.returncode == 1
        assert json.loads(bad.stdout)["state"] == "dead"
        assert "on purpose" in bad.stderr
        unstorable = treadle("enqueue", "tasks.unstorable", "--wait", "--timeout", "50s", "--json")
        assert unstorable.returncode == 1
        assert json.loads(unstorable.stdout)["dead"]["cause"] == "invalid"
        (worker,) = json.loads(treadle("workers", "--json").stdout)
        assert worker["live"]
        assert worker["queues"] == ["default"]
        assert treadle("health", "--worker").returncode == 0


def test_a_worker_serves_the_namespace_that_was_said(folder) -> None:
    with serving(folder, "worker", "tasks", "--namespace", "shop"):
        good = treadle("enqueue", "tasks.hello", '{"name": "Ada"}', "--namespace", "shop", "--wait", "--timeout", "50s")
        assert (good.returncode, good.stdout) == (0, "hi Ada\n"), good.stderr
        assert treadle("health", "--worker").returncode == 1
        assert treadle("health", "--worker", "--namespace", "shop").returncode == 0


def test_dev_names_the_database_and_takes_up_changes(folder) -> None:
    log = folder / "serving.log"
    with serving(folder, "dev", "tasks") as process:
        first = treadle("enqueue", "tasks.hello", '{"name": "Ada"}', "--wait", "--timeout", "50s")
        assert first.stdout == "hi Ada\n", first.stderr
        assert str(folder / "treadle.db") in log.read_text()
        source = folder / "tasks.py"
        source.write_text(source.read_text().replace("hi {name}", "good day {name}"))
        until(lambda: log.read_text().count("worker ready") == 2, process)
        second = treadle("enqueue", "tasks.hello", '{"name": "Ada"}', "--wait", "--timeout", "50s")
        assert second.stdout == "good day Ada\n", second.stderr
    assert "changed:  tasks.py" in log.read_text()


def test_dev_says_that_the_version_before_goes_on_when_a_change_does_not_import(folder) -> None:
    log, source = folder / "serving.log", folder / "tasks.py"
    sound = source.read_text()
    with serving(folder, "dev", "tasks") as process:
        until(lambda: "worker ready" in log.read_text(), process)
        source.write_text(sound + "def broken(:\n")
        until(lambda: "goes on serving" in log.read_text(), process)
        assert log.read_text().index("SyntaxError") < log.read_text().index("the version before goes on serving")
        source.write_text(sound)
        first = treadle("enqueue", "tasks.hello", '{"name": "Ada"}', "--wait", "--timeout", "50s")
        assert first.stdout == "hi Ada\n", first.stderr


def test_dev_serves_every_queue_that_a_task_names_also_after_a_change(folder) -> None:
    log, source = folder / "serving.log", folder / "tasks.py"
    source.write_text(source.read_text().replace("@app.task\ndef hello", '@app.task(queue="mail")\ndef hello'))
    with serving(folder, "dev", "tasks") as process:
        first = treadle("enqueue", "tasks.hello", '{"name": "Ada"}', "--wait", "--timeout", "50s")
        assert first.stdout == "hi Ada\n", first.stderr
        source.write_text(source.read_text().replace('queue="mail"', 'queue="post"'))
        until(lambda: log.read_text().count("worker ready") == 2, process)
        second = treadle("enqueue", "tasks.hello", '{"name": "Bo"}', "--wait", "--timeout", "50s")
        assert second.stdout == "hi Bo\n", second.stderr


def test_a_worker_says_which_queues_of_its_module_it_leaves(folder) -> None:
    source = folder / "tasks.py"
    source.write_text(source.read_text().replace("@app.task\ndef hello", '@app.task(queue="mail")\ndef hello'))
    log = folder / "serving.log"
    for words, said in (([], True), (["-q", "default"], False), (["-q", "mail"], False)):
        with serving(folder, "worker", "tasks", *words) as process:
            until(lambda: "worker ready" in log.read_text(), process)
        assert ("not served: queue mail. Add --queue default --queue mail." in log.read_text()) is said


def test_a_worker_leaves_with_code_2_when_its_module_does_not_import(folder) -> None:
    (folder / "tasks.py").write_text("raise RuntimeError('not today')\n")
    for words in (["worker", "tasks"], ["dev", "tasks"]):
        answer = treadle(*words)
        assert answer.returncode == 2
        assert "RuntimeError: not today" in answer.stderr
        assert "treadle/cli" not in answer.stderr
