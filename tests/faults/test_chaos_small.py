"""A small chaos run on each engine that keeps what it is told, one broken worker that must be found out, and a short pace run.

The whole of it is `make chaos` and `make pace`. These mostly wait, for leases to run out and for jobs to end, so they all run
at once.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.fleet import PATH, ROOT
from servers.ground import GROUNDS

Playing = subprocess.Popen[str]

ENGINES = ("sqlite", *GROUNDS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the figures are written."""
    return tmp_path_factory.mktemp("chaos")


@pytest.fixture(scope="module")
def plays(folder: Path) -> Iterator[dict[str, Playing]]:
    """The runs under way, by the engine or the mutant they are about."""
    small = ("--n", "3", "--only", "chaos", "--lease", "3", "--untimed")
    words = {engine: ("--engine", engine, *small, "--out", str(folder / engine)) for engine in ENGINES}
    words["claim_unlocked"] = ("--only", "claim_unlocked")
    found = {name: play("chaos.run", *each) for name, each in words.items()}
    found["pace"] = play("chaos.pace", "--rate", "20", "--period", "2", "--seconds", "5", "--patient")
    yield found
    for each in found.values():
        each.kill()
        each.communicate()


def play(module: str, *words: str) -> Playing:
    """Start to play a part of the runs."""
    command = [sys.executable, "-m", module, *words]
    environment = os.environ | {"PYTHONPATH": PATH}
    return subprocess.Popen(command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def printed(playing: Playing) -> str:
    """What a run printed, when it is over; it must have gone well."""
    told, _ = playing.communicate(timeout=300)
    print(told)
    assert playing.returncode == 0, told
    return told


@pytest.mark.repeats
@pytest.mark.parametrize("engine", ENGINES)
def test_three_kills_and_a_freeze_break_no_promise(engine: str, plays: dict[str, Playing], folder: Path) -> None:
    """Slow (60 s for all of them): a freeze must outlast its lease, and what it hit must run to its end afterwards.

    Where the store lies on a server, that dies too, and the network to it is troubled twice.
    """
    printed(plays[engine])
    chaos = json.loads((folder / engine).read_text())["scenarios"]["chaos"]["figures"]
    kills, outages = chaos["kills"], chaos["outages"]
    assert sum(kills.values()) - kills.get("producer", 0) == 3
    assert chaos["freezes"] == 1
    assert sum(outages.values()) == (3 if engine in GROUNDS else 0)
    assert outages.get("server killed", 0) == (engine in GROUNDS)


def test_a_claim_without_a_lock_is_found_out(plays: dict[str, Playing]) -> None:
    assert "  caught: " in printed(plays["claim_unlocked"])


@pytest.mark.repeats
def test_four_worker_processes_keep_the_pace_of_limits(plays: dict[str, Playing]) -> None:
    assert printed(plays["pace"]).count(" 0 faults") == 2 * len(ENGINES)
