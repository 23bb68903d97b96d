"""What comes in between two calls of Python on the same thread, as a signal's handler and a finalizer do."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

PATIENCE = 20.0


def come_in(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, work: Callable[[], object]) -> None:
    """Have `work` done in the first call of `owner.name`, before anything else."""
    real, came = getattr(owner, name), list[None]()

    def broken_into(*given: Any, **named: Any) -> Any:
        if not came:
            came.append(None)
            work()
        return real(*given, **named)

    monkeypatch.setattr(owner, name, broken_into)


def outcome(work: Callable[[], object]) -> Any:
    """What `work` returns or raises. Fails when it waits for itself."""
    done: list[Any] = []

    def guarded() -> None:
        try:
            done.append(work())
        except BaseException as error:
            done.append(error)

    thread = threading.Thread(target=guarded, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive(), "it waits for itself"
    return done[0]
