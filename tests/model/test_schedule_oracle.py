"""Schedulers, an operator and time, in any order: what is enqueued equals what a plain model of the rules says."""

from datetime import UTC, datetime

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from conformance.scheduling import GONE, SECOND, Scheduler, declared
from treadle import Treadle
from treadle.app.slot import TAG, slot_id
from treadle.model.filter import Cancel, Filter, Page
from treadle.model.job import Micros
from treadle.policy.catching_up import ON_TIME, CatchUp, Overlap
from treadle.testing import VirtualClock, on_memory

START = datetime(2026, 3, 28, tzinfo=UTC)
CREW = st.integers(0, 2)


class Model:
    """The rules in their plainest form: every slot is a number, and all that happened to it stands in a list."""

    def __init__(self, period: Micros, catch_up: CatchUp, window: Micros, overlap: Overlap) -> None:
        self.period = period
        self.catch_up = catch_up
        self.window = max(window, ON_TIME)
        self.overlap = overlap
        self.through = 0
        self.fired: list[Micros] = []
        self.dropped = 0
        self.waiting = False
        self.paused = False

    def turn(self, now: Micros) -> list[Micros]:
        """What a scheduler enqueues that sees the store at this moment."""
        if self.paused:
            return []
        come = list(range(self._first(), now + 1, self.period))
        if not come:
            return []
        kept = [slot for slot in come if now - slot <= self.window]
        on_time = [slot for slot in kept if now - slot <= ON_TIME]
        if self.catch_up is CatchUp.ALL:
            chosen = kept
        elif self.catch_up is CatchUp.ONCE:
            chosen = on_time or kept[-1:]
        else:
            chosen = on_time
        if self.overlap is not Overlap.ALLOW:
            chosen = [] if self.waiting else chosen[:1]
        self.through = come[-1]
        self.fired += chosen
        self.dropped += len(come) - len(chosen)
        self.waiting = self.waiting or bool(chosen)
        return chosen

    def _first(self) -> Micros:
        return self.through // self.period * self.period + self.period


class Schedules(RuleBasedStateMachine):
    """Three schedulers on one store; each may hold what it saw for as long as it likes."""

    @initialize(
        seconds=st.sampled_from([7, 60, 600, 3600]),
        said=st.sampled_from([("once", "skip"), ("once", "queue_one"), ("once", "allow"), ("skip", "allow"), ("all", "allow")]),
        window=st.sampled_from([0, 300, 86_400]),
    )
    def begin(self, seconds: int, said: tuple[str, str], window: int) -> None:
        catch_up, overlap = said
        self.clock = VirtualClock(START)
        self.app: Treadle = declared(every=seconds, catch_up=catch_up, overlap=overlap, window=window)
        self.lent = on_memory(self.app, self.clock)
        self.lent.__enter__()
        self.crew = [Scheduler(self.app, self.app.session, f"scheduler {number}") for number in range(3)]
        self.model = Model(seconds * SECOND, CatchUp(catch_up), window * SECOND, Overlap(overlap))
        self.held: list[tuple[int, Micros] | None] = [None, None, None]
        self.changes = 0
        self.stored: set[str] = set()
        self.crew[0].turn(self.now)
        self.model.through = self.now

    @property
    def now(self) -> Micros:
        return self.clock.micros

    @rule(seconds=st.sampled_from([1, 7, 30, 59, 61, 600, 4000, 20_000]))
    def pass_time(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @rule(who=CREW)
    def turn(self, who: int) -> None:
        self.held[who] = None
        before = self.model.through
        # A decision fires a hundred slots at most; a turn goes on until nothing is left.
        assert self.crew[who].turn(self.now) == self.model.turn(self.now)
        self.changes += self.model.through != before

    @rule(who=CREW)
    def look_and_freeze(self, who: int) -> None:
        self.held[who] = (self.changes, self.now) if self.crew[who].look(self.now) else None

    @rule(who=CREW)
    def wake(self, who: int) -> None:
        held, self.held[who] = self.held[who], None
        fired, _ = self.crew[who].act(self.now)
        if held is None or held[0] != self.changes:
            assert fired == [], "somebody was faster"
            return
        then = held[1]
        # Only one step of what it saw: a longer list of missed slots is gone on with by whoever looks next.
        expected = self.model.turn(then)
        self.changes += 1
        if len(expected) > 100:
            assert fired == expected[:100]
            assert self.crew[who].turn(then) == expected[100:]
        else:
            assert fired == expected
            assert self.crew[who].turn(then) == []

    @rule()
    def pause(self) -> None:
        self.app.schedules.pause("tick")
        self.model.paused = True
        self.changes += 1

    @rule()
    def resume(self) -> None:
        if self.app.schedules.resume("tick"):
            self.changes += 1
            self.model.through = max(self.model.through, self.now)
        self.model.paused = False

    @rule()
    def end_and_prune(self) -> None:
        engine = self.app.store.engine
        self.note()
        live = [job.id for job in self.app.session.run(engine.find(Filter(tag=TAG + "tick"), Page(limit=100_000)))]
        if live:
            self.app.session.run(engine.alter(Filter(ids=live), Cancel(), actor="test", limit=len(live)))
        self.clock.advance(0.001)
        self.app.session.run(engine.prune(GONE, limit=100_000))
        self.model.waiting = False

    @rule()
    def run_now(self) -> None:
        self.app.schedules.run("tick")

    @invariant()
    def the_books_agree(self) -> None:
        self.note()
        [view] = self.app.schedules.list()
        assert (view.fired, view.dropped, view.paused) == (len(self.model.fired), self.model.dropped, self.model.paused)
        assert self.stored == {slot_id("tick", slot) for slot in self.model.fired}
        assert len(set(self.model.fired)) == len(self.model.fired)

    def note(self) -> None:
        jobs = self.app.schedules.history("tick", 10_000)
        self.stored |= {past.job.id for past in jobs if past.slot.kind == "slot"}

    def teardown(self) -> None:
        if hasattr(self, "lent"):
            self.lent.__exit__(None, None, None)


TestSchedules = Schedules.TestCase
TestSchedules.settings = settings(max_examples=40, stateful_step_count=30)
