"""Group commit: enqueues that meet share an exchange, and nobody is told anything that is not so."""

import asyncio
import gc
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
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


def stored(app: Any) -> list[int]:
    """The numbers of all jobs of the store but the first."""
    return sorted(job.args["number"] for job in app.client.find() if job.args != {"number": 0})


async def met(turnstile: Turnstile, *calls: Any, first: Any, then: Sequence[Callable[[], Any]] = ()) -> list[Any]:
    """What becomes of calls that come while the first one is at the store; `then` happens in the exchanges after that."""
    held: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    turnstile.during += [lambda: held, *then]
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


def test_one_exchange_takes_so_many_characters_and_no_more(app, work, turnstile, monkeypatch):
    monkeypatch.setattr(group_commit, "LARGEST", 2 * len('{"number":2}'))
    asyncio.run(met(turnstile, *(work.aenqueue(n) for n in range(2, 7)), first=work.aenqueue(1)))
    assert turnstile.sizes == [1, 2, 2, 1]
    monkeypatch.setattr(group_commit, "LARGEST", 1)
    asyncio.run(met(turnstile, *(work.aenqueue(n) for n in range(8, 10)), first=work.aenqueue(7)))
    assert turnstile.sizes[4:] == [1, 1, 1]
    assert stored(app) == list(range(1, 10))


def test_all_in_one_exchange_are_as_strict_as_each_other(app, work, turnstile):
    fleeting = app.registry.expect("fleeting")
    calls = [fleeting.aenqueue(2), work.aenqueue(3), fleeting.aenqueue(4), work.aenqueue(5)]
    asyncio.run(met(turnstile, *calls, first=fleeting.aenqueue(1)))
    assert turnstile.sizes == [1, 2, 2]
    assert turnstile.strictness == [Durability.RELAXED, Durability.RELAXED, Durability.DEFAULT]
    assert stored(app) == [1, 2, 3, 4, 5]


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


def test_who_is_cancelled_at_the_store_takes_nothing_from_the_others(app, work, turnstile):
    async def body() -> list[Any]:
        loop = asyncio.get_running_loop()
        held, reached, at_the_store = loop.create_future(), loop.create_future(), loop.create_future()

        def arrive() -> Any:
            reached.set_result(None)
            return at_the_store

        turnstile.during += [lambda: held, arrive]
        first, leader, *others = (asyncio.ensure_future(work.aenqueue(n)) for n in (1, 2, 3, 4))
        loop.call_soon(held.set_result, None)
        await reached
        leader.cancel()
        at_the_store.set_result(None)
        found = await asyncio.gather(first, *others)
        assert leader.cancelled()
        await work.aenqueue(5)
        return found

    found = asyncio.run(body())
    assert turnstile.sizes == [1, 3, 1]
    assert not any(each.existing for each in found)
    assert stored(app) == [1, 2, 3, 4, 5]


def test_a_loop_that_ends_tells_nobody_anything_and_the_next_begins_anew(app, work, turnstile):
    async def body() -> None:
        loop = asyncio.get_running_loop()
        turnstile.during.append(loop.create_future)  # never done
        calls = [asyncio.ensure_future(work.aenqueue(n)) for n in (1, 2, 3)]
        loop.call_soon(loop.stop)
        await asyncio.gather(*calls)

    with pytest.raises(RuntimeError, match="stopped before"):
        asyncio.run(body())
    asyncio.run(met(turnstile, work.aenqueue(5), first=work.aenqueue(4)))
    assert stored(app) == [4, 5]


def test_an_interrupt_at_the_store_leaves_the_way_free(app, work, turnstile):
    def interrupt() -> None:
        raise KeyboardInterrupt

    async def one(number: int) -> None:
        await work.aenqueue(number)

    loop = asyncio.new_event_loop()
    turnstile.during += [interrupt]
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(one(1))
    loop.run_until_complete(met(turnstile, work.aenqueue(3), first=work.aenqueue(2)))
    loop.close()
    assert stored(app) == [2, 3]


def test_an_error_of_the_store_is_everybody_s_and_ends_with_him(app, work, turnstile):
    def fail() -> None:
        raise StoreBusy("the store is away")

    async def body() -> list[Any]:
        found = await met(turnstile, work.aenqueue(2), work.aenqueue(3), first=work.aenqueue(1), then=[fail])
        await work.aenqueue(4)
        return found

    found = asyncio.run(body())
    assert [type(each) for each in found[1:]] == [StoreBusy, StoreBusy]
    assert str(found[1]) == str(found[2]) == "the store is away"
    assert found[1] is not found[2]
    assert stored(app) == [1, 4]


