"""A small chaos run on each engine that keeps what it is told, and one broken worker that must be found out.

The whole of it is `make chaos`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from chaos.fleet import PATH, ROOT
from servers.ground import GROUNDS


def play(*words: str) -> str:
    """Play a part of the chaos runs, which must go well; returns what was printed."""
    command = [sys.executable, "-m", "chaos.run", *words]
    environment = os.environ | {"PYTHONPATH": PATH}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("engine", ["sqlite", *GROUNDS])
def test_three_kills_and_a_freeze_break_no_promise(engine: str, tmp_path: Path) -> None:
    """Slow (20 s; 40 s on a server): a freeze must outlast its lease, and what it hit must run to its end afterwards.

    Where the store lies on a server, that dies too, and the network to it is troubled twice.
    """
    out = tmp_path / "chaos.json"
    play("--engine", engine, "--n", "3", "--only", "chaos", "--lease", "3", "--untimed", "--out", str(out))
    chaos = json.loads(out.read_text())["scenarios"]["chaos"]["figures"]
    kills, outages = chaos["kills"], chaos["outages"]
    assert sum(kills.values()) - kills.get("producer", 0) == 3
    assert chaos["freezes"] == 1
    assert sum(outages.values()) == (3 if engine in GROUNDS else 0)
    assert outages.get("server killed", 0) == (engine in GROUNDS)


def test_a_claim_without_a_lock_is_found_out() -> None:
    assert "  caught: " in play("--only", "claim_unlocked")
