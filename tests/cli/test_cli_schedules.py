"""`treadle schedules`: what each command prints, answers in JSON and refuses."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from treadle import Treadle
from treadle.app.loader import load
from treadle.testing import drain
from treadle.worker.scheduler import Scheduler

TIMED = """
from treadle import Treadle

app = Treadle()


@app.schedule("30 2 * * *", tz="Europe/Paris", name="nightly")
@app.schedule(every="1m", name="minutely", overlap="allow")
@app.task(name="count")
def count() -> int:
    return 1
"""


@pytest.fixture
def timed(folder: Path) -> Treadle:
    """An app whose schedules a worker has served."""
    (folder / "timed.py").write_text(TIMED)
    loaded = load("timed")
    scheduler = Scheduler(loaded, loaded.session, "lease")
    asyncio.run(scheduler.turn())
    asyncio.run(scheduler.turn())
    yield loaded
    loaded.close()


def test_the_list_says_when_the_next_slot_comes_and_what_is_wrong(command, timed) -> None:
    views = {each["name"]: each for each in command("schedules", "list", "--json").json}
    assert list(views) == ["minutely", "nightly"]
    nightly = views["nightly"]
    assert (nightly["rule"], nightly["zone"], nightly["task"]) == ("30 2 * * *", "Europe/Paris", "count")
    assert (nightly["catch_up"], nightly["window"], nightly["overlap"], nightly["jitter"]) == ("once", 86_400.0, "skip", 0.0)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT0[01]:30:00\.000Z", nightly["next"])
    assert (nightly["last"], nightly["late"], nightly["paused"], nightly["drift"]) == (None, None, False, [])
    table = command("schedules", "list").out.splitlines()
    assert table[0].split() == ["schedule", "rule", "zone", "next", "last", "fired", "dropped", "condition"]
    assert table[2].split()[-1] == "ok"


def test_what_is_declared_but_was_never_served(command, folder, app) -> None:
    (folder / "timed.py").write_text(TIMED.replace("30 2", "45 2"))
    assert command("migrate").code == 0
    assert "Name its module: --app MODULE" in command("schedules", "list").out
    assert "no worker has served it yet" in command("schedules", "list", "--app", "timed").out
    answer = command("schedules", "run", "nightly")
    assert (answer.code, answer.out) == (3, "")
    assert "A schedule is known once a worker has served its module." in answer.err
    assert command("schedules", "run", "nightly", "--app", "timed").code == 0


def test_code_that_differs_from_what_the_store_keeps(command, timed, folder) -> None:
    (folder / "newer.py").write_text(TIMED.replace("30 2", "45 2"))
    [_, nightly] = command("schedules", "list", "--app", "newer", "--json").json
    assert nightly["drift"] == ["the store has it declared differently: rule"]


def test_the_next_slots_in_the_zone_and_in_utc(command, timed) -> None:
    found = command("schedules", "preview", "nightly", "--json").json
    assert len(found) == 20
    assert all(datetime.fromisoformat(each["at"]) == datetime.fromisoformat(each["local"]) for each in found)
    out = command("schedules", "preview", "nightly", "-n", "2").out
    assert re.search(r"\w{3} \d{4}-\d\d-\d\d 02:30:00 \+0[12]00  \d{4}-\d\d-\d\d 0[01]:30:00\n", out)
    assert len(out.splitlines()) == 3


def test_an_expression_is_shown_without_any_store(command, folder) -> None:
    answer = command("schedules", "preview", "30 2 * * *", "--tz", "Europe/Paris", "-n", "400", "--json")
    remarks = {each["remark"] for each in answer.json}
    assert remarks == {
        "",
        "clocks went forward over its time: the first instant after the gap",
        "clocks go back over its time: the first of the two",
    }
    assert command("schedules", "preview", "@daily").code == 0
    steps = command("schedules", "preview", "--every", "90m", "-n", "3", "--json").json
    assert [each["local"][-6:] for each in steps] == ["+00:00"] * 3
    assert not (folder / "treadle.db").exists()


def test_pausing_and_resuming(command, timed) -> None:
    assert command("schedules", "pause", "nightly", "--reason", "month's end").out == "nightly is paused.\n"
    assert re.search(r"paused by .*: month's end\n", command("schedules", "list").out)
    assert [each["next"] for each in command("schedules", "list", "--json").json if each["paused"]] == [None]
    assert command("schedules", "resume", "nightly").out == "nightly is resumed.\n"
    answer = command("schedules", "resume", "nightly")
    assert (answer.code, answer.err.splitlines()[-1]) == (3, "treadle: nightly was not paused.")


def test_running_now_and_the_history(command, timed) -> None:
    assert command("schedules", "history", "nightly").out == "None of its jobs is stored.\n"
    job = command("schedules", "run", "nightly").out.strip()
    other = command("schedules", "run", "nightly", "--json").json["id"]
    drain(timed)
    found = command("schedules", "history", "nightly", "--json").json
    assert [(each["job"], each["kind"], each["state"]) for each in found["jobs"]] == [
        (other, "run", "completed"),
        (job, "run", "completed"),
    ]
    assert found["dropped"] == []
    assert re.search(rf"run +\d+\w+ +completed +{job}\n", command("schedules", "history", "nightly").out)


def test_slots_that_were_let_go_stand_in_the_history(command, timed) -> None:
    scheduler = Scheduler(timed, timed.session, "lease")
    later = round((datetime.now(UTC) + timedelta(minutes=30)).timestamp() * 1e6)
    asyncio.run(scheduler.fire(later))
    found = command("schedules", "history", "minutely", "--json").json
    assert found["dropped"][0]["why"] == "missed: a later slot stands for it"
    assert found["dropped"][0]["number"] in range(27, 31)
    out = command("schedules", "history", "minutely").out
    assert re.search(r"\nnot enqueued: \d+ slots, .* to .*: missed: a later slot stands for it\n", out)


def test_filling_in_asks_first_and_does_it_once(command, timed) -> None:
    words = ("schedules", "backfill", "nightly", "--from", "2026-03-28", "--to", "2026-03-31T00:00")
    answer = command(*words)
    assert (answer.code, answer.out) == (2, "")
    assert "enqueue 3 jobs of nightly: this needs a yes" in answer.err
    rehearsal = command(*words, "--dry-run").out
    assert rehearsal.endswith("would enqueue 3 jobs.\n")
    done = command(*words, "--yes", "--json").json
    assert [each["local"] for each in done] == [
        "2026-03-28T02:30:00+01:00",
        "2026-03-29T03:00:00+02:00",
        "2026-03-30T02:30:00+02:00",
    ]
    assert all(each["enqueued"] for each in done)
    again = command(*words).out
    assert again.count("is stored already") == 3
    assert again.endswith("enqueued 0 jobs.\n")
    assert command("schedules", "backfill", "nightly", "--from", "2026-03-28", "--to", "2026-03-28T01:00").out == (
        "There is no slot in this range.\n"
    )


def test_forgetting_asks_first(command, timed) -> None:
    assert command("schedules", "forget", "nightly").code == 2
    assert command("schedules", "forget", "nightly", "--yes").out == "nightly is forgotten.\n"
    assert [each["name"] for each in command("schedules", "list", "--json").json] == ["minutely"]


BAD = {
    "nothing to preview": (["preview"], "Name a schedule, or an expression"),
    "seconds": (["preview", "* * * * * *"], "six fields were given"),
    "a zone that is none": (["preview", "@daily", "--tz", "Mars/Olympus"], "Mars/Olympus: there is no such time zone"),
    "a zone for a schedule": (["preview", "nightly", "--tz", "UTC"], "--tz is for an expression"),
    "an expression and an interval": (["preview", "@daily", "--every", "5m"], "either a cron expression or an interval"),
    "too many": (["preview", "@daily", "-n", "0"], "0 is not in the range"),
    "no time": (["backfill", "nightly", "--from", "yesterday", "--to", "2026-01-01"], "yesterday: this is not a time"),
    "the future": (["backfill", "nightly", "--from", "2026-01-01", "--to", "2099-01-01"], "slots to come fire by themselves"),
    "backwards": (["backfill", "nightly", "--from", "2026-01-02", "--to", "2026-01-01"], "the range ends before it begins"),
    "no range": (["backfill", "nightly"], "--from"),
}


@pytest.mark.parametrize("case", BAD, ids=str)
def test_bad_input_is_one_message(command, timed, case) -> None:
    words, said = BAD[case]
    answer = command("schedules", *words)
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err
    assert "Traceback" not in answer.err


def test_a_schedule_that_is_none_has_its_code(command, timed) -> None:
    answer = command("schedules", "pause", "nightl")
    assert answer.code == 3
    assert "Did you mean nightly?" in answer.err
