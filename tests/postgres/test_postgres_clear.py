"""Claims and settlements that take the way clear for granted: what others do in the middle of them."""

from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
import pytest

from conformance.desk import TASKS, Desk
from postgres.steps import Ours
from postgres.test_postgres_interleavings import Interrupted, beside, blocked_by
from treadle.engine.plan import Plan, Steps
from treadle.engine.postgres.lent_psycopg import LentPsycopg
from treadle.engine.postgres.recall import Memory
from treadle.engine.postgres.statements import compiled
from treadle.engine.postgres.steps import Anew, Aside, Ask, Crowded, Gated, Later, Recall, Rows, Statement, Way, texts, verb
from treadle.engine.session import Session
from treadle.model.flow import Hold, Ordering
from treadle.model.job import Claimed, Want
from treadle.model.outcome import Completed, Note, NoteKind, Settlement, Verdict
from treadle.model.state import State


class Clear(Ours):
    """A transaction of the engine's own that expects nothing in its way."""

    limits: frozenset[str] = frozenset()

    def unasked(self, step: Any) -> Any:
        if isinstance(step, Recall):
            return Gated(Way.CLEAR, self.limits)
        return False if isinstance(step, Crowded) else super().unasked(step)


def clear(connection: Any, *limits: str) -> Clear:
    session = Clear(LentPsycopg(connection))
    session.limits = frozenset(limits)
    return session


def claimed(desk: Desk, session: Session | Ours, lease: str, take: int = 9) -> list[Claimed]:
    return session.run(desk.engine.claim(lease, [Want("default", take, take)], TASKS, gated=take, now=desk.now)).jobs


def claim(desk: Desk, session: Session | Ours, lease: str, take: int = 9) -> list[str]:
    return [job.id for job in claimed(desk, session, lease, take)]


def ends(desk: Desk, lease: str, running: Sequence[Claimed]) -> Plan[list[Verdict]]:
    return desk.engine.settle(lease, [Settlement(c.ref, c.id, c.attempt, Completed(), 0.0) for c in running], now=desk.now)


@pytest.fixture(params=["judged", "clear"])
def others(request: pytest.FixtureRequest, own_desk: Desk) -> Iterator[Session]:
    """A session beside, that judges one by one or expects nothing in its way."""
    session: Session = own_desk.bench.store.session()
    way = Way.JUDGED if request.param == "judged" else Way.CLEAR
    memory: Any = session._memory  # type: ignore[attr-defined]
    memory.recall = lambda _queue, _tasks: Gated(way, frozenset({"api"}))
    yield session
    session.close()


@pytest.mark.parametrize("rule", [{"concurrency": 1}, {"rate": 1, "per": 3600}], ids=["slots", "rate"])
def test_who_starts_at_a_limit_keeps_others_from_starting_there(
    own_desk: Desk, database: str, others: Session, rule: dict[str, Any]
) -> None:
    desk = own_desk
    desk.limit("api", **rule)
    first, _second = (desk.add(holds=(Hold("api"),)) for _ in range(2))
    mine, theirs = desk.worker(), desk.worker("other")
    told: list[str] = []

    with psycopg.connect(database) as claiming, psycopg.connect(database, autocommit=True) as asking:
        assert claim(desk, clear(claiming, "api"), mine, 1) == [first]
        with beside(lambda: told.extend(claim(desk, others, theirs, 1))) as thread:
            thread.start()
            blocked_by(claiming, asking)
            claiming.commit()

    assert told == []
    assert claim(desk, others, theirs) == []


@pytest.mark.parametrize("others", ["clear"], indirect=True)
def test_who_starts_under_other_limits_waits_for_nobody(own_desk: Desk, database: str, others: Session) -> None:
    desk = own_desk
    desk.limit("api", concurrency=1)
    desk.limit("db", concurrency=1)
    first = desk.add(holds=(Hold("db"),))
    mine, theirs = desk.worker(), desk.worker("other")

    with psycopg.connect(database) as claiming:
        assert claim(desk, clear(claiming, "db"), mine, 1) == [first]
        second = desk.add(holds=(Hold("api"),))
        assert claim(desk, others, theirs) == [second]
        claiming.commit()


