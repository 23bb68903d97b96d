"""Every conformance test runs on every engine, in every way a plan can be run."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from conformance.desk import Bench, Desk
from conformance.engines import ENGINES
from treadle.engine.plan import Plan


@contextmanager
def blocking(bench: Bench) -> Iterator[Callable[[Plan[Any]], Any]]:
    session = bench.store.session()
    yield session.run
    session.close()


@contextmanager
def awaited(bench: Bench) -> Iterator[Callable[[Plan[Any]], Any]]:
    session = bench.store.session()
    with asyncio.Runner() as runner:
        yield lambda plan: runner.run(session.arun(plan))
    session.close()


@contextmanager
def borrowed(bench: Bench) -> Iterator[Callable[[Plan[Any]], Any]]:
    def run(plan: Plan[Any]) -> Any:
        with bench.transaction() as connection:
            return bench.store.borrow(connection).run(plan)

    yield run


MODES = {"run": blocking, "arun": awaited, "borrowed": borrowed}


@pytest.fixture(params=ENGINES)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    with ENGINES[request.param](tmp_path) as bench:
        yield bench


@pytest.fixture(params=MODES)
def desk(request: pytest.FixtureRequest, bench: Bench) -> Iterator[Desk]:
    with MODES[request.param](bench) as run:
        yield Desk(bench, run)


@pytest.fixture
def plain_desk(bench: Bench) -> Iterator[Desk]:
    """A desk in one mode only, for what does not depend on it."""
    with blocking(bench) as run:
        yield Desk(bench, run)
