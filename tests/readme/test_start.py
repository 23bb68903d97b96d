"""The start that the README shows, done as it stands there: a fresh virtual environment, three commands, five lines."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PATIENCE = 60.0
WHOLE_START = 60.0  # seconds: the README's promise to somebody who tries treadle, installing included
FIRST_JOB = timedelta(seconds=1)  # from enqueue to end, by the store's own clock: what "at once" means to that somebody


def shown(lang: str) -> str:
    """The first block of a language in the README."""
    found = re.search(rf"^```{lang}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def commands() -> list[str]:
    """The commands a reader types, without the remarks beside them."""
    return [line[2:].partition("  # ")[0].rstrip() for line in shown("console").splitlines() if line.startswith("$ ")]


class Home:
    """A folder with a virtual environment that has never seen treadle, and a shell in which it is active."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.venv = folder / "venv"
        subprocess.run([sys.executable, "-m", "venv", self.venv], check=True)
        unwanted = ("TREADLE_", "COVERAGE_", "PYTHON", "VIRTUAL_ENV")
        self.env = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
        self.env["PATH"] = f"{self.venv / 'bin'}{os.pathsep}{self.env['PATH']}"

    def run(self, command: str) -> str:
        answer = subprocess.run(
            command, shell=True, cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        assert answer.returncode == 0, f"{command}\n{answer.stdout}\n{answer.stderr}"
        return answer.stdout

    @contextmanager
    def serving(self, command: str) -> Iterator[subprocess.Popen[bytes]]:
        """The command in a terminal of its own, from the moment a worker lives until it has ended."""
        log = self.folder / "dev.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                f"exec {command}",
                shell=True,
                cwd=self.folder,
                env=self.env,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
            try:
                end = time.monotonic() + PATIENCE
                while not self.workers():
                    assert process.poll() is None, log.read_text()
                    assert time.monotonic() < end, f"no worker within {PATIENCE} s\n{log.read_text()}"
                yield process
                process.wait(PATIENCE)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()

    def workers(self) -> list[object]:
        """The workers that hold a lease; none while there is no database."""
        answer = subprocess.run(
            "treadle workers --json", shell=True, cwd=self.folder, env=self.env, capture_output=True, text=True, check=False
        )
        return json.loads(answer.stdout) if answer.returncode == 0 else []


def test_the_start_is_three_commands_and_five_lines() -> None:
    assert len(commands()) == 3
    assert len([line for line in shown("python").splitlines() if line.strip() and not line.startswith("#")]) == 5


def test_three_commands_greet_ada(tmp_path: Path) -> None:
    install, serve, enqueue = commands()
    assert install == "pip install treadle"
    began = time.monotonic()
    home = Home(tmp_path)
    (tmp_path / "tasks.py").write_text(shown("python"))
    home.run(f"pip install --quiet --disable-pip-version-check {ROOT}")
    with home.serving(serve) as process:
        assert home.run(enqueue) == "hi Ada\n"
        elapsed = time.monotonic() - began
        [job] = json.loads(home.run("treadle jobs list --json"))
        os.killpg(process.pid, signal.SIGINT)
    assert process.returncode == 0, (tmp_path / "dev.log").read_text()
    assert job["state"] == "completed"
    assert datetime.fromisoformat(job["finished_at"]) - datetime.fromisoformat(job["enqueued_at"]) < FIRST_JOB
    assert elapsed < WHOLE_START
    assert str(tmp_path / "treadle.db") in (tmp_path / "dev.log").read_text()
