"""Large batches of outcomes travel beside the claims, where a store does well with both at once."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, cast

import pytest

from treadle import Context, Treadle
from treadle.engine.memory.session import MemoryStore, OwnSession
from treadle.engine.plan import Plan
from treadle.engine.session import Durability
from treadle.model.errors import CannotOpen
from treadle.model.filter import Filter
from treadle.model.job import Claims
from treadle.model.outcome import Completed, Note, Settlement
from treadle.model.state import State
from treadle.worker import exchange, fetcher, settler
from treadle.worker.exchange import Exchange
from treadle.worker.fetcher import Ask, Fetcher
from treadle.worker.halves import Halves
from treadle.worker.notes import Notes
from treadle.worker.settler import Settler
from treadle.worker.worker import Worker
from worker.test_worker import serve, until

COUNT = 600
Before = Callable[[Plan[Any]], Awaitable[None]]


@pytest.fixture(params=[False, True], ids=["beside", "serial"])
def app(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Treadle]:
    """On a store that behaves as one far away does, with batches that are large sooner."""
    monkeypatch.setattr(MemoryStore, "abreast", property(lambda _: True))
    monkeypatch.setattr(MemoryStore, "serial", property(lambda _: request.param))
    monkeypatch.setattr(MemoryStore, "local", property(lambda _: False))
    monkeypatch.setattr(exchange, "ABREAST", 20)
    app = Treadle("memory://telling", allow_volatile=True)
    yield app
    app.close()


def jobs(app: Treadle) -> Counter[int]:
    """Enqueue many; returns how often each has run so far."""
    ran: Counter[int] = Counter()

    @app.task(name="body")
    async def body(number: int) -> None:
        ran[number] += 1

    app.enqueue_many([body.call(number) for number in range(COUNT)])
    return ran


def before_plans(monkeypatch: pytest.MonkeyPatch, before: Before) -> None:
    arun = OwnSession.arun

    async def spied(session: OwnSession, plan: Plan[Any], durability: Durability = Durability.DEFAULT) -> Any:
        await before(plan)
        await asyncio.sleep(0)  # as long as an answer takes, bodies run
        return await arun(session, plan, durability)

    monkeypatch.setattr(OwnSession, "arun", spied)


def in_state(app: Treadle, state: State) -> int:
    return sum(each.count for each in app.session.run(app.store.engine.count(Filter(states=[state]), [])))


def completed(app: Treadle) -> Callable[[Worker], Any]:
    async def scene(_: Worker) -> None:
        await until(lambda: in_state(app, State.COMPLETED) == COUNT)

    return scene


def test_the_worker_claims_while_a_batch_is_told(app: Treadle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetcher, "MOST", 50)  # else one claim may bring all that is left
    claimed, claims = asyncio.Event(), 0

    async def before(plan: Plan[Any]) -> None:
        nonlocal claims
        if plan.name == "settle" and not claimed.is_set():
            # The answer to this one comes only when two more claims have been answered.
            claims = 0
            await claimed.wait()
        elif plan.name == "claim":
            claims += 1
            if claims == 3:
                claimed.set()

    before_plans(monkeypatch, before)
    ran = jobs(app)
    assert serve(app, completed(app), async_slots=50) == 0
    assert claimed.is_set()
    assert ran == Counter(range(COUNT))


def test_claims_wait_while_a_whole_further_batch_waits_to_be_told(app: Treadle, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has run and is not stored stays bounded, however slowly the store takes outcomes."""
    monkeypatch.setattr(settler, "MOST", 50)
    monkeypatch.setattr(fetcher, "MOST", 50)
    unstored: list[int] = []

    async def before(plan: Plan[Any]) -> None:
        if plan.name == "settle":
            for _ in range(200):
                await asyncio.sleep(0)
        elif plan.name == "claim":
            unstored.append(ran.total() - in_state(app, State.COMPLETED))

    before_plans(monkeypatch, before)
    ran = jobs(app)
    assert serve(app, completed(app), async_slots=50) == 0
    assert ran == Counter(range(COUNT))
    assert max(unstored) <= 200, unstored


def test_a_batch_that_does_not_get_through_is_told_again(app: Treadle, monkeypatch: pytest.MonkeyPatch) -> None:
    failures = 0

    async def before(plan: Plan[Any]) -> None:
        nonlocal failures
        if plan.name == "settle" and failures < 2:
            failures += 1
            raise CannotOpen("memory: away for a moment")

    before_plans(monkeypatch, before)
    ran = jobs(app)
    assert serve(app, completed(app), async_slots=50) == 0
    assert failures == 2
    assert ran == Counter(range(COUNT))


