"""Carries a plan to its answer over one connection: what is put together, what is waited for, and when it is committed.

A plan that never waits in the middle takes one exchange, and its commit travels with it: outside of a transaction block, what
stands before one sync is one transaction. A plan that asks in the middle begins a block, and its last statements are sent
together with the commit. Whoever drives this generator waits for the link each time it yields.
"""

from collections.abc import Generator, Sequence
from typing import Any, NamedTuple, TypeVar, cast

from treadle.engine.plan import Plan, Steps, only_reads
from treadle.engine.postgres.channels import Channels
from treadle.engine.postgres.driver import Link
from treadle.engine.postgres.recall import Memory
from treadle.engine.postgres.statements import Statements
from treadle.engine.postgres.steps import (
    Abroad,
    Anew,
    Ask,
    Asks,
    Crowded,
    Do,
    Gated,
    Later,
    Marks,
    Recall,
    Rows,
    Verb,
    texts,
)
from treadle.engine.session import LateWake, Wake

R = TypeVar("R")
Carrying = Generator[None, list[Rows], R]

_BEGIN = (b"BEGIN ISOLATION LEVEL READ COMMITTED",)
"""Said each time: behind a pooler a connection keeps no settings, and at any other level nobody sees what he has waited for."""


class _Ended(NamedTuple):
    """What a plan returned that asked for nothing."""

    answer: Any


class _Promise(NamedTuple):
    """Where the rows of a `Later` will stand among all answers."""

    later: Later
    first: int
    last: int


def _go_on(answers: list[Any], *, several: bool) -> Steps[Any]:
    """Make those answers that are to be made anew, in one transaction."""
    made: list[Any] = []
    for each in answers:
        made.append((yield from each.begin()) if isinstance(each, Anew) else each)
    return tuple(made) if several else made[0]


