"""What the command line promises about itself: quick probes, stable codes, a page that says the same."""

import json
import re
import subprocess
import sys
from pathlib import Path

from treadle.cli.exits import MEANINGS, Exit, code_for
from treadle.cli.main import _COMMANDS
from treadle.model import errors

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()


def test_health_loads_nothing_that_its_answer_does_not_need(app) -> None:
    app.enqueue("tasks.hello", {"name": "Ada"})
    code = (
        "import json, sys\nfrom treadle.cli.main import run\ncode = run(['health', '--json'])\n"
        "json.dump([code, sorted(sys.modules)], sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    code, modules = json.loads(done.stderr)
    assert code == 0
    heavy = {"asyncio", "rich", "watchfiles", "ssl", "treadle.app.app", "treadle.worker.worker", "treadle.testing"}
    assert heavy.isdisjoint(modules)
    assert [name for name in modules if name.startswith("treadle.cli.commands.")] == ["treadle.cli.commands.health"]


def test_the_page_names_every_command_and_every_code() -> None:
    assert [name for name in _COMMANDS if not re.search(rf"^## .*\b{name}\b|`treadle {name}", PAGE, re.MULTILINE)] == []
    told = dict(re.findall(r"^\| (\d+) \| (.+) \|$", PAGE, re.MULTILINE))
    assert {str(code.value): meaning for code, meaning in MEANINGS.items()}.items() <= told.items()
    assert set(MEANINGS) == set(Exit)


def test_every_kind_of_error_has_its_code() -> None:
    assert code_for(errors.UnknownJob("x", "is unknown", "Look.")) == 3
    assert code_for(errors.InvalidArguments("x", "is wrong", "Mend it.")) == 2
    assert code_for(errors.DefinitionError("cannot be declared")) == 2
    assert code_for(errors.StoreBusy("busy")) == 5
    assert code_for(errors.ResultTimeout("not yet")) == 4
    assert code_for(errors.JobDead("dead")) == 1
    assert code_for(errors.LeaseLost("lost")) == 1