def test_the_second_of_a_line_does_not_start_while_the_first_is_being_started(
    own_desk: Desk, database: str, others: Session
) -> None:
    desk = own_desk
    first, second = (desk.add(ordering=Ordering("a")) for _ in range(2))
    lease, theirs = desk.worker(), desk.worker("other")

    with psycopg.connect(database) as claiming:
        [running] = claimed(desk, clear(claiming), lease, 1)
        assert claim(desk, others, theirs) == []
        claiming.commit()

    assert running.id == first
    desk.finish(lease, running)
    desk.claim_one(lease, second)


@pytest.mark.parametrize("part", ["met", "leave-waited-for"])
@pytest.mark.parametrize("kind", ["slots", "order"])
def test_who_comes_to_wait_while_what_he_waits_for_completes_is_called(
    own_desk: Desk, database: str, part: str, kind: str
) -> None:
    """He is seen by the settlement, or waits for nobody, or is looked at again."""
    desk = own_desk
    desk.limit("api", concurrency=1)
    options: dict[str, Any] = {"holds": (Hold("api"),)} if kind == "slots" else {"ordering": Ordering("a")}
    first, second = (desk.add(**options) for _ in range(2))
    lease = desk.worker()
    [running] = desk.claim(lease, gated=1)
    assert (running.id, desk.state(second)) == (first, State.QUEUED)
    theirs = desk.worker("other")

    with psycopg.connect(database) as ending:
        verb_, name = ("edges", "met") if part == "met" else ("aftermath", part)
        statement = desk.bench.store.statements(verb_, name)  # type: ignore[attr-defined]
        lent = Interrupted(ending, statement, lambda: desk.claim(theirs) and None)
        assert Clear(lent).run(ends(desk, lease, [running])) == [Verdict.DONE]
        ending.commit()

    desk.promote()
    desk.claim_one(lease, second)


@pytest.mark.parametrize("kind", ["slots", "order"])
def test_who_waits_before_what_he_waits_for_completes_at_once_is_called(own_desk: Desk, database: str, kind: str) -> None:
    desk = own_desk
    desk.limit("api", concurrency=1)
    options: dict[str, Any] = {"holds": (Hold("api"),)} if kind == "slots" else {"ordering": Ordering("a")}
    first, second = (desk.add(**options) for _ in range(2))
    lease = desk.worker()
    running = desk.claim_one(lease, first)
    assert desk.state(second) is State.BLOCKED

    with psycopg.connect(database) as ending:
        assert clear(ending).run(ends(desk, lease, [running])) == [Verdict.DONE]
        ending.commit()

    desk.claim_one(lease, second)


def test_an_end_that_was_told_before_calls_nobody(own_desk: Desk, database: str) -> None:
    desk = own_desk
    desk.limit("api", concurrency=1)
    jobs = [desk.add(holds=(Hold("api"),)) for _ in range(3)]
    lease = desk.worker()
    running = desk.claim_one(lease, jobs[0])
    desk.finish(lease, running)
    assert [desk.state(each) for each in jobs[1:]] == [State.QUEUED, State.BLOCKED]

    with psycopg.connect(database) as ending:
        assert clear(ending).run(ends(desk, lease, [running])) == [Verdict.ALREADY]
        ending.commit()

    assert [desk.state(each) for each in jobs[1:]] == [State.QUEUED, State.BLOCKED]


def test_a_claim_that_may_not_start_a_limit_reads_no_further_than_it_may_judge(own_desk: Desk, database: str) -> None:
    """It held rows of keys and so only tried the limit, which others had: it read all that stood behind, and gave none."""
    desk = own_desk
    desk.limit("api", rate=1000, per=1)
    lease, theirs = desk.worker(), desk.worker("other")
    desk.enqueue(*(desk.new(holds=(Hold("api", f"k{number}"),)) for number in range(2500)))
    read: list[Statement] = []

    class Counted(LentPsycopg):
        def ask(self, statement: Statement, values: list[Any]) -> Rows:
            read.append(statement)
            return super().ask(statement, values)

    with psycopg.connect(database) as starting, psycopg.connect(database) as claiming:
        assert len(claim(desk, clear(starting, "api"), theirs, 1)) == 1
        claiming.execute("SELECT set_config('treadle.gates', 'held', true)")
        claims = Ours(Counted(claiming)).run(
            desk.engine.claim(lease, [Want("default", 100, 100)], TASKS, gated=100, now=desk.now)
        )
        assert (claims.jobs, claims.more) == ([], True)

    assert 1 < read.count(desk.bench.store.statements("claim", "gated")) <= 1 + 1000 / 100  # type: ignore[attr-defined]


