"""A real supervisor over real worker processes on a real file: deaths, signals, reloads."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from chaos.fleet import alive, offspring
from treadle.app.app import Treadle
from treadle.app.loader import load
from treadle.model.state import State
from treadle.worker.options import WorkerOptions
from worker.bench import lines

PATIENCE = 60.0

TASKS = """
import asyncio, os, subprocess, sys, time
from pathlib import Path
from treadle import Treadle

app = Treadle("sqlite:///jobs.db")

def note(file, line):
    with Path(file).open("a") as out:
        out.write(line + chr(10))

@app.task
def pid() -> int:
    return os.getpid()

@app.task
async def wait_for(file: str, trail: str) -> int:
    note(trail, str(os.getpid()))
    while not Path(file).exists():
        await asyncio.sleep(0.01)
    note(trail, "done")
    return os.getpid()

@app.task(executor="process")
def cling(trail: str) -> None:
    note(trail, str(os.getpid()))
    while True:
        try:
            while True:
                pass
        except BaseException:
            note(trail, "asked")

@app.task
def orphan(file: str) -> None:
    program = f"import os, pathlib; pathlib.Path({file!r}).write_text(str(os.getpid()))"
    subprocess.run(["sh", "-c", f"{sys.executable} -c \\"{program}\\" &"], check=True)
"""

SERVE = """
import sys
from treadle.worker.logs import configure
from treadle.worker.options import WorkerOptions
from treadle.worker.start import load_app
from treadle.worker.supervisor import Supervisor

