"""The transition table is sane, and the page drawn from it is current."""

import subprocess
import sys
from pathlib import Path

import pytest

from treadle.model.state import FINAL, LIVE, TRANSITIONS, Move, State

DRAW = Path(__file__).parents[2] / "docs" / "draw_states.py"


def draw(script: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True, check=False, timeout=60)


def targets(state: State | None) -> set[State]:
    return {each.target for each in TRANSITIONS if each.source is state}


def test_every_state_is_live_or_final() -> None:
    assert set(State) == LIVE | FINAL
    assert not LIVE & FINAL
    assert [state.final for state in State] == [state in FINAL for state in State]


def test_no_move_is_written_twice() -> None:
    written = [(each.move, each.verb, each.source, each.target) for each in TRANSITIONS]

    assert len(set(written)) == len(written)


def test_every_move_and_every_state_is_used() -> None:
    assert {each.move for each in TRANSITIONS} == set(Move)
    assert {each.target for each in TRANSITIONS} == set(State)
    assert {each.source for each in TRANSITIONS} - {None} == set(State) - {State.COMPLETED}


def test_every_move_says_when() -> None:
    assert all(each.when and each.verb for each in TRANSITIONS)


def test_no_move_leads_back_to_where_it_began() -> None:
    assert all(each.source is not each.target for each in TRANSITIONS)


def test_only_an_operator_sends_a_final_job_back() -> None:
    assert {each.move for each in TRANSITIONS if each.source in FINAL} == {Move.REPLAY}
    assert {each.verb for each in TRANSITIONS if each.move is Move.REPLAY} == {"alter"}


def test_nothing_moves_a_completed_job() -> None:
    assert targets(State.COMPLETED) == set()


def test_only_a_claim_makes_a_job_run_and_only_from_the_queue() -> None:
    assert [(each.move, each.source) for each in TRANSITIONS if each.target is State.RUNNING] == [(Move.CLAIM, State.QUEUED)]


def test_only_a_running_job_completes_retries_or_dies() -> None:
    ends = {State.COMPLETED, State.RETRYING, State.DEAD}

    assert {each.source for each in TRANSITIONS if each.target in ends} == {State.RUNNING}


@pytest.mark.parametrize("state", sorted(LIVE))
def test_every_live_job_can_reach_every_end(state: State) -> None:
    reached = {state}
    while more := {target for each in reached for target in targets(each)} - reached:
        reached |= more

    assert reached >= FINAL


def test_every_state_can_be_reached_from_a_new_job() -> None:
    reached = targets(None)
    while more := {target for each in reached for target in targets(each)} - reached:
        reached |= more

    assert reached == set(State)


def test_the_page_is_current() -> None:
    assert (draw(DRAW, "--check").returncode, draw(DRAW, "--check").stderr) == (0, "")


def test_an_old_or_missing_page_is_noticed_and_redrawn(tmp_path: Path) -> None:
    script = tmp_path / DRAW.name
    script.write_text(DRAW.read_text())
    page = tmp_path / "states.md"

    missing = draw(script, "--check")
    assert (missing.returncode, page.exists()) == (1, False)
    assert "not current" in missing.stderr
    page.write_text("# States\n")
    assert draw(script, "--check").returncode == 1

    assert draw(script).returncode == 0
    assert draw(script, "--check").returncode == 0
    assert page.read_text() == DRAW.with_name("states.md").read_text()
