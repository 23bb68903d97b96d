"""Enqueues of one process that come at the same time, through an app: each job is stored, once, as it was asked for."""

import asyncio
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from conformance.desk import Bench
from treadle import Treadle
from treadle.model.filter import Filter, Page

CALLERS, EACH, THREADS = 25, 4, 6


def test_lone_enqueues_that_meet_are_stored_once_each(bench: Bench) -> None:
    app = Treadle("memory://")
    session = bench.store.session()
    app.connection.exchange((bench.store, session))

    @app.task(name="now", tags=["t"])
    def now(number: int) -> None: ...

    @app.task(name="later", durability="relaxed")
    def later(number: int) -> None: ...

    async def some(first: int) -> list[str]:
        return [
            (await (later.options(delay="1h") if number % 3 == 0 else now).aenqueue(number)).id
            for number in range(first, first + EACH)
        ]

    async def crowd() -> list[str]:
        found = await asyncio.gather(*(some(EACH * caller) for caller in range(CALLERS)))
        return [job for jobs in found for job in jobs]

    def one(number: int) -> str:
        return (later.options(delay="1h") if number % 3 == 0 else now).enqueue(number).id

    by_tasks = asyncio.run(crowd())
    with ThreadPoolExecutor(THREADS) as pool:
        by_threads = list(pool.map(one, range(CALLERS * EACH)))
    jobs = session.run(bench.store.engine.find(Filter(), Page(limit=1000, details=True)))
    assert Counter(by_tasks + by_threads) == Counter(job.id for job in jobs)
    asked = {job: number for ids in (by_tasks, by_threads) for number, job in enumerate(ids)}
    for job in jobs:
        number = asked[job.id]
        kind = ("later", "scheduled", ()) if number % 3 == 0 else ("now", "queued", ("t",))
        assert (job.task, job.state, job.tags, job.args) == (*kind, f'{{"number":{number}}}')
    session.close()
