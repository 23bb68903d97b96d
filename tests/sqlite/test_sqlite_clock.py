"""Leases are timed by the machine's own clock: a step of the wall clock and a closed lid move nothing, a new boot ends all."""

from collections.abc import Iterator

import pytest

from treadle.engine.session import Session
from treadle.engine.sqlite.clock import boot_id, read_clock
from treadle.engine.sqlite.steps import Instant
from treadle.engine.sqlite.store import SqliteStore
from treadle.model.job import Micros, NewJob, Want, WorkerInfo

SECOND = 1_000_000
WORKER = WorkerInfo("w", "host", 1, ("default",), ("work",), 4)


class Clocks:
    """Both clocks in the test's hand."""

    wall: Micros = 1_700_000_000 * SECOND
    up: Micros = 1000 * SECOND
    boot: str = "first"

    def read(self, now: Micros | None) -> Instant:
        return Instant(self.wall if now is None else now, self.boot, self.up, given=now is not None)


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    clocks = Clocks()
    monkeypatch.setattr("treadle.engine.sqlite.session.read_clock", clocks.read)
    return clocks


@pytest.fixture
def session(store: SqliteStore) -> Iterator[Session]:
    session = store.session()
    yield session
    session.close()


@pytest.fixture
def running(store: SqliteStore, session: Session, clocks: Clocks) -> str:
    """A job claimed under a lease of 30 s, by clocks in the test's hand."""
    session.run(store.engine.renew("lease", 0, 30.0, worker=WORKER))
    session.run(store.engine.enqueue([NewJob("one", "work")]))
    [job] = session.run(store.engine.claim("lease", [Want("default", 1, 1)], ["work"])).jobs
    return job.id


@pytest.mark.parametrize("step", [-3600, 3600])
def test_a_step_of_the_wall_clock_moves_no_lease(
    store: SqliteStore, session: Session, clocks: Clocks, running: str, step: int
) -> None:
    clocks.wall += step * SECOND
    assert session.run(store.engine.rescue()) == []
    assert not session.run(store.engine.renew("lease", 1, 30.0)).lost
    assert [lease.expires_in for lease in session.run(store.engine.leases())] == [30.0]


def test_a_lease_runs_out_by_the_machines_own_clock(store: SqliteStore, session: Session, clocks: Clocks, running: str) -> None:
    clocks.up += 30 * SECOND - 1
    assert session.run(store.engine.rescue()) == []
    clocks.up += 1
    assert [each.id for each in session.run(store.engine.rescue())] == [running]
    assert session.run(store.engine.renew("lease", 1, 30.0)).lost


def test_no_lease_outlives_a_boot(store: SqliteStore, session: Session, clocks: Clocks, running: str) -> None:
    clocks.boot, clocks.up = "second", 5 * SECOND
    assert session.run(store.engine.renew("lease", 1, 30.0)).lost
    assert session.run(store.engine.claim("lease", [Want("default", 1, 1)], ["work"])).lost
    assert [lease.expires_in < 0 for lease in session.run(store.engine.leases())] == [True]
    assert [each.id for each in session.run(store.engine.rescue())] == [running]


def test_a_time_handed_in_rules_both(store: SqliteStore, session: Session, clocks: Clocks, running: str) -> None:
    now = clocks.wall
    assert session.run(store.engine.rescue(now=now + 30 * SECOND - 1)) == []
    assert [each.id for each in session.run(store.engine.rescue(now=now + 30 * SECOND))] == [running]


def test_the_real_clocks() -> None:
    assert boot_id()
    first, second = read_clock(None), read_clock(5)
    assert (second.wall, second.given, first.given) == (5, True, False)
    assert first.boot == second.boot
    assert second.up >= first.up
