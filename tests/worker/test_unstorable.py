"""Outcomes and notes that the store cannot take, and an exchange that dies: nothing else is held up."""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from treadle import Context, Treadle
from treadle.app.task import Task
from treadle.model.filter import Filter, Page
from treadle.model.job import Job
from treadle.model.outcome import Cause, NoteKind
from treadle.model.state import State
from treadle.worker.exchange import Exchange
from treadle.worker.notes import Notes
from treadle.worker.options import WorkerOptions
from treadle.worker.worker import Worker

PATIENCE = 30.0
SURROGATE = "\ud800"
"""Text in Python, but no text that a database could store."""


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Treadle]:
    app = Treadle(f"sqlite:///{tmp_path}/jobs.db")
    yield app
    app.close()


def serve(app: Treadle, until: Callable[[], Awaitable[bool]] | None = None) -> int:
    """Serve until the condition holds, or, without one, until the worker leaves by itself."""

    async def stage() -> int:
        options = WorkerOptions(target="tests:app", lease=600.0, poll=0.05)
        worker = Worker(app, options, lease=secrets.token_hex(16), ready=lambda: None)
        serving = asyncio.create_task(worker.serve())
        if until is not None:
            end = time.monotonic() + PATIENCE
            while not await until():
                assert not serving.done(), serving
                assert time.monotonic() < end, "the condition never held"
                await asyncio.sleep(0.01)
            worker.drain()
        return await asyncio.wait_for(serving, PATIENCE)

    return asyncio.run(stage())


def jobs(app: Treadle) -> list[Job]:
    found: list[Job] = app.session.run(app.store.engine.find(Filter(), Page(details=True)))
    return found


def all_ended(app: Treadle) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return all(job.state.final for job in await app.session.arun(app.store.engine.find(Filter(), Page())))

    return check


def test_an_outcome_that_cannot_be_stored_becomes_a_dead_letter(app: Treadle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Task, "encode_result", lambda _, value: SURROGATE if value == 7 else str(value))

    @app.task(name="number")
    async def number(n: int) -> int:
        return n

    handles = [number.enqueue(n) for n in range(20)]
    assert serve(app, all_ended(app)) == 0
    found = {job.id: job for job in jobs(app)}
    for n, handle in enumerate(handles):
        assert found[handle.id].state is (State.DEAD if n == 7 else State.COMPLETED)
    dead = found[handles[7].id]
    assert dead.dead is not None
    assert dead.dead.cause == Cause.INVALID
    assert dead.dead.reason.startswith("its outcome could not be stored: ")


def test_an_outcome_that_cannot_even_be_buried_ends_the_worker(app: Treadle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Task, "encode_result", lambda _, value: SURROGATE if value == 7 else str(value))
    monkeypatch.setattr("treadle.worker.exchange.plain", lambda _: SURROGATE)

    @app.task(name="number")
    async def number(n: int) -> int:
        return n

    handles = [number.enqueue(n) for n in range(20)]
    assert serve(app) == 1
    found = {job.id: job.state for job in jobs(app)}
    assert found[handles[7].id] is State.RUNNING, "its lease must be left to be rescued"
    assert len(app.session.run(app.store.engine.leases())) == 1
    assert State.DEAD not in found.values()


def test_a_note_that_cannot_be_stored_is_dropped(app: Treadle) -> None:
    add = Notes.add
    spoilt: list[str] = []

    def both(self: Notes, claimed: Any, kind: NoteKind, name: str, value: str) -> None:
        add(self, claimed, kind, "spoilt", SURROGATE)
        add(self, claimed, kind, name, value)
        spoilt.append(name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Notes, "add", both)

        @app.task(name="talk")
        async def talk(ctx: Context) -> None:
            ctx.progress(0.5)

        handle = talk.enqueue()
        assert serve(app, all_ended(app)) == 0
    [job] = jobs(app)
    assert (job.id, job.state) == (handle.id, State.COMPLETED)
    assert spoilt


def test_nobody_waits_for_an_exchange_that_is_dead(app: Treadle, monkeypatch: pytest.MonkeyPatch) -> None:
    once = Exchange.once

    async def break_down(self: Exchange) -> None:
        await once(self)
        if ran:
            raise ZeroDivisionError

    ran: list[int] = []

    @app.task(name="run")
    async def run() -> None:
        ran.append(1)
        await asyncio.sleep(0)

    monkeypatch.setattr(Exchange, "once", break_down)
    for _ in range(50):
        run.enqueue()
    assert serve(app) == 1
