"""Job ids: UUIDv7, growing, and never repeated - in threads, after a fork, with a clock that steps back."""

import os
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

from treadle.app import ids
from treadle.app.ids import new_id


def test_an_id_is_a_uuid_of_version_7_that_tells_its_millisecond():
    before = time.time_ns() // 1_000_000
    found = uuid.UUID(new_id())
    assert found.version == 7
    assert found.variant == uuid.RFC_4122
    # Earlier tests may have made ids faster than milliseconds pass; then the id runs ahead of the clock, never behind.
    assert before <= (found.int >> 80)


def test_ids_of_one_process_grow():
    made = [new_id() for _ in range(50_000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)


def test_threads_never_share_an_id():
    with ThreadPoolExecutor(8) as pool:
        made = [each for part in pool.map(lambda _: [new_id() for _ in range(5000)], range(8)) for each in part]
    assert len(set(made)) == len(made)


def test_a_clock_that_steps_back_is_ignored(monkeypatch):
    first = new_id()
    monkeypatch.setattr(ids, "time_ns", lambda: 1_000_000_000)
    later = [new_id() for _ in range(1000)]
    assert first < later[0]
    assert later == sorted(later)


def test_a_run_that_is_used_up_goes_on_in_a_later_millisecond(monkeypatch):
    monkeypatch.setattr(ids, "time_ns", lambda: 1_000_000_000)
    before = new_id()
    run = ids._source.run
    monkeypatch.setattr(ids._source, "run", run._replace(number=iter([(1 << 48) - 1, 1 << 48]).__next__))
    last, after = new_id(), new_id()
    assert before < last < after
    assert uuid.UUID(after).int >> 80 == run.millis + 1


def test_an_id_made_in_the_middle_of_another_waits_for_nobody_and_grows(monkeypatch):
    """A signal's handler and a finalizer come in between any two calls of Python, on the same thread."""
    begin, made = ids._begin, [new_id()]
    now = (ids._source.run.millis + 1) * 1_000_000

    def broken_into(millis):
        monkeypatch.setattr(ids, "_begin", begin)
        made.append(new_id())
        return begin(millis)

    monkeypatch.setattr(ids, "_begin", broken_into)
    monkeypatch.setattr(ids, "time_ns", lambda: now)
    thread = threading.Thread(target=lambda: made.extend(new_id() for _ in range(100)), daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive(), "it waits for itself"
    assert len(made) == 102
    assert made == sorted(set(made))


def test_a_forked_child_makes_other_ids():
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, " ".join(new_id() for _ in range(200)).encode())
        os._exit(0)
    os.close(writer)
    mine = [new_id() for _ in range(200)]
    with os.fdopen(reader) as pipe:
        theirs = pipe.read().split()
    os.waitpid(child, 0)
    assert len(theirs) == 200
    assert not set(mine) & set(theirs)
    # Not one shares even the random part of the head.
    assert {each[14:23] for each in mine}.isdisjoint({each[14:23] for each in theirs})