def test_who_holds_a_key_or_starts_at_a_limit_waits_for_no_other(own_desk: Desk, database: str) -> None:
    """A throttle and a claim, or two claims, travel in one exchange: with another such they waited in a circle."""
    desk = own_desk
    for limit in ("api", "db"):
        desk.limit(limit, rate=1000, per=1)
    leases = desk.worker(), desk.worker("other")
    [running] = [desk.claim_one(leases[0], desk.add(holds=(Hold("api", "a"),)))]
    jobs = [desk.add(holds=(Hold(limit),), queue=limit) for limit in ("api", "db") for _ in range(2)]
    throttle = [Note(running.ref, running.id, running.attempt, NoteKind.THROTTLE, "api\na", "1.0")]

    def take(session: Ours, lease: str, limit: str) -> list[str]:
        answer = session.run(desk.engine.claim(lease, [Want(limit, 1, 1)], TASKS, gated=1, now=desk.now))
        return [job.id for job in answer.jobs]

    with psycopg.connect(database) as one, psycopg.connect(database) as two:
        first, second = clear(one, "api", "db"), clear(two, "api", "db")
        first.limits, second.limits = frozenset({"api"}), frozenset({"db"})
        assert take(first, leases[0], "api") == jobs[:1]
        assert take(second, leases[1], "db") == jobs[2:3]
        first.limits, second.limits = second.limits, first.limits
        assert take(first, leases[0], "db") == take(second, leases[1], "api") == []
        one.rollback()
        two.rollback()
        first.run(desk.engine.note(leases[0], throttle, now=desk.now))
        assert take(second, leases[1], "api") == jobs[:1]
        assert take(first, leases[0], "api") == []


def test_a_claim_locks_no_more_limits_than_it_may(own_desk: Desk, database: str) -> None:
    """With a limit for each customer the server had no room for its locks left."""
    desk = own_desk
    lease = desk.worker()
    session = desk.bench.store.session()
    for _ in range(3):
        desk.enqueue(*(desk.new(holds=(Hold(f"customer {number}"),)) for number in range(100)))
        assert len(claim(desk, session, lease, 100)) == 100
    memory: Any = session._memory  # type: ignore[attr-defined]
    assert [seen.expected() for seen in memory._gated.values()] == [Gated(Way.JUDGED)]
    session.close()


def test_who_passes_by_what_others_hold_says_that_there_is_more(own_desk: Desk, database: str) -> None:
    desk = own_desk
    desk.limit("api", concurrency=9)
    first, second, third = (desk.add(holds=(Hold("api"),)) for _ in range(3))
    lease = desk.worker()

    with psycopg.connect(database) as other, psycopg.connect(database) as claiming:
        other.execute("SELECT n FROM treadle.live ORDER BY n LIMIT 1 FOR UPDATE")
        answer = clear(claiming, "api").run(desk.engine.claim(lease, [Want("default", 9, 9)], TASKS, gated=9, now=desk.now))
        assert ([job.id for job in answer.jobs], answer.more) == ([second, third], True)
        other.rollback()
        claiming.commit()
    desk.claim_one(lease, first)


def test_a_claim_of_some_holds_none_of_the_rest(own_desk: Desk, database: str) -> None:
    desk = own_desk
    desk.limit("api", concurrency=9)
    first, second = (desk.add(holds=(Hold("api", key),)) for key in "ab")

    with psycopg.connect(database) as claiming, psycopg.connect(database) as other:
        assert claim(desk, clear(claiming, "api"), desk.worker(), 1) == [first]
        rows = other.execute("SELECT j.id FROM treadle.live AS l JOIN treadle.jobs AS j USING (n) FOR UPDATE OF l SKIP LOCKED")
        assert [job for (job,) in rows] == [second]


def test_what_a_committed_part_has_answered_is_kept_when_the_rest_begins_again(own_desk: Desk) -> None:
    """A claim that was begun anew as a whole, after a deadlock behind its commit, left what it had started to nobody."""
    session: Session = own_desk.bench.store.session()
    done: list[str] = []
    fail = compiled("DO $$ BEGIN RAISE 'again' USING ERRCODE = 'deadlock_detected'; END $$")

    class Engine:
        @verb
        def count(self) -> Steps[str]:
            def finish(_rows: list[Rows], _aside: Aside) -> Anew:
                done.append("first")
                return Anew(self._rest)

            answer: Anew | str = yield Later([Ask(compiled("SELECT 1"))], finish)
            return (yield from answer.begin()) if isinstance(answer, Anew) else answer

        def _rest(self) -> Steps[str]:
            done.append("rest")
            yield Ask(compiled("SELECT 2") if done.count("rest") == 3 else fail)
            return "answered"

    assert session.run(Engine().count()) == "answered"
    assert done == ["first", "rest", "rest", "rest"]
    session.close()


