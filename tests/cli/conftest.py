"""A working directory with a module of tasks and a store, and the command line run inside it."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from treadle import Treadle
from treadle.cli.main import run

TASKS = """
from treadle import GiveUp, Treadle

app = Treadle()


@app.task
def hello(name: str) -> str:
    return f"hi {name}"


@app.task
def fail(message: str) -> None:
    raise GiveUp(message)


@app.task
def unstorable() -> object:
    return object()
"""


@dataclass
class Answer:
    """What one command line came to."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Command = Callable[..., Answer]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory; modules imported from it are forgotten afterwards."""
    (tmp_path / "tasks.py").write_text(TASKS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TREADLE_URL", raising=False)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None)
        if file and Path(file).is_relative_to(tmp_path):
            del sys.modules[name]


@pytest.fixture
def command(folder: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run one command line in this process."""

    def call(*args: str) -> Answer:
        capsys.readouterr()
        code = run(list(args))
        said = capsys.readouterr()
        return Answer(int(code), said.out, said.err)

    return call


@pytest.fixture
def app(folder: Path) -> Treadle:
    """The tasks' own app, on the store in the working directory."""
    from treadle.app.loader import load

    loaded = load("tasks")
    yield loaded
    loaded.close()