def test_an_error_that_may_be_one_job_s_is_told_to_him_alone(app, work, turnstile):
    def fail() -> None:
        raise ValueError("one of them cannot be written")

    then = [fail, fail]  # the crew, then the first of it by himself
    found = asyncio.run(met(turnstile, work.aenqueue(2), work.aenqueue(3), first=work.aenqueue(1), then=then))
    assert sum(isinstance(each, ValueError) for each in found) == 1
    assert len(stored(app)) == 2


def test_a_loop_that_is_over_is_not_kept(work, turnstile):
    async def body() -> "weakref.ref[asyncio.AbstractEventLoop]":
        await met(turnstile, work.aenqueue(2), first=work.aenqueue(1))
        return weakref.ref(asyncio.get_running_loop())

    loop = asyncio.run(body())
    gc.collect()
    assert loop() is None


def test_who_has_waited_for_as_long_as_a_call_that_failed_waits_no_more(app, work, turnstile, monkeypatch):
    """A store that is away costs whoever is behind others two deadlines at most, however many there are."""
    monkeypatch.setattr(group_commit, "MOST", 1)

    def fail() -> None:
        raise StoreBusy("the store is away")

    async def body() -> list[Any]:
        loop = asyncio.get_running_loop()
        held, second = loop.create_future(), loop.create_future()
        turnstile.during += [lambda: held, lambda: second, fail, fail]
        calls = [asyncio.ensure_future(work.aenqueue(n)) for n in range(1, 8)]
        loop.call_soon(held.set_exception, StoreBusy("the first had no answer"))
        await asyncio.wait([calls[0]])
        late = asyncio.ensure_future(work.aenqueue(8))
        await asyncio.sleep(0)
        second.set_exception(StoreBusy("nor had the second"))
        found = await asyncio.gather(*calls, return_exceptions=True)
        assert not late.done() or isinstance(late.exception(), StoreBusy)
        turnstile.during.clear()
        await asyncio.gather(late, return_exceptions=True)
        return found

    found = asyncio.run(body())
    assert {type(each) for each in found} == {StoreBusy}
    assert [str(each) for each in found[2:]] == ["nor had the second"] * 5


def test_those_who_wait_when_the_app_is_closed_are_told_so_without_a_password(app, work, turnstile):
    def close() -> None:
        app.connection.exchange(None)
        app.connection.point_at("postgresql://ada:secret@h/shop")

    async def body() -> list[Any]:
        held = asyncio.get_running_loop().create_future()
        turnstile.during.append(lambda: held)
        calls = [asyncio.ensure_future(work.aenqueue(n)) for n in (1, 2, 3)]
        asyncio.get_running_loop().call_soon(close)
        asyncio.get_running_loop().call_soon(held.set_result, None)
        return await asyncio.gather(*calls, return_exceptions=True)

    opened = (app.connection.store, turnstile)
    found = asyncio.run(body())
    told = "postgresql://ada:***@h/shop: the app was closed while this call waited. Nothing was stored; call again."
    assert [str(each) for each in found[1:]] == [told] * 2
    app.connection.exchange(opened)
    assert stored(app) == [1]


def test_threads_go_by_themselves(app, work, turnstile):
    with ThreadPoolExecutor(4) as pool:
        handles = list(pool.map(work.enqueue, range(1, 9)))
    assert turnstile.sizes == [1] * 8
    assert [app.client.get(each.id).args["number"] for each in handles] == list(range(1, 9))


def test_an_exchange_that_is_cancelled_before_it_begins_gives_its_place_back(app, work, turnstile):
    """As by who cancels every task of the loop, and then writes one last job."""

    async def body() -> None:
        held, me = asyncio.get_running_loop().create_future(), asyncio.current_task()

        async def store_and_cancel_all() -> None:
            await work.aenqueue(1)
            for task in asyncio.all_tasks() - {me, asyncio.current_task()}:
                task.cancel()

        turnstile.during.append(lambda: held)
        first = asyncio.ensure_future(store_and_cancel_all())
        others = [asyncio.ensure_future(work.aenqueue(n)) for n in (2, 3)]
        asyncio.get_running_loop().call_soon(held.set_result, None)
        await asyncio.wait([first, *others])
        await work.aenqueue(4)

    asyncio.run(body())
    assert stored(app) == [1, 4]
