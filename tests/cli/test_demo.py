"""The demo finishes a census, owns up to mistakes, survives being interrupted, and its last words are commands that work."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time

import pytest

from treadle.cli.census import show, verdict
from treadle.cli.census.inventory import broken_folder, take_inventory
from treadle.cli.census.progress import Desk, Run, begin, desk_for
from treadle.cli.census.watch import PlainScreen, Snapshot
from treadle.model.errors import BadInput
from treadle.model.state import State

PATIENCE = 120.0
BROKEN = len(list(broken_folder().glob("*.py")))


@pytest.fixture
def sources(tmp_path):
    """A folder of Python files, two of which do not parse."""
    folder = tmp_path / "some sources"
    for package in ("", "one", "two/deep"):
        (folder / package).mkdir(parents=True, exist_ok=True)
        for number in range(4):
            (folder / package / f"f{number}.py").write_text(f"def f(x):\n    return {number} if x else None\n")
    (folder / "bad.py").write_text("def f(:\n")
    (folder / "one" / "<b>bad.py").write_text("print 'x'\n")
    return folder


def demo(*args: str, **more) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "treadle", "demo", *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PATH": os.defpath},
        **more,
    )


def finished(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    try:
        out, err = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return process.returncode, out, err


def test_a_census_is_taken_and_its_last_words_work(sources, tmp_path) -> None:
    keep = tmp_path / "kept here"
    code, out, err = finished(demo(str(sources), "--exit", "--keep", str(keep)))
    assert code == 0, out + err
    assert f"refuses the same {BROKEN + 2} files" in out
    assert "6 files failed to be read at first" in out
    page = (keep / "report.html").read_text()
    assert "&lt;b&gt;bad.py" in page
    assert "<b>bad" not in page
    commands = re.findall(r"^  (\S+/treadle dead .*)$", out, re.MULTILINE)
    assert len(commands) == 2
    listed = _say(commands[0], "--json")
    assert len(json.loads(listed.stdout)) == BROKEN + 2
    assert {job["dead"]["cause"] for job in json.loads(listed.stdout)} == {"gave_up"}
    assert {job["failures"] for job in json.loads(listed.stdout)} <= {1, 2}  # 2: it also lay on the flaky disk
    replayed = _say(commands[1], "--yes", "--json")
    assert json.loads(replayed.stdout)["changed"] == BROKEN + 2
    again, out, err = finished(demo(str(sources), "--exit", "--keep", str(keep)))
    assert again == 0, out + err
    assert "starting census-" in out


def _say(line: str, *more: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([*shlex.split(line), *more], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    return done


def test_an_interrupted_census_goes_on_where_it_stopped(sources, tmp_path) -> None:
    for number in range(150):
        (sources / "two" / f"long{number}.py").write_text("def f(x):\n    return [y for y in x if y]\n" * 300)
    keep = tmp_path / "keep"
    first = demo(str(sources), "--exit", "--keep", str(keep))
    desk = Desk(keep)
    end = time.monotonic() + PATIENCE
    while "serves packages, files" not in (desk.log.read_text() if desk.log.exists() else ""):
        assert first.poll() is None
        assert time.monotonic() < end
        threading.Event().wait(0.02)
    first.send_signal(signal.SIGINT)
    code, out, err = finished(first)
    assert code == 130, out + err
    assert "Start the same command again" in out
    before = desk.load()
    assert before is not None
    assert not before.finished
    code, out, err = finished(demo(str(sources), "--exit", "--keep", str(keep)))
    assert code == 0, out + err
    assert f"resuming {before.name}" in out
    after = desk.load()
    assert after is not None
    assert (after.name, after.finished) == (before.name, True)


def test_only_one_census_of_a_folder_runs_at_a_time(sources, tmp_path) -> None:
    desk = desk_for(sources, tmp_path / "keep")
    with desk.alone():
        code, out, err = finished(demo(str(sources), "--exit", "--keep", str(tmp_path / "keep")))
    assert code == 2, out
    assert "is running" in err


def test_a_run_is_remembered_until_it_is_finished(sources, tmp_path) -> None:
    desk = desk_for(sources, tmp_path / "keep")
    run, again = begin(desk, sources)
    assert not again
    (sources / "late.py").write_text("")
    assert begin(desk, sources) == (run, True)
    fresh, again = begin(desk, sources, fresh=True)
    assert not again
    assert len(fresh.inventory.sources) == len(run.inventory.sources) + 1
    (desk.folder / "run.json").write_text("{")
    assert begin(desk, sources)[1] is False


def test_job_ids_are_the_same_each_time_and_look_like_any_other() -> None:
    inventory = take_inventory(broken_folder())
    run = Run(name="census-1", began=1_700_000_000_000, inventory=inventory)
    ids = {run.job_id(source.path) for source in inventory.sources}
    assert len(ids) == len(inventory.sources)
    assert ids == {run.job_id(source.path) for source in inventory.sources}
    assert all(re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", each) for each in ids)
    assert ids.isdisjoint(Run(name="census-2", began=1_700_000_000_000, inventory=inventory).job_id(each) for each in ids)


def test_a_desk_that_cannot_be_made_is_bad_input(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="--keep"):
        desk_for(tmp_path, tmp_path / "file" / "below")


class Says:
    """Stands in for the independent count."""

    def __init__(self, *paths: str) -> None:
        self.paths = set(paths)

    def refused(self) -> set[str]:
        return self.paths


def test_a_disagreement_between_the_two_counts_is_a_fault(tmp_path, monkeypatch) -> None:
    from treadle import Treadle
    from treadle.cli.census import tasks
    from treadle.testing.draining import drain

    desk = desk_for(broken_folder(), tmp_path / "keep")
    tasks.app.connection.point_at(desk.url)
    try:
        run, _ = begin(desk, broken_folder())
        enqueued = show.enqueue(run, desk.report)
        assert enqueued == BROKEN + 2
        assert show.enqueue(run, desk.report) == enqueued
        drain(tasks.app, through="1m")
        paths = [source.path for source in run.inventory.sources]
        assert verdict.judge(run, enqueued, Says(*paths)).faults == []
        missing = verdict.judge(run, enqueued, Says(*paths[1:]))
        assert missing.faults == [f"dead, but ast.parse takes it: {paths[0]}"]
        extra = verdict.judge(run, enqueued, Says(*paths, "/other.py"))
        assert extra.faults == ["ast.parse refuses it, but it is not dead: /other.py"]
        lost = verdict.judge(run, enqueued + 1, Says(*paths))
        assert len(lost.faults) == 2
    finally:
        tasks.app.close()
        monkeypatch.setattr(tasks.app.connection, "_pointed", None)
    assert isinstance(tasks.app, Treadle)


def test_the_plain_screen_prints_a_line_now_and_then(capsys) -> None:
    screen = PlainScreen()
    states = {"files": {State.COMPLETED: 3, State.QUEUED: 1, State.DEAD: 1}, "packages": {State.BLOCKED: 2}}
    snapshot = Snapshot(states, {"files": 4.0, "packages": None})
    screen.show(snapshot, 12.4)
    screen.show(snapshot, 12.4)
    screen.close()
    said = "4 of 7 jobs ended, 12/s; queued: packages 0 (-), files 1 (4s); retrying 0; dead 1\n"
    assert capsys.readouterr().out == said
