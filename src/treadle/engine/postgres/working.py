"""The working verbs: claim, settle, renew, note."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from operator import itemgetter
from typing import Any, cast

from treadle.engine.admission import Admission, throttled_for
from treadle.engine.contract import Now
from treadle.engine.moving import Held, Leaver, Moves
from treadle.engine.plan import Steps
from treadle.engine.postgres.claiming import GatedClaim
from treadle.engine.postgres.edges import any_open, wake_children
from treadle.engine.postgres.leaving import call_next, leave_asks
from treadle.engine.postgres.moves import write_moves
from treadle.engine.postgres.statements import Statements
from treadle.engine.postgres.steps import (
    Anew,
    Aside,
    Ask,
    Asks,
    Do,
    Later,
    Marks,
    Recall,
    Row,
    Rows,
    Woken,
    columns,
    literal,
    numbers,
    texts,
    verb,
)
from treadle.engine.rows import to_text
from treadle.engine.session import LateWake, Wake, topics
from treadle.model.job import Claimed, Claims, LeaseId, Ref, Renewal, Want, WorkerInfo, micros
from treadle.model.outcome import Completed, Note, NoteKind, Settlement, Verdict
from treadle.model.state import State

_PRIORITY, _SEQ, _WAITS, _GATED, _SHARED, _SUSPECT = 6, 19, 20, 21, 22, 15
BRIEF = 0.0005
"""Run times below this, in seconds, are stored as zero: the record keeps milliseconds."""

_in_order = itemgetter(_SEQ, 0)
_ABOVE, _BELOW = 32767, -32768


class Working:
    """What a worker says to the store. The plain paths touch each job as often as they must and no more."""

    sql: Statements

    @verb
    def claim(
        self,
        lease: LeaseId,
        wants: Sequence[Want],
        tasks: Sequence[str],
        *,
        suspects: int = 0,
        gated: int = 0,
        now: Now = None,
    ) -> Steps[Claims]:
        """Move queued jobs to `running` under `lease`, by priority (larger first), then `seq`, per queue."""
        values: dict[str, Any] = {
            "lease": lease,
            "now": now,
            "tasks": texts(tasks),
            "queues": texts({want.queue for want in wants}),
        }
        if len(wants) != 1 or wants[0].up_to > wants[0].take:
            return (yield from self._claim_many(wants, values, suspects, gated))
        want = wants[0]
        marks: Marks | None = yield Recall(want.queue, values["tasks"])
        if marks is None:
            return (yield from self._claim_gated(wants, values, suspects, gated))
        instead = Anew(lambda: self._claim_gated(wants, values, suspects, gated))
        claims: Claims | Anew = yield Later(
            [self._take(values, want.queue, want.take, suspects, marks)], partial(_claimed, want, values["tasks"], instead)
        )
        return (yield from claims.begin()) if isinstance(claims, Anew) else claims

    def _claim_many(self, wants: Sequence[Want], values: dict[str, Any], suspects: int, gated: int) -> Steps[Claims]:
        """Several queues: a first pass for all of them at once, then what one leaves to the others."""
        if not wants:
            wants = [Want("", 0, 0)]
        first: list[Ask] = []
        for want in wants:
            marks: Marks | None = yield Recall(want.queue, values["tasks"])
            if marks is None:
                return (yield from self._claim_gated(wants, values, suspects, gated))
            first.append(self._take(values, want.queue, want.take, suspects, marks, alone=suspects > 0))
        answers: list[Rows] = yield Asks(first)
        if not all(answers):
            return Claims([], lost=True)
        if any(rows[0][_GATED] for rows in answers):
            return (yield from self._claim_gated(wants, values, suspects, gated, list(map(_rows, answers))))
        if suspects and any(rows[0][_WAITS] for rows in answers):
            # A suspect waits somewhere: how many are left for one queue depends on the one before.
            answers = []
            for want in wants:
                rows = yield self._take(values, want.queue, want.take, suspects, {})
                suspects -= sum(row[_SUSPECT] for row in rows if row[0] is not None)
                answers.append(rows)
        taken = [_rows(rows) for rows in answers]
        left = sum(want.take for want in wants) - sum(map(len, taken))
        for want, got in zip(wants, taken, strict=True):
            more = min(left, want.up_to - want.take)
            if more > 0 and len(got) == want.take:
                extra = _rows((yield self._take(values, want.queue, more, suspects, {})))
                suspects -= sum(row[_SUSPECT] for row in extra)
                left -= len(extra)
                got.extend(extra)
        return Claims([Claimed._make(row[:_SEQ]) for got in taken for row in got], lost=False)

    def _claim_gated(
        self, wants: Sequence[Want], values: dict[str, Any], suspects: int, gated: int, before: Sequence[list[Row]] = ()
    ) -> Steps[Claims]:
        """Gated jobs wait in some queue; `before` is what was taken in the moment before they came."""
        taken = before or [[] for _ in wants]
        suspects -= sum(row[_SUSPECT] for rows in taken for row in rows)
        claim = GatedClaim(self.sql, values, suspects, gated, Admission(0))
        wanted = [want.take - len(rows) for want, rows in zip(wants, taken, strict=True)]
        holder, *answers = yield Asks([Ask(self.sql("shared", "held"), values), *claim.asks(wants[0].queue, wanted[0])])
        if not holder:
            return Claims([], lost=True)
        claim.begin(holder[0][0], holder[0][2])
        chosen: list[list[int]] = []
        for i, (want, count) in enumerate(zip(wants, wanted, strict=True)):
            chosen.append((yield from claim.take(want.queue, count, None if i else answers)))
        left = sum(wanted) - sum(map(len, chosen))
        for want, count, ns in zip(wants, wanted, chosen, strict=True):
            more = min(left, want.up_to - want.take)
            if more > 0 and len(ns) == count:
                extra = yield from claim.take(want.queue, more)
                left -= len(extra)
                ns.extend(extra)
        asks = yield from claim.close()

        def answer(rows: list[Rows], aside: Aside) -> Claims:
            for queue, gated_wait in claim.seen.items():
                aside.remember(queue, values["tasks"], None if gated_wait else {})
            started = {abs(row[0]): row for each in rows for row in each}
            jobs: list[Claimed] = []
            for got, ns in zip(taken, chosen, strict=True):
                jobs += [Claimed._make(row[:_SEQ]) for row in (*got, *(started[n] for n in ns))]
            return Claims(jobs, lost=False, more=claim.more, wakes_at=claim.admission.wakes_at)

        claims: Claims = yield Later(asks, answer)
        return claims

    def _take(self, values: dict[str, Any], queue: str, take: int, suspects: int, marks: Marks, *, alone: bool = False) -> Ask:
        high, low, after = _segments(marks)
        own = {"queue": queue, "take": take, "suspects": suspects, "alone": alone, "high": high, "low": low, "after": after}
        return Ask(self.sql("claim", "take"), values | own)

    @verb
    def settle(self, lease: LeaseId, settlements: Sequence[Settlement], *, now: Now = None) -> Steps[list[Verdict]]:
        """End attempts: store each outcome, count edges down once for the whole batch, free or cancel the children."""
        if not settlements:
            return []
        completed, others, doubtful = _sorted(settlements)
        verdicts = [Verdict.DONE] * len(settlements)
        leavers: list[Leaver] = []
        if others:
            leavers = yield from self._end_otherwise(lease, settlements, others, verdicts, now)
        yield LateWake("job", lambda: topics(jobs=_final(settlements, verdicts)))
        asks: list[Ask] = []
        if completed:
            asks = self._complete(lease, [settlements[i] for i in completed] if others or doubtful else settlements, now)
        for i in doubtful:
            verdicts[i] = Verdict.LOST
        late = [i for i in (*others, *doubtful) if verdicts[i] is Verdict.LOST and type(settlements[i].ref) is int]
        if late:
            asks.append(Ask(self.sql("settle", "already"), _fences([settlements[i] for i in late])))
        gated = [Leaver(-each, State.COMPLETED) for i in completed if (each := cast("int", settlements[i].ref)) < 0]
        if not (asks or leavers or gated):
            return verdicts

        def answer(rows: list[Rows], aside: Aside) -> list[Verdict]:
            if completed:
                _completed(completed, verdicts, rows[:2], aside)
            for (place,) in rows[2 if completed else 0] if late else ():
                verdicts[late[place - 1]] = Verdict.ALREADY
            return verdicts

        if gated or leavers:
            return (yield from self._leave(asks, leavers, gated, answer, now))

        told: list[Verdict] = yield Later(asks, answer)
        return told

    def _leave(
        self,
        asks: list[Ask],
        leavers: Sequence[Leaver],
        completed: Sequence[Leaver],
        answer: Callable[[list[Rows], Aside], list[Verdict]],
        now: Now,
    ) -> Steps[list[Verdict]]:
        """Gated jobs end: whoever waited for their room or their turn is called in the same transaction."""
        leaving = leave_asks(self.sql, leavers, completed)
        *told, clock = yield Asks([*asks, *leaving, Ask(self.sql("shared", "clock"), {"now": now})])
        aside = Woken()
        verdicts = answer(told, aside)
        yield from call_next(self.sql, [*leavers, *completed], clock[0][0], told[len(asks) :])
        yield from aside.wakes
        return verdicts

    def _complete(self, lease: LeaseId, mine: Sequence[Settlement], now: Now) -> list[Ask]:
        results: list[Any] = [cast("Completed", each.outcome).result for each in mine]
        ns = numbers([abs(cast("int", each.ref)) for each in mine])
        values = {
            "lease": lease, "now": now, "ns": ns, "attempt": numbers([each.attempt for each in mine]),
            "took": _unless_empty([each.took if each.took >= BRIEF else 0.0 for each in mine]),
            "result": _unless_empty(results),
            "total": len(mine),
        }  # fmt: skip
        return [
            Ask(self.sql("settle", "complete"), values),
            Ask(self.sql("edges", "met"), {"ns": ns, "now": now}),
        ]

    def _end_otherwise(
        self, lease: LeaseId, settlements: Sequence[Settlement], others: Sequence[int], verdicts: list[Verdict], now: Now
    ) -> Steps[list[Leaver]]:
        """Move the jobs at `others`, of which those that do not hold the fence are lost; returns the gated ones."""
        for i in others:
            verdicts[i] = Verdict.LOST
        holder, rows = yield Asks(
            [
                Ask(self.sql("shared", "held"), {"lease": lease, "now": now}),
                Ask(self.sql("settle", "held"), _fences([settlements[i] for i in others]) | {"lease": lease}),
            ]
        )
        if not holder:
            return []
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
        if moves.ended and (yield from any_open(self.sql)):
            yield from wake_children(self.sql, moves.ended, wall)
        return moves.leavers

    @verb
    def renew(
        self, lease: LeaseId, beat: int, length: float, *, worker: WorkerInfo | None = None, now: Now = None
    ) -> Steps[Renewal]:
        """Open (`beat` 0, with `worker`) or extend a lease, and collect cancel requests."""
        values: dict[str, Any] = {"lease": lease, "beat": beat, "length": micros(length), "now": now}
        asks = [Ask(self.sql("renew", "extend"), values), Ask(self.sql("renew", "cancels"), {"lease": lease})]
        if beat == 0 and worker is not None:
            values |= {
                "name": worker.name, "host": worker.host, "pid": worker.pid, "slots": worker.slots,
                "queues": to_text(worker.queues), "tasks": to_text(worker.tasks),
            }  # fmt: skip
            asks.insert(0, Ask(self.sql("renew", "open"), values))

        def answer(rows: list[Rows], _aside: Aside) -> Renewal:
            *held, cancels = rows
            if not any(held):
                return Renewal(lost=True, cancels=[])
            return Renewal(lost=False, cancels=[job for (job,) in cancels])

        renewal: Renewal = yield Later(asks, answer)
        return renewal

    @verb
    def note(self, lease: LeaseId, notes: Sequence[Note], *, now: Now = None) -> Steps[list[Verdict]]:
        """Write down what running jobs say in mid-run: progress, the stuck flag. Fenced like `settle`."""
        places = [i for i, note in enumerate(notes) if type(note.ref) is int]
        mine = [notes[i] for i in places]
        verdicts = [Verdict.LOST] * len(notes)
        if not mine:
            return verdicts
        values = _fences(mine) | {
            "lease": lease, "now": now, "kind": texts([note.kind for note in mine]),
            "name": texts([note.name for note in mine]), "value": texts([note.value for note in mine]),
        }  # fmt: skip

        def answer(rows: list[Rows], _aside: Aside) -> list[Verdict]:
            for (place,) in rows[0]:
                verdicts[places[place - 1]] = Verdict.DONE
            return verdicts

        write = Ask(self.sql("note", "write"), values)
        if any(note.kind is NoteKind.THROTTLE for note in mine):
            rows: Rows = yield write
            throttles = _throttles([mine[int(place) - 1] for (place,) in rows])
            if throttles:
                yield Do(self.sql("flows", "throttle"), columns(("name", "key", "length"), throttles) | {"now": now})
            return answer([rows], Woken())
        told: list[Verdict] = yield Later([write], answer)
        return told


def _throttles(notes: Iterable[Note]) -> list[tuple[str, str, int]]:
    """The keys that these notes close, and for how many microseconds."""
    found: list[tuple[str, str, int]] = []
    for note in notes:
        seconds = throttled_for(note.value) if note.kind is NoteKind.THROTTLE else 0.0
        if seconds > 0:
            limit, _, key = note.name.partition("\n")
            found.append((limit, key, micros(seconds)))
    return found


def _segments(marks: Marks) -> tuple[str, str, str]:
    """The ready index cut at the marks: above the first, behind it, between it and the next, and so on down."""
    if not marks:
        return f"{{{_ABOVE}}}", f"{{{_BELOW}}}", "{NULL}"
    rows: list[tuple[int, int, int | None]] = []
    top = _ABOVE
    for priority in sorted(marks, reverse=True):
        rows += [(top, priority, None), (priority, priority, marks[priority])]
        top = priority
    rows.append((top, _BELOW, None))
    high, low, after = zip(*rows, strict=True)
    return numbers(high), numbers(low), literal(after)


def _rows(rows: Rows) -> list[Row]:
    """The claimed rows in the order of the queue; none where there was nothing to claim."""
    if not rows or rows[0][0] is None:
        return []
    rows.sort(key=_in_order)
    if rows[0][_PRIORITY] != rows[-1][_PRIORITY] or len({row[_PRIORITY] for row in rows}) > 1:
        rows.sort(key=itemgetter(_PRIORITY), reverse=True)
    return rows


def _claimed(want: Want, tasks: str, instead: Anew, answers: list[Rows], aside: Aside) -> Claims | Anew:
    """The answer of a claim from one queue, and the marks for the next: only a full batch leaves any."""
    [rows] = answers
    if not rows:
        return Claims([], lost=True)
    if rows[0][_GATED]:
        return instead
    jobs = _rows(rows)
    # Where tenants share a queue, who comes next may stand before who was claimed last.
    full = len(jobs) == want.take > 0 and not rows[0][_SHARED]
    aside.remember(want.queue, tasks, {row[_PRIORITY]: row[_SEQ] for row in jobs if not row[_SUSPECT]} if full else {})
    return Claims([Claimed._make(row[:_SEQ]) for row in jobs], lost=False)


def _completed(places: Sequence[int], verdicts: list[Verdict], rows: list[Rows], aside: Aside) -> None:
    refused, children = rows
    for place, before in refused:
        verdicts[places[place - 1]] = Verdict.ALREADY if before else Verdict.LOST
    if children:
        aside.wake(Wake(topics({queue for queue, state in children if state == State.QUEUED})))


def _fences(shown: Sequence[Settlement | Note]) -> dict[str, Any]:
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
    completed = [i for i in places if type(settlements[i].outcome) is Completed]
    if len(completed) == len(settlements):
        return completed, [], []
    return completed, [i for i in places if type(settlements[i].outcome) is not Completed], doubtful


def _final(settlements: Sequence[Settlement], verdicts: Sequence[Verdict]) -> list[str]:
    return [each.id for each, verdict in zip(settlements, verdicts, strict=True) if verdict is Verdict.DONE]
