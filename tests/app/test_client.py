"""The operator's client: by id, by filter, in rehearsal and for real."""

import asyncio

import pytest

from treadle import (
    Filter,
    GiveUp,
    InvalidArguments,
    InvalidDuration,
    InvalidOption,
    Order,
    Page,
    Retention,
    State,
    UnknownJob,
    new_id,
)
from treadle.app.client import Client
from treadle.model.filter import Axis
from treadle.model.record import Space
from treadle.testing import drain


@pytest.fixture
def work(treadle_app):
    def body(number: int) -> int:
        if number < 0:
            raise GiveUp("negative")
        return number

    return treadle_app.task(name="work")(body)


@pytest.fixture
def client(treadle_app, work):
    return treadle_app.client


def states(client, handles):
    return [client.get(each.id).state for each in handles]


def test_a_job_by_its_id(client, work):
    handle = work.enqueue(1)
    assert client.get(handle.id).id == handle.id
    with pytest.raises(UnknownJob):
        client.get(new_id())


def test_jobs_by_filter_and_page(client, work):
    handles = [work.options(tags=["even"] if n % 2 == 0 else []).enqueue(n) for n in range(5)]
    assert len(client.find()) == 5
    found = client.find(Filter(tag="even"), Page(order=Order.OLDEST, limit=2))
    assert [each.id for each in found] == [handles[0].id, handles[2].id]
    rest = client.find(Filter(tag="even"), Page(order=Order.OLDEST, after=found[-1].id))
    assert [each.id for each in rest] == [handles[4].id]
    assert [(each.key, each.count) for each in client.count(by=(Axis.TASK,))] == [(("work",), 5)]


def test_cancel_by_id_by_ids_and_by_filter(client, work):
    handles = [work.options(key="k").enqueue(n) for n in range(5)]
    assert [each.done for each in client.cancel(handles[0].id, "why not")] == [True]
    assert client.get(handles[0].id).reason == "why not"
    assert [each.done for each in client.cancel([handles[0].id, handles[1].id])] == [False, True]
    assert len(client.cancel(Filter(key="k"))) == 3
    assert set(states(client, handles)) == {State.CANCELLED}


def test_an_unknown_id_among_many_changes_nothing(client, work):
    handle = work.enqueue(1)
    stranger = new_id()
    with pytest.raises(UnknownJob, match=stranger):
        client.cancel([handle.id, stranger])
    assert handle.state() is State.QUEUED


def test_a_rehearsal_answers_the_same_and_changes_nothing(treadle_app, client, work):
    queued, dead, done = work.options(delay="1h").enqueue(1), work.enqueue(-1), work.enqueue(2)
    drain(treadle_app)
    ids = [queued.id, dead.id, done.id]
    before = states(client, (queued, dead, done))
    for change in (client.cancel, client.retry, client.replay, client.resolve, client.erase):
        rehearsed = change(ids, dry_run=True)
        assert states(client, (queued, dead, done)) == before
        assert [each.id for each in rehearsed] == ids
    assert [each.done for each in client.cancel(ids, dry_run=True)] == [True, False, False]
    assert [each.done for each in client.retry(ids, dry_run=True)] == [True, True, False]
    assert [each.done for each in client.resolve(ids, dry_run=True)] == [False, True, False]
    for change in (client.resolve, client.retry, client.erase):
        rehearsed = change(ids, dry_run=True)
        assert [(each.id, each.done) for each in change(ids)] == [(each.id, each.done) for each in rehearsed]


def test_retry_runs_now_what_would_run_later_and_again_what_ended_badly(treadle_app, client, work):
    later, dead = work.options(delay="1h").enqueue(1), work.enqueue(-1)
    drain(treadle_app)
    assert [each.after for each in client.retry([later.id, dead.id])] == [State.QUEUED, State.QUEUED]
    assert states(client, (later, dead)) == [State.QUEUED, State.QUEUED]
    drain(treadle_app)
    assert [each.after for each in client.retry(dead.id, delay="5m")] == [State.SCHEDULED]
    with pytest.raises(InvalidDuration):
        client.retry(dead.id, delay="soon")


def test_replay_takes_open_dead_letters_and_may_mend_their_arguments(treadle_app, client, work):
    dead, good = work.enqueue(-1), work.enqueue(1)
    drain(treadle_app)
    with pytest.raises(InvalidArguments, match="number"):
        client.replay(args='{"number":"x"}')
    with pytest.raises(InvalidArguments):
        client.replay(args="[]")
    assert dead.state() is State.DEAD
    assert [each.id for each in client.replay(args='{"number":5}', note="mended")] == [dead.id]
    drain(treadle_app)
    assert dead.result() == 5
    assert good.state() is State.COMPLETED
    assert client.replay() == []


def test_arguments_of_a_task_that_is_not_known_here_must_be_an_object(treadle_app, client, work):
    dead = work.enqueue(-1)
    drain(treadle_app)
    stranger = Client(treadle_app.connection, type(treadle_app)().registry)
    with pytest.raises(InvalidArguments, match="JSON object"):
        stranger.replay(args='["x"]')
    assert [each.done for each in stranger.replay(args='{"number":"x"}')] == [True]
    drain(treadle_app)
    assert dead.job().dead.cause == "invalid"


def test_dead_letters_are_annotated_and_resolved(treadle_app, client, work):
    dead = work.enqueue(-1)
    drain(treadle_app)
    operator = client.acting_as("grace")
    assert [each.done for each in operator.annotate(dead.id, "looking into it")] == [True]
    letter = client.get(dead.id).dead
    assert (letter.status, letter.note) == ("open", "looking into it")
    assert [each.done for each in operator.resolve(Filter(tasks=["work"]), "closed")] == [True]
    letter = client.get(dead.id).dead
    assert (letter.status, letter.note, letter.changed_by) == ("resolved", "closed", "grace")
    assert client.resolve(Filter(tasks=["work"])) == []