def memory_of(session: Session) -> Memory:
    memory: Memory = session._memory  # type: ignore[attr-defined]
    return memory


@pytest.fixture
def remembering(own_desk: Desk) -> Iterator[Session]:
    """A session beside, with a memory of its own, which has met the limit `api`."""
    session: Session = own_desk.bench.store.session()
    memory_of(session).remember("default", texts(TASKS), Gated(Way.HINDERED, frozenset({"api"})))
    yield session
    session.close()


def marks(session: Session) -> list[dict[int, int]]:
    """How far the session has claimed, in each queue."""
    return [dict(seen.expected().marks) for seen in memory_of(session)._gated.values()]


def test_a_full_claim_of_gated_jobs_marks_how_far_it_has_come(own_desk: Desk, remembering: Session) -> None:
    """Each claim walked over all that had been claimed before: 3 ms of them in a drain of 150,000."""
    desk = own_desk
    desk.limit("api", concurrency=9)
    low, high, last = (
        desk.add(priority=priority, holds=(Hold("api", key),)) for priority, key in ((0, "a"), (5, "b"), (0, "c"))
    )
    lease = desk.worker()
    assert claim(desk, remembering, lease, 2) == [high, low]
    [at] = marks(remembering)
    assert sorted(at) == [0, 5]

    higher = desk.add(priority=9, holds=(Hold("api", "d"),))
    between = desk.add(priority=3, holds=(Hold("api", "e"),))
    assert claim(desk, remembering, lease, 3) == [higher, between, last]
    assert claim(desk, remembering, lease, 3) == []
    assert marks(remembering) == [{}]


@pytest.mark.parametrize("kind", ["parked", "blocked"])
def test_nothing_is_marked_where_somebody_may_come_back(own_desk: Desk, remembering: Session, kind: str) -> None:
    desk = own_desk
    desk.limit("api", concurrency=1)
    hold, line = ((Hold("api", "x"),), None) if kind == "parked" else ((), Ordering("x"))
    first, _waits = (desk.add(holds=hold, ordering=line) for _ in range(2))
    lease = desk.worker()
    assert [job.id for job in desk.claim(lease, Want("default", 2, 2), gated=2)] == [first]
    others = [desk.add(holds=(Hold("api", key),)) for key in "ab"]

    assert claim(desk, remembering, lease, 1) == others[:1]
    assert claim(desk, remembering, lease, 1) == others[1:]
    assert marks(remembering) == [{}]


def test_who_comes_back_behind_a_mark_is_found_after_a_claim_that_is_not_full(
    own_desk: Desk, remembering: Session, database: str
) -> None:
    """He may have been in somebody else's hands when the mark was made, and been parked since."""
    desk = own_desk
    desk.limit("api", concurrency=9)
    early, late, later = (desk.add(holds=(Hold("api", key),)) for key in "abc")
    lease = desk.worker()
    with psycopg.connect(database) as asking:
        [(seq,)] = asking.execute("SELECT seq FROM treadle.live ORDER BY n OFFSET 1 LIMIT 1").fetchall()
    memory_of(remembering).remember("default", texts(TASKS), Gated(Way.CLEAR, marks={0: seq}))

    assert claim(desk, remembering, lease) == [late, later]
    assert claim(desk, remembering, lease) == [early]


def test_marks_last_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where claims take their time: the second began anew with each that was answered after its end."""
    now = 1000.0
    monkeypatch.setattr("treadle.engine.postgres.recall.time.monotonic", lambda: now)
    memory = Memory()
    whole: list[int] = []
    for number in range(40):
        found = memory.recall("q", "t")
        if not (isinstance(found, Gated) and found.marks):
            whole.append(number)
        now += 0.09
        memory.remember("q", "t", Gated(Way.CLEAR, marks={0: number}))
        now += 0.03
    assert whole == [0, 10, 20, 30]
    memory.remember("q", "t", Gated(Way.HINDERED))
    expected = memory.recall("q", "t")
    assert isinstance(expected, Gated)
    assert expected.marks == {}
