"""Code changes while jobs wait: arguments are upgraded, what a deploy cannot take is listed, newer jobs are put off."""

import asyncio

import pytest

from treadle import DefinitionError, InvalidArguments, State, Treadle
from treadle.testing import drain


def old(app, version=1):
    @app.task(name="charge", version=version)
    def charge(amount: int) -> int:
        return amount

    return charge


def new(app, version=3):
    @app.task(name="charge", version=version)
    def charge(cents: int, currency: str) -> str:
        return f"{cents} {currency}"

    @charge.upgrade(to=2)
    def to_cents(args):
        return {"cents": args["amount"] * 100}

    @charge.upgrade(to=3)
    def with_currency(args):
        return {**args, "currency": "EUR"}

    return charge


@pytest.fixture
def lend(treadle_memory, treadle_app):
    """Another app on the store of the first, as another deploy would be."""

    def make():
        app = Treadle("memory://", allow_volatile=True)
        app.connection.exchange((treadle_app.store, treadle_app.session))
        return app

    return make


def test_old_arguments_are_turned_into_new_ones_step_by_step(treadle_app, lend):
    first, second = old(treadle_app).enqueue(7), old(lend(), 2)
    app = lend()
    charge = new(app)
    assert charge.prepare('{"amount":7}', 1) == ((700, "EUR"), {})
    assert charge.prepare('{"cents":7}', 2) == ((7, "EUR"), {})
    assert second.settings.version == 2
    drain(app)
    assert app.client.get(first.id).result == "700 EUR"
    assert app.client.get(first.id).args == {"amount": 7}


def test_an_upgrade_that_fails_makes_a_dead_letter_that_says_so(treadle_app, lend):
    job = old(treadle_app).enqueue(7)
    app = lend()

    @app.task(name="charge", version=2)
    def charge(cents: int) -> None:
        pass

    @charge.upgrade(to=2)
    def broken(args):
        raise KeyError("nothing")

    drain(app)
    seen = app.client.get(job.id)
    assert seen.state is State.DEAD
    line = broken.__code__.co_firstlineno + 2
    assert f"the upgrade to version 2 raised KeyError: 'nothing' ({__file__}:{line})" in seen.dead.reason


def test_a_version_without_an_upgrade_is_taken_as_it_is(treadle_app, lend):
    old(treadle_app).enqueue(7)
    app = lend()
    assert old(app, 5).prepare('{"amount":7}', 1) == ((7,), {})
    assert app.client.misfits() == []


def test_what_the_new_code_cannot_take_is_listed_before_it_is_deployed(treadle_app, lend):
    charge = old(treadle_app)
    handles = [charge.enqueue(n) for n in range(3)]
    handles[2].cancel()

    @treadle_app.task(name="gone", queue="other")
    def gone() -> None:
        pass

    gone.options(delay="1h").enqueue()
    old(lend(), 9).options(priority=3).enqueue(1)
    app = lend()

    @app.task(name="charge", version=2)
    def later(cents: int) -> None:
        pass

    found = {(each.task, each.version, each.queue, each.count): each for each in app.client.misfits()}
    assert sorted(found) == [("charge", 1, "default", 2), ("charge", 9, "default", 1), ("gone", 1, "other", 1)]
    assert "do not fit" in found["charge", 1, "default", 2].why
    assert found["charge", 1, "default", 2].first == handles[0].id
    assert "version 9, and this code has 2" in found["charge", 9, "default", 1].why
    assert "no task of this name" in found["gone", 1, "other", 1].why
    assert asyncio.run(app.client.amisfits()) == app.client.misfits()


def test_an_edited_replay_is_checked_as_its_version_will_read_it(treadle_app, lend):
    job = old(treadle_app).enqueue(7)
    job.cancel()
    app = lend()
    new(app)
    with pytest.raises(InvalidArguments):
        app.client.replay(job.id, args='{"cents":7,"currency":"EUR"}')


@pytest.mark.parametrize("to", [1, 4, True, "2"])
def test_an_upgrade_leads_to_a_version_of_the_task(treadle_app, to):
    charge = new(treadle_app)
    with pytest.raises(DefinitionError, match="leads nowhere"):
        charge.upgrade(to=to)(dict)


def test_one_function_upgrades_to_a_version(treadle_app):
    charge = new(treadle_app)
    with pytest.raises(DefinitionError, match="two functions upgrade to version 2"):
        charge.upgrade(to=2)(dict)

    @treadle_app.task(name="other", version=2)
    def other() -> None:
        pass

    async def wrong(args):
        return args

    with pytest.raises(DefinitionError, match="a plain function"):
        other.upgrade(to=2)(wrong)