class Carrier:
    """One plan under way on a link."""

    def __init__(self, link: Link, sql: Statements, memory: Memory, *, relaxed: bool, look: Sequence[bytes]) -> None:
        self._link = link
        self._sql = sql
        self._channels = Channels(sql.namespace)
        self._memory = memory
        self._relaxed = relaxed
        self._look = look
        self._begun = False
        self._asked = 0
        self._answers: list[Rows] = []
        self._wakes: list[Wake] = []
        self._found: list[tuple[str, str, Marks | Gated]] = []
        self.rest: Plan[Any] | None = None
        """What is left of a plan the first part of which has been committed, and answers what the whole would: who begins again
        begins with this. A claim that was begun anew as a whole left what it had started to nobody."""

    def wake(self, wake: Wake) -> None:
        """Deliver this after the commit."""
        self._wakes.append(wake)

    def remember(self, queue: str, tasks: str, found: Marks | Gated) -> None:
        """Keep for the next claim what this one has found."""
        self._found.append((queue, tasks, found))

    def crowd(self) -> None:
        """Have the next settlements call whoever waits at once."""
        self._memory.crowd()

    def carry(self, plan: Plan[R]) -> Carrying[R]:
        """Run the plan: each yield is a wait for the link, whose rows are sent in."""
        reads = only_reads(plan.name)
        parts = plan.parts or (plan,)
        answers: list[Any] = []
        for part in parts:
            steps = part.begin()
            step = self._first(steps)
            if step.__class__ is Later and part.__class__ is Verb:  # nothing is waited for: most enqueues and settlements
                answers.append(self._defer(step, reads=reads))
                steps.close()
            else:
                answers.append((yield from self._run(part, steps, step, reads=reads)))
        if self._asked:
            late = self._commit()
            sleepers = self._received((yield), late)
            for place, each in enumerate(answers):
                if each.__class__ is _Promise:
                    answers[place] = yield from self._kept(each.later.finish(self._answers[each.first : each.last], self))
            self._conclude(sleepers)
            if any(each.__class__ is Anew for each in answers):
                self.rest = Plan(plan.name, lambda: _go_on(answers, several=bool(plan.parts)))
                for place, each in enumerate(answers):
                    if each.__class__ is Anew:
                        answers[place] = yield from self._anew(each)
                        self._conclude(sleepers)
        else:
            self._conclude([])
        return cast("R", tuple(answers) if plan.parts else answers[0])

    def _conclude(self, sleepers: Rows) -> None:
        """Wake whom the answers that have been made wake beside those that are woken by now, and remember what they found."""
        if self._asked and self._wakes:
            self._wake(sleepers)
            self._wakes = []
        for each in self._found:
            self._memory.remember(*each)
        self._found = []

    def _first(self, steps: Steps[Any]) -> Any:
        """The first step that is more than a wake, or what the plan returns without one."""
        try:
            step = next(steps)
            while isinstance(step, Wake | Recall | Crowded | Abroad):
                if not isinstance(step, Wake):
                    step = steps.send(self._known(step))
                else:
                    self._wakes.append(step)
                    step = next(steps)
        except StopIteration as stop:
            return _Ended(stop.value)
        return step

    def _run(self, plan: Plan[Any], steps: Steps[Any], step: Any, *, reads: bool) -> Generator[None, list[Rows], Any]:
        """Carry out the steps from this one on; what they leave for later is put, and not waited for."""
        try:
            while True:
                answer: Any = None
                kind: object = step.__class__
                if kind is Later:
                    if type(plan) is Verb:
                        return self._defer(step, reads=reads)
                    answer = yield from self._carry_out(step, reads=reads)
                elif kind is Ask:
                    answer = (yield from self._ask([step], reads=reads))[0]
                elif kind is Asks:
                    answer = yield from self._ask(step.asks, reads=reads)
                elif kind is Do:
                    self._begin(reads=reads)
                    self._put(Ask(*step))
                elif kind is Recall or kind is Crowded or kind is Abroad:
                    answer = self._known(step)
                elif isinstance(step, Wake):
                    self._wakes.append(step)
                elif kind is _Ended:
                    return step.answer
                else:
                    raise TypeError(f"{step!r} is not a step of the PostgreSQL engine")
                step = steps.send(answer)
        except StopIteration as stop:
            return stop.value
        finally:
            steps.close()

    def _known(self, step: Recall | Crowded | Abroad) -> Any:
        """What this side knows without asking the server."""
        if isinstance(step, Recall):
            return self._memory.recall(*step)
        return self._memory.crowded if isinstance(step, Crowded) else False

    def _begin(self, *, reads: bool) -> None:
        if self._begun:
            return
        self._begun = True
        for command in self._look if reads else _BEGIN:
            self._link.command(command)
        if reads:
            self._link.hurry()
        else:
            for setting in self._link.settings:
                self._link.command(setting)

    def _put(self, ask: Ask) -> None:
        if not self._asked:
            self._link.relax(self._relaxed)
        self._asked += 1
        self._link.put(ask)

    def _carry_out(self, later: Later, *, reads: bool) -> Generator[None, list[Rows], Any]:
        """Here and now, for a plan in which something follows."""
        if later.wake is not None:
            self._wakes.append(later.wake)
        answer: Any = later
        while type(answer) is Later:
            before: Sequence[Ask] = () if reads else answer.firmly
            rows = yield from self._ask([*before, *answer.asks], reads=reads)
            answer = answer.finish(rows[len(before) :], self)
        return answer

    def _defer(self, later: Later, *, reads: bool) -> "_Promise":
        """Send the statements off; the answer is made when the commit is through."""
        if reads or self._link.settings:
            self._begin(reads=reads)
        first = self._asked
        asks = later.asks
        if later.wake is not None:
            (topic,) = later.wake.topics
            channel = self._channels.name(topic)
            asks = [Ask(each.statement, {**each.values, "channel": channel}) for each in asks]
        alone = isinstance(asks, Sequence) and len(asks) == 1  # it goes out with the commit, in one packet
        for ask in asks:
            self._put(ask)
            if not alone:
                self._link.nudge()
        return _Promise(later, first, self._asked)

    def _ask(self, asks: Sequence[Ask], *, reads: bool) -> Generator[None, list[Rows], list[Rows]]:
        self._begin(reads=reads)
        for ask in asks:
            self._put(ask)
        self._link.sync()
        self._answers += yield
        return self._answers[-len(asks) :]

    def _commit(self) -> Sequence[Wake]:
        """Commit, and with it notify whoever sleeps on what is known to have come true; returns the late wakes.

        Nobody waits for the notification: it is on its way.
        """
        if self._begun:
            self._link.command(b"COMMIT")
        self._link.sync()
        if not self._wakes:
            return ()
        late = [each for each in self._wakes if isinstance(each, LateWake)]
        for each in late:
            self._link.put(Ask(self._sql("wake", "sleepers"), {"prefix": self._channels.prefix(each.kind)}), hint=True)
            self._link.sync()
        now = [each for each in self._wakes if not isinstance(each, LateWake)] if late else self._wakes
        if now:
            topics = now[0].topics if len(now) == 1 else frozenset(topic for each in now for topic in each.topics)
            self._notify(self._channels.listed(topics))
        self._wakes = [*late]
        return late

    def _received(self, rows: list[Rows], late: Sequence[Wake]) -> Rows:
        """Take in the rows of everything put; returns who sleeps on late topics."""
        if not late:
            self._answers += rows
            return []
        self._answers += rows[: -len(late)]
        return [row for each in rows[-len(late) :] for row in each]

    def _wake(self, sleepers: Rows) -> None:
        """Notify on what came true only now, and on late topics on which somebody sleeps."""
        channels = {name for (name,) in sleepers}
        chosen = {
            name
            for wake in self._wakes
            if channels or not isinstance(wake, LateWake)
            for name in map(self._channels.name, wake.topics)
            if name in channels or not isinstance(wake, LateWake)
        }
        if chosen:
            self._notify(texts(chosen))

    def _notify(self, channels: str) -> None:
        self._link.mention(Ask(self._sql("wake", "notify"), {"channels": channels}))

    def _kept(self, answer: Any) -> Generator[None, list[Rows], Any]:
        """The answer of a plan that looks once more."""
        while answer.__class__ is Later:
            for ask in answer.asks:
                self._link.put(ask)
            self._link.sync()
            answer = answer.finish((yield), self)
        return answer

    def _anew(self, instead: Anew) -> Generator[None, list[Rows], Any]:
        """Carry out what must follow in a transaction of its own: what it should have been part of is committed."""
        self._begun = False
        plan = Plan("anew", instead.begin)
        steps = plan.begin()
        answer = yield from self._run(plan, steps, self._first(steps), reads=False)
        self._link.command(b"COMMIT")
        self._link.sync()
        yield
        return answer
