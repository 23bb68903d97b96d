"""leases: which workers live, what they know and what they hold."""

from conformance.desk import Desk
from treadle.model.job import Lease, WorkerInfo


def leases(desk: Desk) -> list[Lease]:
    return desk.run(desk.engine.leases(now=desk.now))


def test_no_worker_has_ever_lived(desk: Desk) -> None:
    assert leases(desk) == []


def test_a_lease_shows_its_worker_as_it_opened(desk: Desk) -> None:
    worker = WorkerInfo("w1", "host-9", 77, ("red", "blue"), ("work", "other"), 12)
    desk.renew("L", 0, 30.0, worker)

    assert leases(desk) == [Lease("L", worker, desk.now, 30.0, 0)]


def test_expires_in_counts_down_and_below(desk: Desk) -> None:
    desk.renew("L", 0, 30.0, desk.info())
    desk.later(12.5)
    assert leases(desk)[0].expires_in == 17.5
    desk.later(17.5)
    assert leases(desk)[0].expires_in == 0.0
    desk.later(4)
    assert leases(desk)[0].expires_in == -4.0


def test_running_counts_what_the_lease_holds(desk: Desk) -> None:
    for _ in range(3):
        desk.add()
    lease = desk.worker()
    claims = desk.claim(lease)
    assert leases(desk)[0].running == 3

    desk.finish(lease, claims[0])

    assert leases(desk)[0].running == 2


def test_oldest_first_then_by_id(desk: Desk) -> None:
    desk.renew("c", 0, 30.0, desk.info())
    desk.later(1)
    desk.renew("b", 0, 30.0, desk.info())
    desk.renew("a", 0, 30.0, desk.info())

    assert [lease.id for lease in leases(desk)] == ["c", "a", "b"]


def test_a_rescued_lease_is_gone(desk: Desk) -> None:
    desk.renew("L", 0, 30.0, desk.info())
    desk.later(31)
    desk.rescue()

    assert leases(desk) == []
