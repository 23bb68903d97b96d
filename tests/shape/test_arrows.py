"""Arrows run down only: the import contracts hold, cover every room, and have no exception."""

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "treadle"
CONFIG: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
CONTRACTS = {contract["name"]: contract for contract in CONFIG["contracts"]}
ENGINES = {f"treadle.engine.{path.name}" for path in (PACKAGE / "engine").iterdir() if (path / "__init__.py").exists()}


def rooms(folder: Path) -> set[str]:
    """The modules and packages that stand directly in a folder, by import name."""
    prefix = ".".join(("treadle", *folder.relative_to(PACKAGE).parts))
    packages = {path.name for path in folder.iterdir() if (path / "__init__.py").exists()}
    modules = {path.stem for path in folder.glob("*.py") if path.stem != "__init__"}
    return {f"{prefix}.{name}" for name in packages | modules}


def test_the_contracts_hold() -> None:
    answer = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_no_contract_has_an_exception() -> None:
    assert [name for name, contract in CONTRACTS.items() if contract.get("ignore_imports")] == []


def test_every_room_has_its_floor() -> None:
    floors = {name.strip() for layer in CONTRACTS["Arrows run down"]["layers"] for name in layer.split("|")}
    assert {room for room in rooms(PACKAGE) if (PACKAGE / room.rpartition(".")[2]).is_dir()} == floors


def test_no_engine_is_forgotten_by_the_contracts_about_engines() -> None:
    assert set(CONTRACTS["Engines never import each other"]["modules"]) == ENGINES
    only_open = CONTRACTS["Only open.py names engines"]
    assert set(only_open["forbidden_modules"]) == ENGINES
    outside = (rooms(PACKAGE) | rooms(PACKAGE / "engine")) - ENGINES - {"treadle.engine", "treadle.engine.open"}
    assert outside <= set(only_open["source_modules"])
