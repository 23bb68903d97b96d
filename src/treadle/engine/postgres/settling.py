"""How attempts end: settle."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

from treadle.engine.contract import Now
from treadle.engine.moving import Ended, Held, Leaver, Moves
from treadle.engine.plan import Steps
from treadle.engine.postgres.aftermath import take_on
from treadle.engine.postgres.edges import any_open, wake_children
from treadle.engine.postgres.leaving import call_next, leave_asks
from treadle.engine.postgres.moves import write_moves
from treadle.engine.postgres.statements import Statements
from treadle.engine.postgres.steps import (
    Abroad,
    Anew,
    Aside,
    Ask,
    Asks,
    Crowded,
    Do,
    Later,
    Rows,
    Woken,
    literal,
    numbers,
    texts,
    verb,
)
from treadle.engine.session import LateWake, Wake, topics
from treadle.model.job import LeaseId, Ref
from treadle.model.outcome import Completed, Note, Settlement, Verdict
from treadle.model.state import State

BRIEF = 0.0005
"""Run times below this, in seconds, are stored as zero: the record keeps milliseconds."""

Answer = Callable[[list[Rows], Aside], list[Verdict]]
"""Makes the verdicts of the rows of the statements."""


class Settling:
    """A batch of plain jobs that have completed takes one exchange; whatever else ended is moved before it."""

    sql: Statements

    @verb
    def settle(self, lease: LeaseId, settlements: Sequence[Settlement], *, now: Now = None) -> Steps[list[Verdict]]:
        """End attempts: store each outcome, count edges down once for the whole batch, free or cancel the children."""
        if not settlements:
            return []
        completed, others, doubtful = _sorted(settlements)
        verdicts = [Verdict.DONE] * len(settlements)
        leavers: list[Leaver] = []
        parents: list[Ended] = []
        if others:
            leavers, parents = yield from self._end_otherwise(lease, settlements, others, verdicts, now)
        yield LateWake("job", lambda: topics(jobs=_final(settlements, verdicts)))
        asks: list[Ask] = []
        mine = [settlements[i] for i in completed]
        if completed:
            asks = self._complete(lease, mine, now, met=not parents)
        for i in doubtful:
            verdicts[i] = Verdict.LOST
        late = [i for i in (*others, *doubtful) if verdicts[i] is Verdict.LOST and type(settlements[i].ref) is int]
        if late:
            asks.append(Ask(self.sql("settle", "already"), fences([settlements[i] for i in late])))
        gated = [-ref for each in mine if (ref := cast("int", each.ref)) < 0]
        if not (asks or leavers or gated or parents):
            return verdicts

        def answer(rows: list[Rows], aside: Aside) -> list[Verdict]:
            if completed:
                _completed(completed, verdicts, rows[:2], aside)
            for (place,) in rows[2 if completed else 0] if late else ():
                verdicts[late[place - 1]] = Verdict.ALREADY
            return verdicts

        if completed and not others and (yield Abroad()):
            return (yield from self._leave_behind(asks, mine, answer))
        if parents or leavers or (gated and (yield Crowded())):
            end = partial(self._end_family, parents) if parents else self._leave
            verdicts = yield from end(asks, mine, leavers, answer, now)
            return (yield from self._take_on(settlements, verdicts, now))
        return (yield from self._end_at_once(settlements, asks, gated, answer, now))

    def _leave_behind(self, asks: list[Ask], completed: Sequence[Settlement], answer: Answer) -> Steps[list[Verdict]]:
        """The ends themselves in a user's transaction; what follows from them is left to others (see `aftermath`)."""
        complete, _met, *already = asks
        refused, *told = yield Asks([complete, *already])
        ended = _done(completed, [refused])
        if ended:
            yield Do(self.sql("aftermath", "leave"), {"ns": numbers([abs(cast("int", each.ref)) for each in ended])})
        return answer([refused, [], *told], Woken())

    def _end_at_once(
        self, settlements: Sequence[Settlement], asks: list[Ask], gated: Sequence[int], answer: Answer, now: Now
    ) -> Steps[list[Verdict]]:
        """For the room or the turn of none of these does anybody seem to wait: if somebody does, he is called at once."""
        if gated:
            complete, *others = asks
            out_of_line = Ask(self.sql("settle", "complete", "leave-lines", "refused"), complete.values)
            leave = Ask(self.sql("aftermath", "leave-waited-for"), {"ns": numbers(gated)})
            asks = [out_of_line, *others, leave]

        def finish(rows: list[Rows], aside: Aside) -> list[Verdict] | Anew:
            left = [n for (n,) in rows.pop()] if gated else []
            verdicts = answer(rows, aside)
            if left:
                aside.crowd()
            if not left and Verdict.ALREADY not in verdicts:
                return verdicts
            return Anew(lambda: self._take_on(settlements, verdicts, now, left))

        told: list[Verdict] | Anew = yield Later(asks, finish)
        return (yield from told.begin()) if isinstance(told, Anew) else told

    def _take_on(
        self, settlements: Sequence[Settlement], verdicts: list[Verdict], now: Now, left: Sequence[int] = ()
    ) -> Steps[list[Verdict]]:
        """Do what has been left, by these or by those that were completed before: in a user's transaction, perhaps."""
        pairs = zip(settlements, verdicts, strict=True)
        ns = [abs(each.ref) for each, verdict in pairs if verdict is Verdict.ALREADY and isinstance(each.ref, int)]
        ns += left
        if ns:
            yield from take_on(self.sql, ns, now)
        return verdicts

    def _leave(
        self,
        asks: list[Ask],
        completed: Sequence[Settlement],
        leavers: Sequence[Leaver],
        answer: Answer,
        now: Now,
    ) -> Steps[list[Verdict]]:
        """Gated jobs end: whoever waited for their room or their turn is called in the same transaction."""
        gated = _gated(completed)
        leaving = leave_asks(self.sql, leavers, gated)
        *told, clock = yield Asks([*asks, *leaving, Ask(self.sql("shared", "clock"), {"now": now})])
        aside = Woken()
        verdicts = answer(told, aside)
        left = told[len(asks) :]
        if len(done := _done(completed, told)) < len(completed):
            # Who is not live any more, but did not end here, makes room for nobody.
            gated = _gated(done)
            left[-1] = yield leave_asks(self.sql, [*leavers, *gated])[-1]
        yield from call_next(self.sql, [*leavers, *gated], clock[0][0], left)
        yield from aside.wakes
        return verdicts

    def _end_family(
        self,
        parents: Sequence[Ended],
        asks: list[Ask],
        completed: Sequence[Settlement],
        leavers: Sequence[Leaver],
        answer: Answer,
        now: Now,
    ) -> Steps[list[Verdict]]:
        """Parents end otherwise too: the children of all are told at once, so that they queue up by their age."""
        *told, clock = yield Asks([*asks, Ask(self.sql("shared", "clock"), {"now": now})])
        verdicts = answer(told, Woken())
        [[wall]] = clock
        done = _done(completed, told)
        ended = [Ended(abs(cast("int", each.ref)), each.id, State.COMPLETED) for each in done]
        yield from wake_children(self.sql, [*parents, *ended], wall)
        yield from call_next(self.sql, [*leavers, *_gated(done)], wall)
        return verdicts

    def _complete(self, lease: LeaseId, mine: Sequence[Settlement], now: Now, *, met: bool) -> list[Ask]:
        results: list[Any] = [cast("Completed", each.outcome).result for each in mine]
        ns = numbers([abs(cast("int", each.ref)) for each in mine])
        values = {
            "lease": lease, "now": now, "ns": ns, "attempt": numbers([each.attempt for each in mine]),
            "took": _unless_empty([each.took if each.took >= BRIEF else 0.0 for each in mine]),
            "result": _unless_empty(results),
            "total": len(mine),
        }  # fmt: skip
        return [
            Ask(self.sql("settle", "complete", "refused"), values),
            Ask(self.sql("edges", "met"), {"ns": ns if met else "{}", "now": now}),
        ]

    def _end_otherwise(
        self, lease: LeaseId, settlements: Sequence[Settlement], others: Sequence[int], verdicts: list[Verdict], now: Now
    ) -> Steps[tuple[list[Leaver], list[Ended]]]:
        """Move the jobs at `others`, of which those that do not hold the fence are lost.

        Returns the gated ones, and those whose children are to be told.
        """
        for i in others:
            verdicts[i] = Verdict.LOST
        holder, rows = yield Asks(
            [
                Ask(self.sql("shared", "held"), {"lease": lease, "now": now}),
                Ask(self.sql("settle", "held"), fences([settlements[i] for i in others]) | {"lease": lease}),
            ]
        )
        if not holder:
            return [], []
        _, worker, wall = holder[0]
        moves = Moves(wall, worker)
        found = {place: columns for place, *columns in rows}
        for place, i in enumerate(others, 1):
            if place in found:
                moves.decide(Held(*found[place]), settlements[i].outcome, settlements[i].took)
                verdicts[i] = Verdict.DONE
        yield from write_moves(self.sql, moves)
        if moves.queues:
            yield Wake(topics(moves.queues))
        told = bool(moves.ended) and (yield from any_open(self.sql))
        return moves.leavers, moves.ended if told else []