def test_a_worker_that_stops_waits_for_what_is_being_told(app: Treadle, monkeypatch: pytest.MonkeyPatch) -> None:
    telling, going = asyncio.Event(), asyncio.Event()

    async def before(plan: Plan[Any]) -> None:
        if plan.name == "settle" and not telling.is_set():
            telling.set()
            await going.wait()

    async def scene(worker: Worker) -> None:
        await until(telling.is_set)
        worker.drain()
        asyncio.get_running_loop().call_later(0.1, going.set)

    before_plans(monkeypatch, before)
    ran = jobs(app)
    assert serve(app, scene, async_slots=50) == 0
    assert set(ran.values()) == {1}
    assert in_state(app, State.COMPLETED) == len(ran)
    assert in_state(app, State.RUNNING) == 0
    assert in_state(app, State.QUEUED) == COUNT - len(ran)


def test_what_a_claim_brings_after_the_worker_was_told_to_leave_is_handed_back(
    app: Treadle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It came when the hands had been seen empty: its jobs were charged with a crash, or left running under no lease."""
    ran, leaving = Counter[int](), asyncio.Event()
    flush, carry = Worker._flush, Exchange._carry

    @app.task(name="late")
    async def late(number: int) -> None:
        ran[number] += 1

    async def flushing(worker: Worker) -> None:
        leaving.set()
        await flush(worker)

    async def scene(worker: Worker) -> None:
        async def held_up(exchange: Exchange, plan: Plan[Any], durability: Durability, size: int) -> Any:
            answers = await carry(exchange, plan, durability, size)
            if in_state(app, State.RUNNING):
                worker.drain()
                await leaving.wait()
            return answers

        monkeypatch.setattr(Exchange, "_carry", held_up)
        app.enqueue_many([late.call(number) for number in range(10)])
        await until(leaving.is_set)

    monkeypatch.setattr(Worker, "_flush", flushing)
    assert serve(app, scene) == 0
    assert in_state(app, State.QUEUED) == 10
    assert not ran
    assert not app.session.run(app.store.engine.leases())


def ordered(app: Treadle, monkeypatch: pytest.MonkeyPatch, body: Callable[[Context, int], Awaitable[None]]) -> list[int]:
    """Enqueue many jobs in order by sixty keys, of which a claim sees some; returns those that have run so far, as they did."""
    monkeypatch.setattr(fetcher, "HALVED", 20)
    monkeypatch.setattr(fetcher, "IN_TURN", float("inf"))
    monkeypatch.setattr("treadle.engine.memory.working.MOST_JUDGED", 70)
    ran: list[int] = []

    @app.task(name="ordered", ordered_by="key")
    async def ordered(ctx: Context, number: int, key: int) -> None:
        await body(ctx, number)
        ran.append(number)

    app.enqueue_many([ordered.call(number, number % 60) for number in range(COUNT)])
    return ran


async def at_once(_: Context, __: int) -> None:
    """A body that takes no time."""


def test_gated_jobs_are_told_of_by_halves_while_others_are_claimed(app: Treadle, monkeypatch: pytest.MonkeyPatch) -> None:
    under_way: Counter[str] = Counter()
    together = 0
    arun = OwnSession.arun

    async def spied(session: OwnSession, plan: Plan[Any], durability: Durability = Durability.DEFAULT) -> Any:
        nonlocal together
        under_way[plan.name] += 1
        together += under_way.total() == 2
        for _ in range(30):
            await asyncio.sleep(0)  # as long as an answer takes, bodies run
        under_way[plan.name] -= 1
        return await arun(session, plan, durability)

    monkeypatch.setattr(OwnSession, "arun", spied)
    ran = ordered(app, monkeypatch, at_once)
    assert serve(app, completed(app), async_slots=50) == 0
    assert Counter(ran) == Counter(range(COUNT))
    for key in range(60):
        assert [number for number in ran if number % 60 == key] == list(range(key, COUNT, 60))
    assert together >= 10


def test_what_goes_on_ending_while_a_claim_is_due_is_told_of_together(app: Treadle, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first few that had ended were told of beside the claim, and the rest waited for that: twice as many settlements."""
    monkeypatch.setattr("treadle.worker.executors.loop.TURN", 5)
    told: list[int] = []
    take = Settler.take

    def spied(self: Settler) -> tuple[list[Settlement], Durability]:
        batch, durability = take(self)
        told.extend([len(batch)] if batch else [])
        return batch, durability

    monkeypatch.setattr(Settler, "take", spied)
    ordered(app, monkeypatch, at_once)
    assert serve(app, completed(app), async_slots=50) == 0
    assert sum(told) == COUNT
    assert len([size for size in told if size <= 10]) <= len(told) // 2, told


@pytest.mark.parametrize("serial", [False, True])
def test_what_has_ended_is_told_of_though_a_claim_that_is_due_finds_no_room(serial: bool) -> None:
    """A claim that asks for nothing is due again at once: nothing was told of for as long as a body kept the last slot."""

    class Full:
        halves = True

        def due(self, _: int) -> bool:
            return True

        def asks(self, _: int, *, suspects: bool) -> list[Ask]:
            return []

    told: list[int] = []

    async def converse(_: list[Note], batch: list[Settlement], *__: object) -> None:
        told.append(len(batch))

    async def turn() -> None:
        end = Settlement(1, "job", 1, Completed(), 0.0)
        pending, full = Settler(), Full()
        pending.add(end, Durability.DEFAULT)
        turns = Halves(converse, pending, Notes(lambda: None), asyncio.Event(), serial=serial)
        await turns.take(cast("Fetcher", full), ending=True)
        await turns.over()

    asyncio.run(turn())
    assert told == [1]


class Roomy:
    """A fetcher that asks for a suspect where it may, and for no gated job."""

    halves = True

    def due(self, _: int) -> bool:
        return True

    def asks(self, _: int, *, suspects: bool) -> list[Ask]:
        return [Ask(["async"], [1], int(suspects), 0, 0, cast("Plan[Claims]", None))]


def test_of_two_claims_under_way_one_may_bring_a_suspect() -> None:
    """A worker holds one at a time: should it kill its process, it is known which did."""
    suspects: list[int] = []

    async def converse(_: list[Note], __: list[Settlement], ___: Durability, asks: Sequence[Ask]) -> None:
        suspects.extend(ask.suspects for ask in asks)
        await asyncio.sleep(0)

    async def turn() -> None:
        turns = Halves(converse, Settler(), Notes(lambda: None), asyncio.Event(), serial=True)
        for _ in range(3):
            await turns.take(cast("Fetcher", Roomy()), ending=False)
        await turns.over()
        await turns.take(cast("Fetcher", Roomy()), ending=False)
        await turns.over()

    asyncio.run(turn())
    assert suspects == [1, 0, 1]


def test_a_claim_that_asks_for_no_gated_job_is_under_way_as_well() -> None:
    answered = asyncio.Event()

    async def converse(*_: object) -> None:
        await answered.wait()

    async def turn() -> None:
        turns = Halves(converse, Settler(), Notes(lambda: None), asyncio.Event(), serial=False)
        await turns.take(cast("Fetcher", Roomy()), ending=False)
        assert turns.claiming
        answered.set()
        await turns.over()
        assert not turns.claiming

    asyncio.run(turn())


def test_bodies_that_take_their_time_and_talk_hold_up_nobody_behind_them(app: Treadle, monkeypatch: pytest.MonkeyPatch) -> None:
    came_by = asyncio.Event()

    async def body(ctx: Context, number: int) -> None:
        while number >= COUNT // 2 and not came_by.is_set():
            ctx.progress(0.5)  # so that there is always something to tell of
            await asyncio.sleep(0)

    ran = ordered(app, monkeypatch, body)

    @app.task(name="behind")
    async def behind() -> None:
        came_by.set()

    behind.enqueue()

    async def scene(_: Worker) -> None:
        await until(lambda: in_state(app, State.COMPLETED) == COUNT + 1)

    assert serve(app, scene, async_slots=100) == 0
    assert Counter(ran) == Counter(range(COUNT))


def test_what_is_told_together_with_a_claim_is_not_counted_as_in_hand(app: Treadle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice as many seemed to fit as there were keys: the worker changed to halves and back, and parked a batch each time."""
    ran = ordered(app, monkeypatch, at_once)
    monkeypatch.setattr(fetcher, "HALVED", 80)
    most: list[int] = []
    take = Fetcher.take

    def spied(self: Fetcher, ask: Ask, claims: Claims) -> bool:
        more = take(self, ask, claims)
        most.append(self._most_in_turn)
        return more

    monkeypatch.setattr(Fetcher, "take", spied)
    assert serve(app, completed(app), async_slots=50) == 0
    assert Counter(ran) == Counter(range(COUNT))
    assert 0 < max(most) <= 60
