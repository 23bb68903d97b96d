"""A producer asks which of its jobs are there already by a batch that every engine refuses whole."""

from conformance.desk import Desk
from treadle.app.pressure import strangers
from treadle.model.flow import Idempotency, OnConflict, Unique
from treadle.model.job import Edge, Stored

KEY = Unique("order 7")


def test_which_jobs_would_be_stored_is_told_without_storing_any(desk: Desk) -> None:
    asked = Idempotency("request 1", "digest", 3600.0)
    held, keyed, replaced = desk.new(unique=KEY), desk.new(idempotency=asked), desk.new(unique=Unique("order 8"))
    desk.run(desk.engine.enqueue([held, keyed, replaced]))
    before = desk.snapshot()

    new = [
        desk.new(),
        desk.new(unique=Unique("order 8", on_conflict=OnConflict.REPLACE)),
        desk.new(idempotency=Idempotency("request 2", "digest", 3600.0), edges=(Edge(held.id),)),
    ]
    conflict = desk.new(idempotency=Idempotency("request 1", "another", 3600.0))
    known = [held, desk.new(unique=KEY), desk.new(idempotency=asked), conflict]
    assert desk.run(strangers(desk.engine, [new[0], *known, *new[1:]])) == new

    assert desk.snapshot() == before
    verdicts = {answer.verdict for answer in desk.run(desk.engine.enqueue(new))}
    assert verdicts == {Stored.STORED}