def _done(completed: Sequence[Settlement], told: Sequence[Rows]) -> Sequence[Settlement]:
    """Those of the completed that the first answer, that of `complete`, does not refuse."""
    refused = {place for place, _ in told[0]} if completed else set[int]()
    return [each for place, each in enumerate(completed, 1) if place not in refused] if refused else completed


def _gated(completed: Sequence[Settlement]) -> list[Leaver]:
    return [Leaver(-ref, State.COMPLETED) for each in completed if (ref := cast("int", each.ref)) < 0]


def _completed(places: Sequence[int], verdicts: list[Verdict], rows: list[Rows], aside: Aside) -> None:
    refused, children = rows
    for place, before in refused:
        verdicts[places[place - 1]] = Verdict.ALREADY if before else Verdict.LOST
    if children:
        aside.wake(Wake(topics({queue for queue, state in children if state == State.QUEUED})))


def fences(shown: Sequence[Settlement | Note]) -> dict[str, Any]:
    """The columns that show the fence of each."""
    return {
        "ns": literal([abs(each.ref) if isinstance(each.ref, int) else each.ref for each in shown]),
        "attempt": numbers([each.attempt for each in shown]),
        "ids": texts([each.id for each in shown]),
    }


def _unless_empty(values: list[Any]) -> str | None:
    return literal(values) if any(values) else None


