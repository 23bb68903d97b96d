"""The worker's small services, each alone."""

import asyncio
import threading
from typing import Any, cast

from treadle.app.settings import TaskSettings
from treadle.engine.session import Durability
from treadle.model.job import Claimed
from treadle.model.outcome import Completed, NoteKind, Released, Settlement, Verdict
from treadle.worker.deadlines import Deadlines
from treadle.worker.inflight import Inflight
from treadle.worker.notes import Notes
from treadle.worker.pace import BRIEF, MOST, SOON, Pace, Paces
from treadle.worker.run import Run
from treadle.worker.settler import Settler


def claimed(job: str = "j", *, suspect: bool = False) -> Claimed:
    return Claimed(1, job, "t", 1, "json", "q", 0, 1, 0, 0, 0, 0, 0, None, None, suspect, "{}", None, None)


def run(job: str = "j", *, timeout: float | None = None, suspect: bool = False) -> Run:
    settings = TaskSettings(name="t", executor="loop", timeout=timeout)
    return Run(claimed(job, suspect=suspect), cast("Any", None), settings)


def settlement(job: str) -> Settlement:
    return Settlement(1, job, 1, Completed(), 0.0)


def test_deadlines_fire_in_time_order_and_never_for_dropped_runs() -> None:
    async def scene() -> list[Run]:
        late: list[Run] = []
        fired = asyncio.Event()
        table = Deadlines(lambda run: (late.append(run), fired.set() if len(late) == 2 else None))
        now = asyncio.get_running_loop().time()
        first, second, dropped = run("a"), run("b"), run("c")
        table.enter(second, now + 0.05)
        table.enter(first, now + 0.01)
        table.enter(dropped, now + 0.02)
        table.drop(dropped)
        await asyncio.wait_for(fired.wait(), 10)
        table.close()
        assert late == [first, second]
        return late

    asyncio.run(scene())


def test_the_buffer_is_fifty_milliseconds_of_measured_work() -> None:
    pace = Pace(10)
    assert pace.buffer() == 0
    pace.took(0.1)
    assert pace.buffer() == 5
    fast = Pace(100)
    fast.took(1e-6)
    assert fast.buffer() == MOST
    slow = Pace(4)
    slow.took(60.0)
    assert slow.buffer() == 0


def test_gated_jobs_are_held_ready_only_behind_bodies_that_take_next_to_no_time() -> None:
    pace = Pace(100)
    assert pace.soon() == 0
    pace.took(BRIEF / 2)
    assert pace.soon() == SOON / (BRIEF / 2)
    slow = Pace(100)
    slow.took(BRIEF)
    assert slow.soon() == 0
    assert slow.buffer() > 0


def test_a_gated_task_is_slow_until_it_has_been_measured_and_again_when_it_becomes_so() -> None:
    paces = Paces()
    paces.expect("call")
    assert not paces.brief(["plain", "call"])
    assert paces.brief(["plain"])
    paces.took("call", BRIEF / 2)
    assert paces.brief(["plain", "call"])
    paces.took("call", 1.0)
    assert not paces.brief(["plain", "call"])


def test_notes_keep_the_latest_of_each_name_from_any_thread() -> None:
    calls: list[int] = []
    notes = Notes(lambda: calls.append(threading.get_ident()))
    job = claimed()

    def talk() -> None:
        for number in range(1000):
            notes.add(job, NoteKind.PROGRESS, "", str(number))

    thread = threading.Thread(target=talk)
    thread.start()
    thread.join()
    taken = notes.take()
    assert [note.value for note in taken] == ["999"]
    assert len(calls) == 1
    assert not notes


def test_notes_put_back_do_not_hide_newer_ones() -> None:
    notes = Notes(lambda: None)
    notes.add(claimed(), NoteKind.PROGRESS, "", "old")
    taken = notes.take()
    notes.add(claimed(), NoteKind.PROGRESS, "", "new")
    notes.put_back(taken)
    assert [note.value for note in notes.take()] == ["new"]


def test_a_batch_is_as_strict_as_its_strictest_member() -> None:
    settler = Settler()
    settler.add(settlement("a"), Durability.RELAXED)
    batch, durability = settler.take()
    assert durability is Durability.RELAXED
    settler.put_back(batch, durability)
    settler.add(settlement("b"), Durability.DEFAULT)
    batch, durability = settler.take()
    assert [each.id for each in batch] == ["a", "b"]
    assert durability is Durability.DEFAULT


def test_outcomes_beyond_one_batch_stay_in_order_and_strict() -> None:
    settler = Settler()
    for number in range(1500):
        settler.add(settlement(str(number)), Durability.DEFAULT)
    first, _ = settler.take()
    second, durability = settler.take()
    assert [each.id for each in first + second] == [str(number) for number in range(1500)]
    assert durability is Durability.DEFAULT


def test_a_refused_outcome_is_counted() -> None:
    settler = Settler()
    settler.confirm([settlement("a"), settlement("b")], [Verdict.DONE, Verdict.LOST])
    assert (settler.settled, settler.refused) == (2, 1)


def test_an_attempt_ends_once() -> None:
    async def scene() -> None:
        settler = Settler()
        changes: list[int] = []
        table = Inflight(
            cast("Any", None), "L", settler, Notes(lambda: None), Deadlines(lambda run: None), lambda: changes.append(1)
        )
        one = run(suspect=True)
        assert table.suspects_wanted == 1
        table.take(one)
        assert table.suspects_wanted == 0
        table.started(one)
        table.ended(one, Completed())
        table.ended(one, Released())
        batch, _ = settler.take()
        assert [each.outcome for each in batch] == [Completed()]
        assert table.suspects_wanted == 1
        assert changes == [1]

    asyncio.run(scene())