def test_erase_by_tag_and_by_key_leaves_no_trace(treadle_app, client, work):
    tagged, keyed, other = work.options(tags=["ada"]).enqueue(1), work.options(key="ada").enqueue(2), work.enqueue(3)
    drain(treadle_app)
    assert [each.id for each in client.erase(tag="ada")] == [tagged.id]
    assert [each.id for each in client.erase(key="ada")] == [keyed.id]
    assert [each.id for each in client.find()] == [other.id]
    with pytest.raises(InvalidOption, match="nothing says"):
        client.erase()
    with pytest.raises(InvalidOption, match="nothing says"):
        client.erase(Filter())


def test_a_change_reaches_beyond_one_step(treadle_app, client, work):
    treadle_app.enqueue_many([work.call(n) for n in range(2500)])
    assert len(client.cancel(Filter(), dry_run=True)) == 2500
    assert sum(each.done for each in client.cancel(Filter())) == 2500
    assert [(each.key, each.count) for each in client.count()] == [(("cancelled",), 2500)]


def test_queues_are_paused_seen_and_resumed(treadle_app, client, work):
    work.options(queue="mail").enqueue(1)
    work.options(queue="mail", delay="1h").enqueue(2)
    client.acting_as("ada").pause("mail", "provider is down")
    client.pause("idle")
    idle, mail = client.queues()
    assert (mail.name, dict(mail.depth)) == ("mail", {State.QUEUED: 1, State.SCHEDULED: 1})
    assert (mail.paused, mail.paused_by, mail.paused_why) == (True, "ada", "provider is down")
    assert mail.oldest is not None
    assert mail.oldest >= 0
    assert (idle.name, idle.paused, idle.oldest) == ("idle", True, None)
    assert len(drain(treadle_app)) == 0
    assert client.resume("mail")
    assert not client.resume("mail")
    assert len(drain(treadle_app)) == 1
    with pytest.raises(InvalidOption):
        client.pause("no spaces")


def test_what_is_queued_and_not_taken_is_told_for_the_whole_store(treadle_app, client, work):
    assert client.standstills() == asyncio.run(client.astandstills()) == []
    treadle_app.enqueue_many([work.call(n) for n in range(3)])
    work.options(delay="1h").enqueue(4)
    (found,) = client.standstills()
    assert (found.queue, found.task, found.count) == ("default", "work", 3)
    assert found.oldest == client.find(page=Page(order=Order.OLDEST))[0].enqueued_at
    assert found.why == "no worker is alive"
    assert found.cure


def test_a_pause_written_by_other_hands_is_shown_all_the_same(treadle_app, client):
    from treadle.model.record import Write

    treadle_app.session.run(treadle_app.store.engine.write([Write(Space.PAUSED, "mail", "{}")]))
    assert [(each.paused, each.paused_by) for each in client.queues()] == [(True, None)]


def test_prune_deletes_what_is_no_longer_kept(treadle_app, treadle_clock, client, work):
    treadle_app.enqueue_many([work.call(n) for n in range(3)])
    drain(treadle_app)
    treadle_clock.advance("2d")
    assert client.prune(Retention(completed=3 * 86_400.0)) == 0
    assert client.prune(treadle_app.retention) == 3
    assert client.find() == []


def test_the_actor_is_whoever_runs_the_process_unless_said(treadle_app, monkeypatch):
    monkeypatch.setenv("LOGNAME", "linus")
    assert Client(treadle_app.connection, treadle_app.registry).actor == "linus"
    assert Client(treadle_app.connection, treadle_app.registry, "ada").actor == "ada"


def test_the_awaitable_twins(treadle_app, client, work):
    async def body():
        handles = await treadle_app.aenqueue_many([work.call(n) for n in (1, 2, -1)])
        one, two, dead = handles.ids
        assert (await client.aget(one)).id == one
        assert len(await client.afind()) == 3
        assert (await client.acount())[0].count == 3
        await client.apause("default", "x")
        assert [each.paused for each in await client.aqueues()] == [True]
        assert await client.aresume("default")
        assert await client.aworkers() == []
        assert [each.done for each in await client.acancel(one)] == [True]
        assert [each.done for each in await client.aretry(one)] == [True]
        from treadle.testing import adrain

        await adrain(treadle_app)
        assert [each.done for each in await client.aannotate(dead, "hm")] == [True]
        assert [each.done for each in await client.areplay(dead, args='{"number":3}')] == [True]
        await adrain(treadle_app)
        assert [each.done for each in await client.aresolve(two)] == [False]
        assert [each.done for each in await client.aerase([one, two])] == [True, True]
        assert len(await client.aerase(Filter(ids=[dead]), dry_run=True)) == 1
        return await client.aprune(Retention(completed=0.0, completed_count=0))

    assert asyncio.run(body()) == 1


def test_waiting_jobs_are_given_another_priority(treadle_app, client, work):
    job, done = work.enqueue(1), work.options(queue="other").enqueue(2)
    client.cancel(done.id)
    assert [each.done for each in client.prioritise([job.id, done.id], 9)] == [True, False]
    assert [each.id for each in asyncio.run(client.aprioritise(Filter(queues=["default"]), -9))] == [job.id]
    assert (job.job().priority, done.job().priority) == (-9, 0)
    with pytest.raises(InvalidOption):
        client.prioritise(job.id, 101)