def _sorted(settlements: Sequence[Settlement]) -> tuple[Sequence[int], list[int], list[int]]:
    """The places of completed jobs, of those that end otherwise, and of those told of before or with no address of ours."""
    places: Sequence[int] = range(len(settlements))
    doubtful: list[int] = []
    if len({each.ref for each in settlements}) < len(settlements) or any(type(each.ref) is not int for each in settlements):
        first: dict[tuple[Ref, int], int] = {}
        for i, each in enumerate(settlements):
            first.setdefault((each.ref, each.attempt), i)
        places = [i for (ref, _), i in first.items() if type(ref) is int]
        doubtful = sorted(set(range(len(settlements))) - set(places))
    ns = [abs(cast("int", settlements[i].ref)) for i in places]
    if ns != sorted(ns):
        # Whoever holds several live rows takes them in this order.
        places = [i for _, i in sorted(zip(ns, places, strict=True))]
    completed = [i for i in places if type(settlements[i].outcome) is Completed]
    if len(completed) == len(settlements):
        return completed, [], []
    return completed, [i for i in places if type(settlements[i].outcome) is not Completed], doubtful


def _final(settlements: Sequence[Settlement], verdicts: Sequence[Verdict]) -> list[str]:
    return [each.id for each, verdict in zip(settlements, verdicts, strict=True) if verdict is Verdict.DONE]
