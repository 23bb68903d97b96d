"""The working verbs: claim, settle, renew, note."""

from collections.abc import Iterable, Sequence
from functools import partial
from operator import itemgetter
from typing import Any

from treadle.engine.admission import Admission, throttled_for
from treadle.engine.contract import Now
from treadle.engine.plan import Steps
from treadle.engine.postgres.claiming import GatedClaim
from treadle.engine.postgres.clear import claim_clear
from treadle.engine.postgres.marks import segments
from treadle.engine.postgres.settling import Settling, fences
from treadle.engine.postgres.statements import Statements
from treadle.engine.postgres.steps import (
    Anew,
    Aside,
    Ask,
    Asks,
    Do,
    Gated,
    Later,
    Marks,
    Recall,
    Row,
    Rows,
    Way,
    Woken,
    columns,
    texts,
    verb,
)
from treadle.engine.rows import to_text
from treadle.model.job import Claimed, Claims, LeaseId, Renewal, Want, WorkerInfo, micros
from treadle.model.outcome import Note, NoteKind, Verdict

_PRIORITY, _SEQ, _WAITS, _GATED, _SHARED, _SUSPECT = 6, 19, 20, 21, 22, 15
_in_order = itemgetter(_SEQ, 0)


class Working(Settling):
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
        marks: Marks | Gated = yield Recall(want.queue, values["tasks"])
        if isinstance(marks, Gated):
            return (yield from self._claim_expected(marks, want, values, suspects, gated))
        instead = Anew(lambda: self._claim_met(want, values, suspects, gated))
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
            marks: Marks | Gated = yield Recall(want.queue, values["tasks"])
            if isinstance(marks, Gated):
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

    def _claim_met(self, want: Want, values: dict[str, Any], suspects: int, gated: int) -> Steps[Claims]:
        """Gated jobs wait in the queue, as a claim has just found."""
        found: Marks | Gated = yield Recall(want.queue, values["tasks"])
        expected = found if isinstance(found, Gated) else Gated(Way.CLEAR)
        return (yield from self._claim_expected(expected, want, values, suspects, gated))

    def _claim_expected(self, expected: Gated, want: Want, values: dict[str, Any], suspects: int, gated: int) -> Steps[Claims]:
        """Gated jobs wait in the queue: all at once while nothing seems to stand in their way, else one by one."""

        def go_on(started: list[Row]) -> Steps[Claims]:
            left = gated - sum(row[0] < 0 for row in started)
            return self._claim_gated([want], values, suspects, left, [started])

        if expected.way is not Way.CLEAR or gated <= 0 or want.take <= 0:
            return (yield from go_on([]))
        claims: Claims | Anew = yield claim_clear(self.sql, want, values, suspects, gated, expected, go_on)
        return (yield from claims.begin()) if isinstance(claims, Anew) else claims

    def _claim_gated(
        self, wants: Sequence[Want], values: dict[str, Any], suspects: int, gated: int, before: Sequence[list[Row]] = ()
    ) -> Steps[Claims]:
        """Gated jobs wait in some queue; `before` is what was taken before they are judged one by one."""
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
                aside.remember(queue, values["tasks"], Gated(Way.JUDGED) if gated_wait else {})
            started = {abs(row[0]): row for each in rows for row in each}
            jobs: list[Claimed] = []
            for got, ns in zip(taken, chosen, strict=True):
                together = [*got, *(started[n] for n in ns)]
                if got:
                    together.sort(key=_stand)
                jobs += [Claimed._make(row[:_SEQ]) for row in together]
            return Claims(jobs, lost=False, more=claim.more, wakes_at=claim.admission.wakes_at)

        claims: Claims = yield Later(asks, answer)
        return claims

    def _take(self, values: dict[str, Any], queue: str, take: int, suspects: int, marks: Marks, *, alone: bool = False) -> Ask:
        own = {"queue": queue, "take": take, "suspects": suspects, "alone": alone, **segments(marks)}
        return Ask(self.sql("claim", "take"), values | own)

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
        values = fences(mine) | {
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
                yield Do(self.sql("flows", "mark-held"))
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


def _stand(row: Row) -> tuple[int, int, int]:
    """Where a claimed job stood in its queue."""
    return -row[_PRIORITY], row[_SEQ], abs(row[0])


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
        aside.remember(want.queue, tasks, Gated(Way.JUDGED))
        return instead
    jobs = _rows(rows)
    # Where tenants share a queue, who comes next may stand before who was claimed last.
    full = len(jobs) == want.take > 0 and not rows[0][_SHARED]
    aside.remember(want.queue, tasks, {row[_PRIORITY]: row[_SEQ] for row in jobs if not row[_SUSPECT]} if full else {})
    return Claims([Claimed._make(row[:_SEQ]) for row in jobs], lost=False)
