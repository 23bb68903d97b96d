"""Group commit: enqueues that meet share an exchange, and nobody is told anything that is not so."""

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from treadle import Durability, StoreBusy
from treadle.app import group_commit
from treadle.engine.plan import Plan
from treadle.engine.session import Session


class Turnstile:
    """A session whose exchanges a test looks into: how many jobs each stored, and how strictly."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.sizes: list[int] = []
        self.strictness: list[Durability] = []
        self.during: list[Callable[[], Any]] = []
        """What happens in the next exchanges, one after the other, before they store anything."""

    def run(self, plan: Plan[Any], durability: Durability = Durability.DEFAULT) -> Any:
        """Run a plan."""
        if self.during:
            self.during.pop(0)()
        answer = self._session.run(plan, durability)
        self._count(answer, durability)
        return answer

    async def arun(self, plan: Plan[Any], durability: Durability = Durability.DEFAULT) -> Any:
        """Run a plan, from an event loop."""
        if self.during:
            held = self.during.pop(0)()
            if held is not None:
                await held
        answer = await self._session.arun(plan, durability)
        self._count(answer, durability)
        return answer

    def close(self) -> None:
        """Close the session."""
        self._session.close()

    def _count(self, answer: object, durability: Durability) -> None:
        if isinstance(answer, list):
            self.sizes.append(len(answer))
            self.strictness.append(durability)


@pytest.fixture
def app(treadle_app):
    def work(number: int = 0) -> int:
        return number

    treadle_app.task(name="work")(work)
    treadle_app.task(name="fleeting", durability="relaxed")(work)
    treadle_app.task(name="in_line", ordered_by="number")(work)
    treadle_app.registry.expect("work").enqueue(0)  # the first looks whether anybody works here, by itself
    return treadle_app


@pytest.fixture
def work(app):
    return app.registry.expect("work")


@pytest.fixture
def turnstile(app) -> Turnstile:
    made = Turnstile(app.session)
    app.connection.exchange((app.connection.store, made))
    return made


@pytest.fixture
def seats(monkeypatch: pytest.MonkeyPatch) -> threading.Semaphore:
    """Released each time that a thread sits down to wait."""
    taken = threading.Semaphore(0)

    def future() -> Future[Any]:
        taken.release()
        return Future()

    monkeypatch.setattr(group_commit, "_thread_future", future)
    return taken


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def stored(app: Any) -> list[int]:
    """The numbers of all jobs of the store but the first."""
    return sorted(job.args["number"] for job in app.client.find() if job.args != {"number": 0})


async def met(turnstile: Turnstile, *calls: Any, first: Any) -> list[Any]:
    """What becomes of calls that come while the first one is at the store."""
    held: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    turnstile.during.append(lambda: held)
    ahead = asyncio.ensure_future(first)
    waiting = [asyncio.ensure_future(each) for each in calls]
    asyncio.get_running_loop().call_soon(held.set_result, None)  # behind the first steps of all of them
    return await asyncio.gather(ahead, *waiting, return_exceptions=True)


def test_those_who_come_during_an_exchange_share_the_next(app, work, turnstile):
    handles = asyncio.run(met(turnstile, *(work.aenqueue(n) for n in range(2, 7)), first=work.aenqueue(1)))
    assert turnstile.sizes == [1, 5]
    assert [app.client.get(each.id).args["number"] for each in handles] == [1, 2, 3, 4, 5, 6]
    assert not any(each.existing for each in handles)


def test_who_comes_alone_goes_alone(work, turnstile):
    async def one_after_the_other() -> None:
        for number in range(3):
            await work.aenqueue(number)

    asyncio.run(one_after_the_other())
    for number in range(3):
        work.enqueue(number)
    assert turnstile.sizes == [1] * 6


def test_one_exchange_takes_so_many_and_no_more(app, work, turnstile, monkeypatch):
    monkeypatch.setattr(group_commit, "MOST", 2)
    asyncio.run(met(turnstile, *(work.aenqueue(n) for n in range(2, 7)), first=work.aenqueue(1)))
    assert turnstile.sizes == [1, 2, 2, 1]
    assert stored(app) == [1, 2, 3, 4, 5, 6]


def test_an_exchange_is_as_strict_as_its_strictest_job(app, work, turnstile):
    fleeting = app.registry.expect("fleeting")
    asyncio.run(met(turnstile, fleeting.aenqueue(2), work.aenqueue(3), first=fleeting.aenqueue(1)))
    asyncio.run(met(turnstile, fleeting.aenqueue(5), fleeting.aenqueue(6), first=work.aenqueue(4)))
    assert turnstile.sizes == [1, 2, 1, 2]
    assert turnstile.strictness == [Durability.RELAXED, Durability.DEFAULT, Durability.DEFAULT, Durability.RELAXED]


def test_a_job_that_may_have_to_wait_for_others_makes_nobody_wait_with_it(app, work, turnstile):
    in_line = app.registry.expect("in_line")
    asyncio.run(met(turnstile, work.aenqueue(2), in_line.aenqueue(3), work.aenqueue(4), first=work.aenqueue(1)))
    assert sorted(turnstile.sizes) == [1, 1, 2]
    assert stored(app) == [1, 2, 3, 4]


def test_who_is_cancelled_while_waiting_stores_nothing_and_others_go_on(app, work, turnstile):
    async def body() -> list[Any]:
        given_up = asyncio.ensure_future(work.aenqueue(2))
        asyncio.get_running_loop().call_soon(given_up.cancel)
        return await met(turnstile, work.aenqueue(3), given_up, work.aenqueue(4), first=work.aenqueue(1))

    found = asyncio.run(body())
    assert isinstance(found[2], asyncio.CancelledError)
    assert stored(app) == [1, 3, 4]


def test_who_is_cancelled_as_his_turn_comes_hands_it_on(app, work, turnstile, monkeypatch):
    tell = group_commit.Seat.tell

    async def body() -> None:
        loop = asyncio.get_running_loop()
        held = loop.create_future()
        turnstile.during.append(lambda: held)
        first, leader, other = (asyncio.ensure_future(work.aenqueue(n)) for n in (1, 2, 3))

        def tell_and_cancel(seat: group_commit.Seat, what: Any) -> None:
            tell(seat, what)
            leader.cancel()

        monkeypatch.setattr(group_commit.Seat, "tell", tell_and_cancel)
        loop.call_soon(held.set_result, None)
        await asyncio.wait([first, leader, other])
        assert leader.cancelled()
        await other
        await work.aenqueue(4)

    asyncio.run(body())
    assert stored(app) == [1, 3, 4]


def test_those_whose_leader_is_cancelled_at_the_store_go_by_themselves(app, work, turnstile):
    async def body() -> None:
        loop = asyncio.get_running_loop()
        held, reached = loop.create_future(), loop.create_future()

        def arrive() -> Any:
            reached.set_result(None)
            return loop.create_future()  # never done

        turnstile.during += [lambda: held, arrive]
        first, leader, *others = (asyncio.ensure_future(work.aenqueue(n)) for n in (1, 2, 3, 4))
        loop.call_soon(held.set_result, None)
        await reached
        leader.cancel()
        await asyncio.gather(first, *others)
        assert leader.cancelled()
        await work.aenqueue(5)

    asyncio.run(body())
    assert stored(app) == [1, 3, 4, 5]


def test_an_error_of_the_store_is_everybody_s_and_ends_with_him(app, work, turnstile):
    def fail() -> None:
        raise StoreBusy("the store is away")

    async def body() -> list[Any]:
        held = asyncio.get_running_loop().create_future()
        turnstile.during += [lambda: held, fail]
        calls = [asyncio.ensure_future(work.aenqueue(n)) for n in (1, 2, 3)]
        asyncio.get_running_loop().call_soon(held.set_result, None)
        found = await asyncio.gather(*calls, return_exceptions=True)
        await work.aenqueue(4)
        return found

    found = asyncio.run(body())
    assert [type(each) for each in found[1:]] == [StoreBusy, StoreBusy]
    assert stored(app) == [1, 4]


def test_an_error_that_may_be_one_job_s_is_told_to_him_alone(app, work, turnstile):
    def fail() -> None:
        raise ValueError("one of them cannot be written")

    async def body() -> list[Any]:
        held = asyncio.get_running_loop().create_future()
        turnstile.during += [lambda: held, fail, fail]  # the crew, then its leader by himself
        calls = [asyncio.ensure_future(work.aenqueue(n)) for n in (1, 2, 3)]
        asyncio.get_running_loop().call_soon(held.set_result, None)
        return await asyncio.gather(*calls, return_exceptions=True)

    found = asyncio.run(body())
    assert sum(isinstance(each, ValueError) for each in found) == 1
    assert len(stored(app)) == 2


def test_a_loop_that_is_over_is_not_kept(work, turnstile):
    async def body() -> "weakref.ref[asyncio.AbstractEventLoop]":
        await met(turnstile, work.aenqueue(2), first=work.aenqueue(1))
        return weakref.ref(asyncio.get_running_loop())

    loop = asyncio.run(body())
    gc.collect()
    assert loop() is None


def test_threads_share_an_exchange(app, work, turnstile, seats, threads):
    at_the_store = threading.Event()

    def wait_for_others() -> None:
        at_the_store.set()
        for _ in range(5):
            assert seats.acquire(timeout=30)

    turnstile.during.append(wait_for_others)
    first = threads.submit(work.enqueue, 1)
    assert at_the_store.wait(30)
    others = [threads.submit(work.enqueue, n) for n in range(2, 7)]
    handles = [first.result(30), *(each.result(30) for each in others)]
    assert turnstile.sizes == [1, 5]
    assert [app.client.get(each.id).args["number"] for each in handles] == [1, 2, 3, 4, 5, 6]


def test_threads_are_told_of_an_error_of_the_store(app, work, turnstile, seats, threads):
    at_the_store = threading.Event()

    def wait_for_others() -> None:
        at_the_store.set()
        for _ in range(2):
            assert seats.acquire(timeout=30)

    def fail() -> None:
        raise StoreBusy("the store is away")

    turnstile.during += [wait_for_others, fail]
    first = threads.submit(work.enqueue, 1)
    assert at_the_store.wait(30)
    others = [threads.submit(work.enqueue, n) for n in (2, 3)]
    first.result(30)
    assert [type(each.exception(30)) for each in others] == [StoreBusy, StoreBusy]
    work.enqueue(4)
    assert stored(app) == [1, 4]


def test_a_handler_that_comes_in_while_its_thread_is_at_the_store_does_not_wait_for_it(app, work, turnstile):
    turnstile.during.append(lambda: work.enqueue(2))
    work.enqueue(1)
    assert turnstile.sizes == [1, 1]
    assert stored(app) == [1, 2]


def test_a_thread_that_was_forgotten_goes_by_itself(app, work, turnstile, monkeypatch):
    monkeypatch.setattr(group_commit, "PATIENCE", 0.01)
    work.enqueue(1)
    group = app._outbox._group_commit._threads.group
    assert group.go()  # and an interrupt strikes before anybody could say that he is back
    work.enqueue(2)
    monkeypatch.setattr(group_commit, "PATIENCE", 600.0)
    work.enqueue(3)
    assert stored(app) == [1, 2, 3]
