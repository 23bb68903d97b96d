"""Which executor claims, and how much: after a wake, in full flow, and after a look that found nothing."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest

from treadle import Treadle
from treadle.engine.memory.engine import MemoryEngine
from treadle.model.job import Claimed, Claims
from treadle.worker.fetcher import Fetcher
from treadle.worker.pace import Paces
from treadle.worker.run import Run


class Place:
    """An executor with so much room."""

    def __init__(self, room: int) -> None:
        self.slots = room
        self.behind = 0

    def free(self) -> int:
        return self.slots

    def room(self) -> int:
        return self.slots

    def soon(self) -> int:
        return self.slots + self.behind

    def submit(self, runs: Sequence[Run]) -> None:
        """Nothing runs here."""


class Hand:
    """What is in flight: nothing but what was taken."""

    suspects_wanted = 1

    def __init__(self) -> None:
        self.paces = Paces()
        self.runs: dict[str, Run] = {}
        self.gated = 0

    def holds(self, claimed: Claimed) -> bool:
        return claimed.id in self.runs

    def take(self, run: Run) -> None:
        self.runs[run.claimed.id] = run
        self.gated += run.settings.gated

    def end(self, job: str) -> None:
        self.gated -= self.runs.pop(job).settings.gated


def claimed(*ids: str) -> Claims:
    """These jobs of the gated task, and that others are next."""
    known = (1, "limited", 1, "json", "default", 0, 1, 0, 0, 0, 0, 0, None, None, False, "{}", None, None)
    return Claims([Claimed(known[0], each, *known[1:]) for each in ids], lost=False, more=True)


@pytest.fixture
def fetcher() -> Fetcher:
    app = Treadle("memory://appetite", allow_volatile=True)

    @app.task(name="on_loop")
    async def on_loop() -> None: ...

    @app.task(name="in_thread")
    def in_thread() -> None: ...

    places: Mapping[str, Any] = {"loop": Place(1000), "thread": Place(8)}
    return Fetcher(MemoryEngine(), "L", app.registry, [("default", 1)], False, places, cast("Any", Hand()))


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


@pytest.fixture
def gated() -> tuple[Fetcher, Place, Hand]:
    """A fetcher for one gated task, that runs in ten slots of the loop, behind brief bodies; and what is in flight."""
    app = Treadle("memory://gated", allow_volatile=True)

    @app.task(name="limited", limits=[app.limit("provider", concurrency=5)])
    async def limited() -> None: ...

    loop, hand = Place(10), Hand()
    loop.behind = 90
    places: Mapping[str, Any] = {"loop": loop}
    return Fetcher(MemoryEngine(), "L", app.registry, [("default", 1)], False, places, cast("Any", hand)), loop, hand


def test_gated_jobs_are_claimed_into_slots_until_their_task_is_known_to_be_brief(
    gated: tuple[Fetcher, Place, Hand],
) -> None:
    fetcher, loop, hand = gated
    assert [ask.gated for ask in fetcher.asks()] == [10]
    hand.paces.took("limited", 0.00001)
    assert [ask.gated for ask in fetcher.asks()] == [100]
    loop.behind = 5000
    [ask] = fetcher.asks()
    assert ask.gated == 1000
    fetcher.take(ask, claimed("a", "b"))
    assert [ask.gated for ask in fetcher.asks()] == [500], "in turns, as others are passed over"
    hand.paces.took("limited", 2.0)
    assert [ask.gated for ask in fetcher.asks()] == [10]


def test_a_few_gated_jobs_that_wait_for_what_is_in_hand_are_claimed_when_all_of_it_has_ended(
    gated: tuple[Fetcher, Place, Hand],
) -> None:
    fetcher, _, hand = gated
    hand.paces.took("limited", 0.00001)
    [ask] = fetcher.asks()
    assert fetcher.take(ask, claimed(*map(str, range(60))))
    assert (fetcher.in_turn, fetcher.halves, fetcher.awaited(0)) == (False, False, 0)
    [ask] = fetcher.asks()
    assert fetcher.take(ask, claimed("a", "b"))
    assert (fetcher.in_turn, fetcher.halves, fetcher.awaited(0)) == (True, False, 62)

    for job in [str(number) for number in range(60)]:
        hand.end(job)
    assert fetcher.awaited(60) == 2


def test_many_of_them_are_claimed_by_halves(gated: tuple[Fetcher, Place, Hand]) -> None:
    fetcher, loop, hand = gated
    hand.paces.took("limited", 0.00001)
    loop.behind = 5000
    [ask] = fetcher.asks()
    fetcher.take(ask, claimed(*map(str, range(600))))
    [ask] = fetcher.asks(untold=100)
    assert (ask.gated, ask.held) == (1000, 700)
    fetcher.take(ask, claimed())
    assert fetcher.halves, "700 can be in hand at once"
    assert [ask.gated for ask in fetcher.asks()] == [350]

    assert (fetcher.due(100), fetcher.awaited(0)) == (False, 350)
    for job in [str(number) for number in range(300)]:
        hand.end(job)
    assert (fetcher.due(400), fetcher.awaited(300)) == (False, 50), "they have ended, and the store does not know"
    assert (fetcher.due(51), fetcher.due(50)) == (False, True)
    for job in [str(number) for number in range(300, 600)]:
        hand.end(job)
    assert (fetcher.due(600), fetcher.due(0), fetcher.awaited(600)) == (False, True, 0)

    hand.paces.took("limited", 0.02)
    assert not fetcher.halves, "what takes its time is told of as it ends"


def test_more_is_tried_while_halves_are_filled(gated: tuple[Fetcher, Place, Hand]) -> None:
    """The first look may have met a crowd: 800 of 1,000 keys were in hand at once, for as long as the worker took turns."""
    fetcher, loop, hand = gated
    hand.paces.took("limited", 0.00001)
    loop.behind = 5000
    [ask] = fetcher.asks(untold=800)
    fetcher.take(ask, claimed())
    wanted = [400]  # the other half is in hand while one is claimed
    for shortfall in (0, 0, 0, 50, 0):
        [ask] = fetcher.asks(untold=wanted[-1])
        wanted.append(ask.gated)
        jobs = [str(number) for number in range(ask.gated - shortfall)]
        fetcher.take(ask, claimed(*jobs))
        for job in jobs:
            hand.end(job)
    assert wanted == [400, 400, 450, 450, 500, 450], "no more for a second"
