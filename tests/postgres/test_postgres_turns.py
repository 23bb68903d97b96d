"""Claims that leave those in the queue that wait for their turn, and what must not be left there."""

import psycopg
import pytest

from conformance.desk import TASKS, Desk
from postgres.test_postgres_clear import claim, clear
from treadle.engine.postgres.clear import ENOUGH, PATIENCE
from treadle.model.flow import Hold, Ordering
from treadle.model.job import Want


@pytest.mark.parametrize(
    ("lines", "limit", "started", "parked"),
    [(100, None, 100, 0), (99, None, 99, 1), (100, 0, 100, 2)],
    ids=["many start", "too few start", "a limit hinders one"],
)
def test_who_waits_for_his_turn_is_left_in_the_queue_where_many_start(
    own_desk: Desk, database: str, lines: int, limit: int | None, started: int, parked: int
) -> None:
    """A worker that finds out how many keys take turns parked and called hundreds, and was half a second old then."""
    desk = own_desk
    if limit is not None:
        desk.limit("api", concurrency=1)
        desk.enqueue(*(desk.new(holds=(Hold("api", "x"),)) for _ in range(2)))
    desk.enqueue(*(desk.new(ordering=Ordering(str(number % lines))) for number in range(lines + 1)))

    with psycopg.connect(database) as claiming:
        answer = clear(claiming, *["api"] * (limit is not None)).run(
            desk.engine.claim(desk.worker(), [Want("default", 400, 400)], TASKS, gated=400, now=desk.now)
        )
        assert len(answer.jobs) == started + (limit is not None)
        rows = claiming.execute("SELECT count(*) FROM treadle.live WHERE state = 'blocked'").fetchall()
        assert (rows, answer.more) == ([(parked,)], parked == 0)


def test_who_waits_long_for_his_turn_is_parked(own_desk: Desk) -> None:
    """With 370 of one line in front, whose first took its time, claims of 500 started 130, for as long as that took."""
    desk = own_desk
    lease, session = desk.worker(), desk.bench.store.session()
    desk.enqueue(*(desk.new(ordering=Ordering("slow")) for _ in range(1 + ENOUGH)))
    assert len(claim(desk, session, lease, 1)) == 1
    desk.enqueue(*(desk.new(ordering=Ordering(str(number))) for number in range((PATIENCE + 2) * 2 * ENOUGH)))

    started = [len(claim(desk, session, lease, 2 * ENOUGH)) for _ in range(PATIENCE + 2)]
    assert started == [ENOUGH] * PATIENCE + [2 * ENOUGH] * 2
    session.close()


def test_a_suspect_is_claimed_beside_gated_jobs_of_other_tasks(own_desk: Desk, database: str) -> None:
    """It waited for as long as one of them did, which no worker here could take."""
    desk = own_desk
    lease, session = desk.worker(), desk.bench.store.session()
    suspect, _other = desk.add(), desk.add(task="elsewhere", ordering=Ordering("a"))
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("UPDATE treadle.live SET suspect = true WHERE flow = 0")

    plan = desk.engine.claim(lease, [Want("default", 9, 9)], TASKS, suspects=1, gated=9, now=desk.now)
    assert [job.id for job in session.run(plan).jobs] == [suspect]
    session.close()
