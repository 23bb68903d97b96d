"""Short words for what tests of servers say to a store under one lease."""

from typing import Any

from conformance.desk import Desk
from faults.waiting import until
from treadle import StoreError, Treadle
from treadle.model.filter import Filter
from treadle.model.job import Claimed, Want


def declared(app: Treadle) -> Any:
    """A task of the app that takes a text."""

    @app.task(name="keep")
    def keep(text: str) -> None: ...

    return keep


def stored(app: Treadle) -> int:
    """How many jobs there are."""
    connection = app.connection
    return connection.run(connection.engine.count(Filter(), ()))[0].count


def lease_of(app: Treadle, lease: str = "lease-here") -> str:
    """A lease that will not run out while the test runs."""
    connection = app.connection
    connection.run(connection.engine.renew(lease, 0, 600.0, worker=Desk.info()))
    return lease


def claimed(app: Treadle, lease: str, take: int) -> list[Claimed]:
    """What a claim brings; nothing when the store did not answer."""
    connection = app.connection
    try:
        return connection.run(connection.engine.claim(lease, [Want("default", take, take)], ["keep"])).jobs
    except StoreError:
        return []


def all_claimed(app: Treadle, lease: str, wanted: int) -> list[Claimed]:
    """Claim until so many jobs run under the lease, as the store tells it: its holder may have missed some of them."""
    engine, run = app.connection.engine, app.connection.run

    def complete() -> list[Claimed]:
        claimed(app, lease, wanted)
        found = run(engine.held(lease))
        return found if len(found) >= wanted else []

    return until(complete, "every job is in the hands of the lease that holds it")
