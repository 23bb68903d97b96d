"""A small chaos run: six kills and a freeze at random moments, and one broken worker that must be found out.

The whole of it is `make chaos`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from chaos.fleet import PATH, ROOT


def test_six_kills_and_a_freeze_break_no_promise(tmp_path: Path) -> None:
    out = tmp_path / "chaos.json"
    command = [sys.executable, "-m", "chaos.run", "--n", "6", "--only", "chaos", "--untimed", "--out", str(out)]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"PYTHONPATH": PATH}, capture_output=True, text=True, timeout=240, check=False
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    chaos = json.loads(out.read_text())["scenarios"]["chaos"]
    kills = chaos["figures"]["kills"]
    assert sum(kills.values()) - kills.get("producer", 0) == 6
    assert chaos["figures"]["freezes"] == 1


def test_a_claim_without_a_lock_is_found_out() -> None:
    command = [sys.executable, "-m", "chaos.run", "--only", "claim_unlocked"]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"PYTHONPATH": PATH}, capture_output=True, text=True, timeout=240, check=False
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "  caught: " in done.stdout
