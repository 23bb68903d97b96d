"""Which executor claims, and how much: after a wake, in full flow, and after a look that found nothing."""

from collections.abc import Mapping
from typing import Any, cast

import pytest

from treadle import Treadle
from treadle.engine.memory.engine import MemoryEngine
from treadle.worker.fetcher import Fetcher


class Place:
    """An executor with so much room."""

    def __init__(self, room: int) -> None:
        self.slots = room

    def free(self) -> int:
        return self.slots

    def room(self) -> int:
        return self.slots


class Nothing:
    """Nothing is in flight."""

    suspects_wanted = 1


@pytest.fixture
def fetcher() -> Fetcher:
    app = Treadle("memory://appetite", allow_volatile=True)

    @app.task(name="on_loop")
    async def on_loop() -> None: ...

    @app.task(name="in_thread")
    def in_thread() -> None: ...

    places: Mapping[str, Any] = {"loop": Place(1000), "thread": Place(8)}
    return Fetcher(MemoryEngine(), "L", app.registry, [("default", 1)], False, places, cast("Any", Nothing()))


def asked(fetcher: Fetcher) -> list[tuple[list[str], list[int]]]:
    return [(ask.places, ask.takes) for ask in fetcher.asks()]


def test_the_first_claim_of_an_idle_worker_is_one_for_all(fetcher: Fetcher) -> None:
    assert [(sorted(places), takes) for places, takes in asked(fetcher)] == [(["loop", "thread"], [8])]


def test_a_wake_does_not_make_a_busy_executor_claim_less(fetcher: Fetcher) -> None:
    fetcher.asks()
    fetcher.wake()
    assert sorted(asked(fetcher)) == [(["loop"], [1000]), (["thread"], [8])]


def test_polls_pass_over_who_walked_long_for_nothing_while_another_is_in_flow(fetcher: Fetcher) -> None:
    fetcher.asks()
    loop, thread = sorted(fetcher.asks(), key=lambda ask: ask.places)
    fetcher.sated(thread, took=1000.0)
    fetcher.wake(polled=True)
    assert asked(fetcher) == [(["loop"], [1000])]
    fetcher.wake()
    assert sorted(asked(fetcher)) == [(["loop"], [1000]), (["thread"], [8])]

    fetcher.sated(thread, took=1000.0)
    fetcher.sated(loop, took=1000.0)
    fetcher.wake(polled=True)
    assert [sorted(places) for places, _ in asked(fetcher)] == [["loop", "thread"]]
