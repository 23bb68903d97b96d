"""`treadle prune`: what goes, what stays, and that it is asked for in so many words."""

from datetime import timedelta

import pytest

from treadle import Treadle
from treadle.model.state import State
from treadle.testing.draining import drain


@pytest.fixture
def finished(command, folder) -> None:
    """Five jobs completed, one cancelled, one dead, one that waits."""
    for number in range(5):
        command("enqueue", "tasks.hello", f'{{"name": "{number}"}}')
    command("enqueue", "tasks.fail", '{"message": "no"}')
    import tasks  # pyright: ignore[reportMissingImports]

    drain(tasks.app)
    for tag in ("gone", "stays"):
        tasks.hello.options(tags=[tag], delay=timedelta(days=1)).enqueue("later")
    tasks.app.close()
    assert command("jobs", "cancel", "--tag", "gone", "--yes").code == 0


def states() -> dict[State, int]:
    app = Treadle()
    found: dict[State, int] = {}
    for job in app.client.find():
        found[job.state] = found.get(job.state, 0) + 1
    app.close()
    return found


def test_which_jobs_are_meant_must_be_said(command, finished) -> None:
    answer = command("prune", "--yes")
    assert answer.code == 2
    assert "--older-than" in answer.err


def test_looking_changes_nothing_and_nobody_to_ask_is_a_no(command, finished) -> None:
    before = states()
    assert command("prune", "--keep", "2", "--dry-run").out == "would prune up to 3 jobs.\n"
    assert command("prune", "--older-than", "0", "--dry-run", "--json").json == {"dry_run": True, "meant": 6, "pruned": 0}
    assert command("prune", "--keep", "0", "--older-than", "0", "--dry-run", "--json").json["meant"] == 6
    refused = command("prune", "--keep", "2")
    assert (refused.code, "prune up to 3 finished jobs" in refused.err) == (2, True)
    assert states() == before


def test_the_newest_are_kept_and_everything_else_is_left_alone(command, finished) -> None:
    assert command("prune", "--keep", "2", "--yes").out == "pruned 3 jobs.\n"
    assert states() == {State.COMPLETED: 2, State.CANCELLED: 1, State.DEAD: 1, State.SCHEDULED: 1}
    assert command("prune", "--keep", "2", "--yes", "--json").json == {"dry_run": False, "meant": 0, "pruned": 0}


def test_the_old_go_whatever_the_retention_says(command, finished) -> None:
    assert command("prune", "--older-than", "1h", "--yes").out == "pruned 0 jobs.\n"
    assert command("prune", "--older-than", "0", "--yes").out == "pruned 6 jobs.\n"
    assert states() == {State.DEAD: 1, State.SCHEDULED: 1}
