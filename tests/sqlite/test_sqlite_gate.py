"""The writers' gate: one at a time, and whoever waits comes before whoever has just been."""

import fcntl
import os
import threading
import time
from pathlib import Path

import pytest

from treadle.engine.sqlite.gate import Gate

PATIENCE = 30.0


def soon() -> float:
    return time.monotonic() + PATIENCE


def test_one_at_a_time(tmp_path: Path) -> None:
    one, two = Gate(tmp_path), Gate(tmp_path)
    assert one.enter(soon())
    assert not two.enter(time.monotonic())
    one.leave()
    assert two.enter(soon())
    two.leave()
    one.close()
    two.close()


def test_giving_up_lets_the_others_through(tmp_path: Path) -> None:
    one, two, three = Gate(tmp_path), Gate(tmp_path), Gate(tmp_path)
    assert one.enter(soon())
    assert not two.enter(time.monotonic())
    one.leave()
    assert three.enter(soon())
    for gate in (one, two, three):
        gate.close()


def test_who_has_just_been_inside_cannot_come_before_who_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # With no patience a look at the outer door is a stand behind it: it cannot be seen shut and be open again.
    monkeypatch.setattr("treadle.engine.sqlite.gate._PATIENCE", 0.0)
    first, second = Gate(tmp_path), Gate(tmp_path)
    assert first.enter(soon())
    entered, leave = threading.Event(), threading.Event()

    def wait() -> None:
        assert second.enter(soon())
        entered.set()
        leave.wait(PATIENCE)
        second.leave()

    thread = threading.Thread(target=wait)
    thread.start()
    deadline = soon()
    while not _is_locked(tmp_path / "turn"):
        assert time.monotonic() < deadline, "the second never stood between the doors"
    first.leave()
    assert not first.enter(time.monotonic()), "the one that waits holds the outer door"
    assert entered.wait(PATIENCE)
    leave.set()
    thread.join()
    assert first.enter(soon())
    first.close()
    second.close()


def test_a_closed_gate_opens_anew(tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    assert gate.enter(soon())
    gate.close()
    other = Gate(tmp_path)
    assert other.enter(soon()), "closing lets go"
    other.close()
    assert gate.enter(soon())
    gate.close()


def _is_locked(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
