"""The public types: user code passes both checkers in strict mode, its mistakes are found, and nothing is unknown."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
API = Path(__file__).with_name("public_api.py")


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    # `--verifytypes` asks the first `python` on the path where packages are.
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_mypy_strict_accepts_the_good_and_refuses_the_bad() -> None:
    answer = run(BIN / "mypy", "--cache-dir", "/dev/null", API)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_pyright_strict_accepts_the_good_and_refuses_the_bad() -> None:
    answer = run(BIN / "pyright", API)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_every_public_type_is_known() -> None:
    answer = run(BIN / "pyright", "--verifytypes", "treadle", "--ignoreexternal", "--outputjson")
    report = json.loads(answer.stdout)["typeCompleteness"]
    unknown = [each["name"] for each in report["symbols"] if each["isExported"] and not each["isTypeKnown"]]
    assert unknown == []
    assert report["exportedSymbolCounts"]["withKnownType"] > 100
    assert report["completenessScore"] == 1
