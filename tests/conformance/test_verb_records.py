"""read and write: small shared facts, changed by compare-and-set."""

import pytest

from conformance.desk import Desk
from treadle.model.record import Record, Space, Write, Written


def write(desk: Desk, *writes: Write) -> list[Written]:
    return desk.run(desk.engine.write(writes, now=desk.now))


def read(desk: Desk, space: Space = Space.SCHEDULE, keys: list[str] | None = None) -> list[Record]:
    return desk.run(desk.engine.read(space, keys))


def test_a_record_begins_at_version_one_and_grows(desk: Desk) -> None:
    assert write(desk, Write(Space.SCHEDULE, "a", "1")) == [Written(True, 1)]
    assert write(desk, Write(Space.SCHEDULE, "a", "2")) == [Written(True, 2)]
    assert read(desk) == [Record(Space.SCHEDULE, "a", "2", 2)]


@pytest.mark.parametrize("expect", [0, 1, 3])
def test_a_write_with_another_version_is_not_done(desk: Desk, expect: int) -> None:
    write(desk, Write(Space.SCHEDULE, "a", "1"), Write(Space.SCHEDULE, "a", "2"))

    assert write(desk, Write(Space.SCHEDULE, "a", "3", expect)) == [Written(False, 2)]
    assert write(desk, Write(Space.SCHEDULE, "a", None, expect)) == [Written(False, 2)]
    assert read(desk) == [Record(Space.SCHEDULE, "a", "2", 2)]


def test_a_write_with_the_right_version_is_done(desk: Desk) -> None:
    assert write(desk, Write(Space.SCHEDULE, "a", "1", 0)) == [Written(True, 1)]
    assert write(desk, Write(Space.SCHEDULE, "a", "2", 1)) == [Written(True, 2)]


def test_a_version_of_an_absent_record_is_not_met(desk: Desk) -> None:
    assert write(desk, Write(Space.SCHEDULE, "a", "1", 1)) == [Written(False, 0)]
    assert read(desk) == []


def test_a_record_is_deleted_by_none_and_begins_anew(desk: Desk) -> None:
    write(desk, Write(Space.SCHEDULE, "a", "1"), Write(Space.SCHEDULE, "a", "2"))

    assert write(desk, Write(Space.SCHEDULE, "a", None, 2)) == [Written(True, 0)]
    assert read(desk) == []
    assert write(desk, Write(Space.SCHEDULE, "a", None)) == [Written(True, 0)]
    assert write(desk, Write(Space.SCHEDULE, "a", "3", 0)) == [Written(True, 1)]


def test_each_write_stands_on_its_own_and_sees_those_before(desk: Desk) -> None:
    answers = write(
        desk,
        Write(Space.SCHEDULE, "a", "1", 0),
        Write(Space.SCHEDULE, "b", "1", 7),
        Write(Space.SCHEDULE, "a", "2", 1),
        Write(Space.SCHEDULE, "a", "3", 1),
    )

    assert answers == [Written(True, 1), Written(False, 0), Written(True, 2), Written(False, 2)]
    assert read(desk) == [Record(Space.SCHEDULE, "a", "2", 2)]


def test_nothing_to_write(desk: Desk) -> None:
    assert write(desk) == []


def test_spaces_are_apart(desk: Desk) -> None:
    write(desk, Write(Space.SCHEDULE, "a", "1"), Write(Space.SERVED, "a", "2"))

    assert read(desk, Space.SCHEDULE) == [Record(Space.SCHEDULE, "a", "1", 1)]
    assert read(desk, Space.SERVED) == [Record(Space.SERVED, "a", "2", 1)]
    assert read(desk, Space.PAUSED) == []


def test_records_are_read_by_key_in_the_order_of_keys(desk: Desk) -> None:
    write(desk, *(Write(Space.SCHEDULE, key, key.upper()) for key in ("c", "a", "b")))

    assert [record.key for record in read(desk)] == ["a", "b", "c"]
    assert [record.value for record in read(desk, keys=["c", "nobody", "a"])] == ["A", "C"]
    assert read(desk, keys=[]) == []
    assert read(desk, keys=["nobody"]) == []
