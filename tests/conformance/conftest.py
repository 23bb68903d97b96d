"""Every conformance test runs on every engine, in every way a plan can be run."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance.desk import Bench, Desk
from conformance.engines import ENGINES
from conformance.ways import PAIRS, WAYS, blocking

SAME_PLANS = {("sqlite3", "arun")}
"""Left out: another driver under the plans of `sqlite`, whose awaitable way differs in nothing but the thread."""

EXAMINED = [pair for pair in PAIRS if pair not in SAME_PLANS]


@pytest.fixture(params=ENGINES)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    with ENGINES[request.param](tmp_path) as bench:
        yield bench


@pytest.fixture(params=EXAMINED, ids="-".join)
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    engine, way = request.param
    with ENGINES[engine](tmp_path) as bench, WAYS[way](bench) as run:
        yield Desk(bench, run)


@pytest.fixture
def plain_desk(bench: Bench) -> Iterator[Desk]:
    """A desk in one way only, for what does not depend on it."""
    with blocking(bench) as run:
        yield Desk(bench, run)
