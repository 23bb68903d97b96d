"""The ways in which a plan can be run: blocking, awaited, and inside a transaction of the user's."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from conformance.desk import Bench
from conformance.engines import ENGINES, TRANSACTIONAL
from treadle.engine.plan import Plan

Run = Callable[[Plan[Any]], Any]


@contextmanager
def blocking(bench: Bench) -> Iterator[Run]:
    session = bench.store.session()
    yield session.run
    session.close()


@contextmanager
def awaited(bench: Bench) -> Iterator[Run]:
    session = bench.store.session()
    with asyncio.Runner() as runner:
        yield lambda plan: runner.run(session.arun(plan))
    session.close()


@contextmanager
def borrowed(bench: Bench) -> Iterator[Run]:
    """A worker whose job was completed in a user's transaction settles it afterwards all the same: so does this."""
    session = bench.store.session()

    def run(plan: Plan[Any]) -> Any:
        with bench.transaction() as connection:
            answer = bench.store.borrow(connection).run(plan)
        if plan.name == "settle":
            session.run(plan)
        return answer

    yield run
    session.close()


WAYS: dict[str, Callable[[Bench], AbstractContextManager[Run]]] = {
    "run": blocking,
    "arun": awaited,
    "borrowed": borrowed,
}

PAIRS = [(engine, way) for engine in ENGINES for way in WAYS if way != "borrowed" or engine in TRANSACTIONAL]
"""Every engine in every way that it knows."""
