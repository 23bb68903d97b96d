"""The working verbs: claim, settle, renew, note."""

from collections.abc import Sequence
from functools import partial
from operator import itemgetter
from typing import Any, cast

from treadle.engine.contract import Now
from treadle.engine.moving import Held, Moves
from treadle.engine.plan import Steps
from treadle.engine.postgres.edges import any_open, topics, wake_children
from treadle.engine.postgres.moves import write_moves
from treadle.engine.postgres.statements import Statements
from treadle.engine.postgres.steps import (
    Aside,
    Ask,
    Asks,
    Later,
    LateWake,
    Marks,
    Recall,
    Row,
    Rows,
    literal,
    numbers,
    texts,
    verb,
)
from treadle.engine.rows import to_text
from treadle.engine.session import Wake
from treadle.model.job import Claimed, Claims, LeaseId, Ref, Renewal, Want, WorkerInfo, micros
from treadle.model.outcome import Completed, Note, Settlement, Verdict
from treadle.model.state import State

_PRIORITY, _SEQ, _WAITS, _SUSPECT = 6, 19, 20, 15
BRIEF = 0.0005
"""Run times below this, in seconds, are stored as zero: the record keeps milliseconds."""

_in_order = itemgetter(_SEQ)
_ABOVE, _BELOW = 32767, -32768


class Working:
    """What a worker says to the store. The plain paths touch each job as often as they must and no more."""

    sql: Statements

    @verb
    def claim(
        self, lease: LeaseId, wants: Sequence[Want], tasks: Sequence[str], *, suspects: int = 0, now: Now = None
    ) -> Steps[Claims]:
        """Move queued jobs to `running` under `lease`, by priority (larger first), then `seq`, per queue."""
        values = {"lease": lease, "now": now, "tasks": texts(tasks)}
        if len(wants) == 1 and wants[0].up_to <= wants[0].take:
            want = wants[0]
            marks: Marks = yield Recall(want.queue)
            claims: Claims = yield Later([self._take(values, want.queue, want.take, suspects, marks)], partial(_claimed, want))
            return claims
        return (yield from self._claim_many(wants, values, suspects))

    def _claim_many(self, wants: Sequence[Want], values: dict[str, Any], suspects: int) -> Steps[Claims]:
        """Several queues: a first pass for all of them at once, then what one leaves to the others."""
        if not wants:
            wants = [Want("", 0, 0)]
        first: list[Ask] = []
        for want in wants:
            marks: Marks = yield Recall(want.queue)
            first.append(self._take(values, want.queue, want.take, suspects, marks, alone=suspects > 0))
        answers: list[Rows] = yield Asks(first)
        if not all(answers):
            return Claims([], lost=True)
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
        if others:
            yield from self._end_otherwise(lease, settlements, others, verdicts, now)
        yield LateWake("job", lambda: topics(jobs=_final(settlements, verdicts)))
        asks: list[Ask] = []
        if completed:
            asks = self._complete(lease, [settlements[i] for i in completed] if others or doubtful else settlements, now)
        for i in doubtful:
            verdicts[i] = Verdict.LOST
        late = [i for i in (*others, *doubtful) if verdicts[i] is Verdict.LOST and type(settlements[i].ref) is int]
        if late:
            asks.append(Ask(self.sql("settle", "already"), _fences([settlements[i] for i in late])))
        if not asks:
            return verdicts

        def answer(rows: list[Rows], aside: Aside) -> list[Verdict]:
            if completed:
                _completed(completed, verdicts, rows[:2], aside)
            for (place,) in rows[-1] if late else ():
                verdicts[late[place - 1]] = Verdict.ALREADY
            return verdicts

        told: list[Verdict] = yield Later(asks, answer)
        return told

    def _complete(self, lease: LeaseId, mine: Sequence[Settlement], now: Now) -> list[Ask]:
        results: list[Any] = [cast("Completed", each.outcome).result for each in mine]
        ns = numbers([cast("int", each.ref) for each in mine])
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
    ) -> Steps[None]:
        """Move the jobs at `others`; those that do not hold the fence are lost."""
        for i in others:
            verdicts[i] = Verdict.LOST
        holder, rows = yield Asks(
            [
                Ask(self.sql("shared", "held"), {"lease": lease, "now": now}),
                Ask(self.sql("settle", "held"), _fences([settlements[i] for i in others]) | {"lease": lease}),
            ]
        )
        if not holder:
            return
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

        told: list[Verdict] = yield Later([Ask(self.sql("note", "write"), values)], answer)
        return told


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


def _claimed(want: Want, answers: list[Rows], aside: Aside) -> Claims:
    """The answer of a claim from one queue, and the marks for the next: only a full batch leaves any."""
    [rows] = answers
    if not rows:
        return Claims([], lost=True)
    jobs = _rows(rows)
    full = len(jobs) == want.take > 0
    aside.remember(want.queue, {row[_PRIORITY]: row[_SEQ] for row in jobs if not row[_SUSPECT]} if full else {})
    return Claims([Claimed._make(row[:_SEQ]) for row in jobs], lost=False)


def _completed(places: Sequence[int], verdicts: list[Verdict], rows: list[Rows], aside: Aside) -> None:
    refused, children = rows
    for place, before in refused:
        verdicts[places[place - 1]] = Verdict.ALREADY if before else Verdict.LOST
    if children:
        aside.wake(Wake(topics({queue for queue, state in children if state == State.QUEUED})))


def _fences(shown: Sequence[Settlement | Note]) -> dict[str, Any]:
    return {
        "ns": literal([each.ref for each in shown]),
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