options = WorkerOptions.from_json(sys.argv[1])
configure(worker="supervisor")
supervisor = Supervisor(options, load_app(options.target, options.url), ready=lambda: print("all ready", flush=True), **{more})
{before}
code = supervisor.run()
print("exit", code, flush=True)
sys.exit(code)
"""


def until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE
    never = threading.Event()
    while not condition():
        assert time.monotonic() < end, f"waited in vain: {what}"
        never.wait(0.01)


class Served:
    """A supervisor in a process of its own, in a folder of its own."""

    def __init__(self, folder: Path, target: str) -> None:
        self.folder = folder
        self.target = target
        self.log = folder / "log"
        self.process: subprocess.Popen[bytes] | None = None
        self.trail, self.gate = folder / "trail", folder / "gate"

    def start(self, *, more: str = "{}", before: str = "", group: bool = False, **options: object) -> None:
        settings = WorkerOptions(target=self.target, **{"lease": 60.0, "threads": 2, **options})  # type: ignore[arg-type]
        program = SERVE.replace("{more}", more).replace("{before}", before)
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-c", program, settings.to_json().decode()],
                cwd=self.folder, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=group,
            )  # fmt: skip

    def text(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def until_logged(self, what: str, times: int = 1) -> None:
        until(lambda: self.text().count(what) >= times, f"{what!r} in\n{self.text()}")

    def workers(self) -> list[psutil.Process]:
        assert self.process is not None
        return offspring(psutil.Process(self.process.pid), deep=False)

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def insist(self, number: int, heard: str) -> None:
        """Signal again and again: what follows within a moment of a signal that was heard belongs to that one."""

        def pressed() -> bool:
            assert self.process is not None
            if heard in self.text() or self.process.poll() is not None:
                return True
            self.process.send_signal(number)
            return False

        until(pressed, heard)

    def exit(self) -> int:
        assert self.process is not None
        return self.process.wait(PATIENCE)

    def clean_up(self) -> None:
        if self.process is not None and self.process.poll() is None:
            family = [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)]
            for each in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.kill()
            self.process.wait(PATIENCE)


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    target = f"served_{os.urandom(6).hex()}"
    (tmp_path / f"{target}.py").write_text(TASKS, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    made = Served(tmp_path, target)
    try:
        yield made
    finally:
        made.clean_up()
        sys.modules.pop(target, None)


@pytest.fixture
def app(served: Served) -> Iterator[Treadle]:
    found = load(served.target)
    yield found
    found.close()


def enqueue(served: Served, app: Treadle, task: str, **args: object):
    return app.enqueue(f"{served.target}.{task}", args)


def test_jobs_are_served_and_the_first_signal_ends_in_peace(served: Served, app: Treadle):
    served.start(processes=2)
    served.until_logged("all ready")
    assert f"on {served.folder / 'jobs.db'}" in served.text()
    mine = {each.pid for each in served.workers()}
    assert len(mine) == 2
    assert enqueue(served, app, "pid").result(PATIENCE) in mine
    served.signal(signal.SIGTERM)
    assert served.exit() == 0


def test_a_killed_worker_is_replaced_and_its_job_taken_back_at_once(served: Served, app: Treadle):
    served.start(crash_delay=0.0)
    job = enqueue(served, app, "wait_for", file=str(served.gate), trail=str(served.trail))
    until(lambda: len(lines(served.trail)) == 1, "a first start")
    (worker,) = served.workers()
    assert lines(served.trail) == [str(worker.pid)]
    lease = job.job().lease
    worker.kill()
    # The lease has most of a minute to go: only the supervisor can have told the store.
    until(lambda: len(lines(served.trail)) == 2, "a second start")
    served.gate.touch()
    assert job.result(PATIENCE) == int(lines(served.trail)[1]) != worker.pid
    after = job.job()
    assert after.attempt == 2
    assert after.crashes == 1
    assert "signal 9" in str(after.attempts[0])
    assert lease is not None
    assert lease not in {each.id for each in app.session.run(app.store.engine.leases())}


def test_a_job_in_hand_is_finished_before_leaving(served: Served, app: Treadle):
    served.start()
    job = enqueue(served, app, "wait_for", file=str(served.gate), trail=str(served.trail))
    until(lambda: len(lines(served.trail)) == 1, "a start")
    served.signal(signal.SIGTERM)
    served.until_logged("stopping: no more claims")
    later = enqueue(served, app, "pid")
    served.gate.touch()
    assert served.exit() == 0
    assert job.job().state is State.COMPLETED
    assert later.job().state is State.QUEUED


def test_signals_in_one_moment_are_one_request(served: Served, app: Treadle):
    """As `timeout` does it: the process is signalled, and then its whole group."""
    served.start(group=True)
    job = enqueue(served, app, "wait_for", file=str(served.gate), trail=str(served.trail))
    until(lambda: len(lines(served.trail)) == 1, "a start")
    assert served.process is not None
    served.signal(signal.SIGTERM)
    os.killpg(served.process.pid, signal.SIGTERM)
    served.until_logged("stopping: no more claims")
    served.gate.touch()
    assert served.exit() == 0
    assert job.job().state is State.COMPLETED
    assert "asked again" not in served.text()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_the_second_signal_hands_back_what_runs(served: Served, app: Treadle, number: int, code: int):
    served.start()
    job = enqueue(served, app, "wait_for", file=str(served.gate), trail=str(served.trail))
    until(lambda: len(lines(served.trail)) == 1, "a start")
    served.signal(number)
    served.until_logged("stopping: no more claims")
    assert job.job().state is State.RUNNING
    served.insist(number, "handing back what runs")
    assert served.exit() == code
    after = job.job()
    assert after.state is State.QUEUED
    assert (after.attempt, after.failures, after.crashes, after.releases) == (1, 0, 0, 1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_to_the_whole_group_is_one_request(served: Served, app: Treadle, number: int):
    served.start(group=True)
    job = enqueue(served, app, "wait_for", file=str(served.gate), trail=str(served.trail))
    until(lambda: len(lines(served.trail)) == 1, "a start")
    assert served.process is not None
    os.killpg(served.process.pid, number)
    served.until_logged("stopping: no more claims")
    assert job.job().state is State.RUNNING
    served.gate.touch()
    assert served.exit() == 0
    assert job.job().state is State.COMPLETED


def test_a_module_that_does_not_import_ends_the_supervisor_and_is_shown_once(served: Served):
    module = served.folder / f"{served.target}.py"
    flag = served.folder / "loaded"
    # It imports once, in the supervisor, and never again in a worker process.
    module.write_text(
        "from pathlib import Path\n" + TASKS + f"if Path({str(flag)!r}).exists(): raise RuntimeError('not twice')\n"
        f"Path({str(flag)!r}).touch()\n",
        encoding="utf-8",
    )
    served.start(processes=2)
    assert served.exit() == 78
    assert served.text().count("RuntimeError: not twice") == 1
    assert f'File "{module}"' in served.text()


def test_a_patient_supervisor_waits_for_the_module_to_be_put_right(served: Served):
    module = served.folder / f"{served.target}.py"
    flag = served.folder / "loaded"
    module.write_text(
        TASKS + f"if Path({str(flag)!r}).exists(): raise RuntimeError('not twice')\nPath({str(flag)!r}).touch()\n",
        encoding="utf-8",
    )
    served.start(more="{'patient': True}")
    served.until_logged("RuntimeError: not twice")
    served.until_logged("nothing serves meanwhile")
    until(lambda: served.workers() == [], "the worker process to end")
    module.write_text(TASKS, encoding="utf-8")
    served.signal(signal.SIGHUP)
    served.until_logged("all ready")
    served.signal(signal.SIGTERM)
    assert served.exit() == 0


def test_workers_finish_and_leave_when_their_supervisor_is_killed(served: Served, app: Treadle):
    served.start()
    job = enqueue(served, app, "wait_for", file=str(served.gate), trail=str(served.trail))
    until(lambda: len(lines(served.trail)) == 1, "a start")
    (worker,) = served.workers()
    served.signal(signal.SIGKILL)
    served.exit()
    served.until_logged("the supervisor is gone")
    assert worker.is_running()
    served.gate.touch()
    until(lambda: not alive(worker), "the worker to leave")
    assert job.job().state is State.COMPLETED


def test_the_children_of_a_killed_worker_end_with_it(served: Served, app: Treadle):
    served.start(crash_delay=600.0)
    enqueue(served, app, "cling", trail=str(served.trail))
    until(lambda: len(lines(served.trail)) == 1, "a start")
    child = psutil.Process(int(lines(served.trail)[0]))
    (worker,) = served.workers()
    worker.kill()
    until(lambda: not alive(child), "the child to end")
    assert lines(served.trail)[1:] == ["asked"]


def test_a_hangup_replaces_workers_without_a_gap(served: Served, app: Treadle):
    served.start(processes=2)
    served.until_logged("all ready")
    old = {each.pid for each in served.workers()}
    job = enqueue(served, app, "wait_for", file=str(served.gate), trail=str(served.trail))
    until(lambda: len(lines(served.trail)) == 1, "a start")
    served.signal(signal.SIGHUP)
    served.until_logged("all ready", times=2)
    assert enqueue(served, app, "pid").result(PATIENCE) not in old
    served.gate.touch()
    assert job.result(PATIENCE) in old
    until(lambda: len(served.workers()) == 2, "the old ones to leave")
    assert not old & {each.pid for each in served.workers()}
    served.signal(signal.SIGTERM)
    assert served.exit() == 0


def test_workers_that_end_at_once_are_started_more_and_more_slowly(served: Served):
    served.start(more="{'command': [sys.executable, '-c', 'raise SystemExit(9)']}")
    served.until_logged("ended with exit 9", times=4)
    served.until_logged("the next one starts in 0.5 s")
    served.signal(signal.SIGTERM)
    assert served.exit() == 0


def test_a_third_signal_kills_what_does_not_listen(served: Served):
    deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
    served.start(more=f"{{'command': [sys.executable, '-c', {deaf!r}]}}")
    served.until_logged("deaf")
    served.signal(signal.SIGTERM)
    served.until_logged("stopping: running jobs have")
    served.insist(signal.SIGTERM, "handing back what runs")
    assert len(served.workers()) == 1
    served.insist(signal.SIGTERM, "killing what is left")
    assert served.exit() == 143


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process adopt orphans")
def test_as_the_first_process_it_reaps_what_jobs_leave_behind(served: Served, app: Treadle):
    adopt = "import ctypes; ctypes.CDLL(None).prctl(36, 1, 0, 0, 0); supervisor._orphans = True"
    served.start(before=adopt)
    mark = served.folder / "orphan"
    enqueue(served, app, "orphan", file=str(mark)).result(PATIENCE)
    until(lambda: mark.exists() and mark.read_text() != "", "the orphan to speak")
    until(lambda: not psutil.pid_exists(int(mark.read_text())), "the orphan to be reaped")
    # What it reaps besides does not hide the end of a worker.
    (worker,) = served.workers()
    worker.kill()
    served.until_logged("ended with signal 9")
    served.until_logged("worker ready", times=2)
    served.signal(signal.SIGTERM)
    assert served.exit() == 0


def test_a_job_that_kills_its_worker_each_time_dies_of_it(served: Served, app: Treadle):
    module = served.folder / f"{served.target}.py"
    module.write_text(
        TASKS + "\n@app.task\ndef deadly() -> None:\n    os.kill(os.getpid(), 9)\n\n",
        encoding="utf-8",
    )
    served.start(crash_delay=0.0)
    job = _enqueue_by_name(app, f"{served.target}.deadly")
    until(lambda: app.client.get(job).state is State.DEAD, "the dead letter")
    dead = app.client.get(job)
    assert dead.crashes == 3
    assert dead.dead is not None
    assert dead.dead.cause == "worker_lost"
    assert [str(each).count("signal 9") for each in dead.attempts] == [1, 1, 1]
    served.signal(signal.SIGTERM)
    assert served.exit() == 0


def _enqueue_by_name(app: Treadle, name: str) -> str:
    """Store a job of a task that this process does not know."""
    from treadle.app.ids import new_id
    from treadle.model.job import NewJob

    made = NewJob(id=new_id(), task=name)
    app.session.run(app.store.engine.enqueue([made]))
    return made.id


def test_a_store_that_cannot_be_used_is_told_before_anything_is_started(served: Served):
    (served.folder / "jobs.db").write_bytes(b"not a database at all" * 1000)
    served.start()
    assert served.process is not None
    assert served.process.wait(PATIENCE) == 1
    assert served.text().count("is not a SQLite database") == 1
    assert "worker ready" not in served.text()
