"""Bodies that upset the worker around them: what they say, what they cancel, and what was stored for them by others."""

import asyncio
import secrets
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from treadle import CancelJob, GiveUp, JobHandle, Retries, State, Treadle
from treadle.engine.plan import Plan
from treadle.model.filter import Filter, Page
from treadle.model.job import Job, NewJob, Want, Witness, WorkerInfo
from treadle.worker.options import WorkerOptions
from treadle.worker.worker import Worker

PATIENCE = 30.0


@pytest.fixture(params=["memory", "sqlite"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Treadle]:
    url = "memory://unruly" if request.param == "memory" else f"sqlite:///{tmp_path}/jobs.db"
    app = Treadle(url, allow_volatile=True)
    yield app
    app.close()


def serve(app: Treadle, *jobs: str, then: Callable[[], Awaitable[None]] | None = None, **words: Any) -> dict[str, Job]:
    """Serve until these jobs have ended, and what `then` does is done; returns the jobs by id."""

    async def stage() -> dict[str, Job]:
        ready = asyncio.Event()
        settings: dict[str, Any] = {"lease": 10.0, "poll": 0.05, **words}
        chosen = WorkerOptions(target="tests:app", **settings)
        worker = Worker(app, chosen, lease=secrets.token_hex(16), ready=ready.set)
        serving = asyncio.create_task(worker.serve())
        plan: Plan[list[Job]] = app.store.engine.find(Filter(ids=jobs), Page())
        try:
            async with asyncio.timeout(PATIENCE):
                await ready.wait()
                found = await app.session.arun(plan)
                while not all(job.state.final for job in found):
                    await asyncio.sleep(0.005)
                    found = await app.session.arun(plan)
                if then is not None:
                    await then()
        finally:
            worker.drain()
            assert await asyncio.wait_for(serving, PATIENCE) == 0
        return {job.id: job for job in found}

    return asyncio.run(stage())


def test_reasons_that_no_store_takes_are_stored_all_the_same(app: Treadle) -> None:
    @app.task(name="say")
    def say(kind: str) -> None:
        # What a file name gives that is not UTF-8.
        text: Any = {"text": "no such file: \udcff", "number": 7, "long": "x" * 1_000_000}[kind.partition(" ")[2]]
        raise GiveUp(text) if kind.startswith("give") else CancelJob(text)

    kinds = [f"{end} {what}" for end in ("give", "cancel") for what in ("text", "number", "long")]
    handles = {kind: say.enqueue(kind) for kind in kinds}
    jobs = serve(app, *(each.id for each in handles.values()))
    for kind, handle in handles.items():
        job = jobs[handle.id]
        assert job.state is (State.DEAD if kind.startswith("give") else State.CANCELLED), kind
        reason = job.reason or (job.dead.reason if job.dead is not None else "")
        assert reason.startswith({"text": "no such file: \\udcff", "number": "7", "long": "xxx"}[kind.partition(" ")[2]]), kind
        assert len(reason) <= 2000, kind


def test_a_body_that_cancels_itself_has_failed_and_its_slot_serves_on(app: Treadle) -> None:
    def cancel_me() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()

    @app.task(name="waits", retry=Retries(max_failures=1))
    async def waits() -> None:
        cancel_me()
        await asyncio.Event().wait()

    @app.task(name="returns")
    async def returns() -> int:
        cancel_me()
        cancel_me()
        return 1

    @app.task(name="innocent")
    async def innocent() -> str:
        await asyncio.sleep(0)
        return "unharmed"

    failed, returned = waits.enqueue(), returns.enqueue()
    after: list[JobHandle[str]] = [innocent.enqueue() for _ in range(3)]
    jobs = serve(app, failed.id, returned.id, *(each.id for each in after), async_slots=1)
    dead = jobs[failed.id].dead
    assert dead is not None
    assert "CancelledError" in dead.reason
    assert jobs[returned.id].result == "1"
    assert [jobs[each.id].result for each in after] == ['"unharmed"'] * 3


def test_options_that_this_version_refuses_make_one_dead_letter(app: Treadle) -> None:
    @app.task(name="plain")
    async def plain() -> int:
        return 1

    good = plain.enqueue()
    bad = NewJob(id=plain.call().id, task="plain", options='{"retry":{"factor":-5.0}}')
    app.session.run(app.store.engine.enqueue([bad]))
    jobs = serve(app, good.id, bad.id)
    assert jobs[good.id].state is State.COMPLETED
    dead = jobs[bad.id].dead
    assert dead is not None
    assert dead.cause == "invalid"
    assert "factor" in dead.reason


def test_suspects_follow_each_other_without_a_poll_for_each(app: Treadle) -> None:
    inside = 0

    @app.task(name="suspected")
    async def suspected() -> None:
        nonlocal inside
        inside += 1
        assert inside == 1, "one suspect at a time"
        await asyncio.sleep(0)
        inside -= 1

    jobs = app.enqueue_many([suspected.call() for _ in range(40)]).ids
    engine, lease = app.store.engine, secrets.token_hex(16)
    app.session.run(engine.renew(lease, 0, 60.0, worker=WorkerInfo("w", "h", 1, ("default",), ("suspected",), 50)))
    app.session.run(engine.claim(lease, [Want("default", 50, 50)], ["suspected"], suspects=0))
    assert len(app.session.run(engine.rescue([Witness(lease, "signal 9")], delay=0.0))) == len(jobs)
    found = serve(app, *jobs, poll=2 * PATIENCE)
    assert {(job.state, job.crashes, job.failures) for job in found.values()} == {(State.COMPLETED, 1, 0)}


FORKING = """
import asyncio, os, secrets
from treadle import Treadle
from treadle.worker.options import WorkerOptions
from treadle.worker.worker import Worker

app = Treadle("memory://forks", allow_volatile=True)
copies = []

@app.task(name="on_the_loop")
async def on_the_loop() -> None:
    copies.append(os.fork())
    await asyncio.sleep(0)

@app.task(name="in_a_thread")
def in_a_thread() -> None:
    copies.append(os.fork())
    if not copies[-1]:
        raise ValueError("only in the copy")

async def serve() -> None:
    ready = asyncio.Event()
    worker = Worker(app, WorkerOptions(target="forks"), lease=secrets.token_hex(16), ready=ready.set)
    serving = asyncio.create_task(worker.serve())
    await ready.wait()
    for task in (on_the_loop, in_a_thread):
        await (await task.aenqueue()).aresult(timeout=30)
    worker.drain()
    await serving

asyncio.run(serve())
print([os.waitstatus_to_exitcode(os.waitpid(each, 0)[1]) for each in copies], flush=True)
"""


def test_a_worker_copied_by_a_body_that_forks_ends_with_that_body() -> None:
    program = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKING]
    done = subprocess.run(program, capture_output=True, text=True, timeout=2 * PATIENCE, check=False)
    assert (done.stdout, done.returncode) == ("[0, 0]\n", 0), done.stderr
