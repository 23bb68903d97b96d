"""The working verbs: claim, settle, renew, note."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

from treadle.engine.admission import Admission, throttled_for
from treadle.engine.contract import Now
from treadle.engine.moving import Ended, Held, Leaver, Moves
from treadle.engine.plan import Steps, plan
from treadle.engine.rows import to_claimed, to_text
from treadle.engine.session import LateWake, Wake, topics
from treadle.engine.source import Source
from treadle.engine.sqlite.claiming import GatedClaim
from treadle.engine.sqlite.edges import any_open, wake_children
from treadle.engine.sqlite.leaving import call_next
from treadle.engine.sqlite.moves import write_moves
from treadle.engine.sqlite.steps import Ask, Clock, Do, Instant
from treadle.model.job import Claimed, Claims, LeaseId, Micros, Ref, Renewal, Want, WorkerInfo, micros
from treadle.model.outcome import Completed, Note, NoteKind, Settlement, Verdict
from treadle.model.state import State


def held(sql: Source, lease: LeaseId, clock: Instant) -> Steps[tuple[int, str] | None]:
    """The lease's number and its worker's name while it holds, else None."""
    rows = yield Ask(
        sql("shared", "held"),
        {"lease": lease, "given": clock.given, "wall": clock.wall, "boot": clock.boot, "up": clock.up},
    )
    return rows[0] if rows else None


BRIEF = 0.0005
"""Run times below this, in seconds, are stored as zero: the record keeps milliseconds."""


class Working:
    """What a worker says to the store. The plain paths touch each job as often as they must and no more."""

    sql: Source

    @plan
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
        clock = yield Clock(now)
        values: dict[str, Any] = {
            "lease": lease, "given": clock.given, "wall": clock.wall, "boot": clock.boot, "up": clock.up,
        }  # fmt: skip
        rows = yield Ask(self.sql("claim", "holder"), values)
        if not rows:
            return Claims([], lost=True)
        k, any_suspect, any_gated, paused = rows[0]
        if paused is not None:
            tasks = [task for task in tasks if task not in paused.split("\n")]
        values = {"now": clock.wall, "tasks": "\n" + "\n".join(tasks) + "\n", "k": k}
        if any_gated:
            claim = GatedClaim(self.sql, values, suspects, gated, Admission(clock.wall))
            jobs = yield from _share_out(wants, claim.take)
            yield from claim.close()
            return Claims(jobs, lost=False, more=claim.more, wakes_at=claim.admission.wakes_at)
        suspects = suspects if any_suspect else 0

        def take(queue: str, wanted: int) -> Steps[list[Claimed]]:
            nonlocal suspects
            jobs = yield from self._take(values, queue, wanted, suspects)
            suspects -= sum(job.suspect for job in jobs) if suspects else 0
            return jobs

        return Claims((yield from _share_out(wants, take)), lost=False)

    def _take(self, values: dict[str, Any], queue: str, take: int, suspects: int) -> Steps[list[Claimed]]:
        if take <= 0:
            return []
        values["queue"] = queue
        values["take"] = take
        values["suspects"] = suspects
        rows = yield Ask(self.sql("claim", "mixed" if suspects else "plain"), values)
        jobs = to_claimed(rows[0][0])
        if jobs:
            values["ns"] = to_text([job.ref for job in jobs])
            yield Do(self.sql("claim", "take"), values)
        return jobs

    @plan
    def settle(self, lease: LeaseId, settlements: Sequence[Settlement], *, now: Now = None) -> Steps[list[Verdict]]:
        """End attempts: store each outcome, count edges down once for the whole batch, free or cancel the children."""
        clock = yield Clock(now)
        holder = yield from held(self.sql, lease, clock)
        if holder is None:
            verdicts = [Verdict.LOST] * len(settlements)
            yield from self._say_already(settlements, range(len(settlements)), verdicts)
            return verdicts
        waits, gated = yield from any_open(self.sql)
        completed, others, lost = _sorted(settlements)
        ended: list[Ended] = []
        if completed:
            late = yield from self._complete(holder[0], settlements, completed, clock)
            lost += late
            if waits:
                ended = [Ended(_number(settlements[i]), settlements[i].id, State.COMPLETED) for i in completed if i not in late]
        leavers = [Leaver(_number(settlements[i]), State.COMPLETED) for i in completed if i not in lost] if gated else []
        if others:
            moves = Moves(clock.wall, holder[1])
            lost += yield from self._decide(moves, holder[0], settlements, others)
            yield from write_moves(self.sql, moves)
            ended += moves.ended
            leavers += moves.leavers
            if moves.queues:
                yield Wake(topics(moves.queues))
        if waits and ended:
            yield from wake_children(self.sql, ended, clock.wall)
        if leavers:
            yield from call_next(self.sql, leavers, clock.wall)
        verdicts = [Verdict.DONE] * len(settlements)
        if lost:
            yield from self._say_already(settlements, lost, verdicts)
        yield LateWake("job", lambda: topics(jobs=_final(settlements, verdicts)))
        return verdicts

    def _complete(self, k: int, settlements: Sequence[Settlement], places: Sequence[int], clock: Instant) -> Steps[list[int]]:
        """End completed jobs; returns the places of those for which the fence does not hold."""
        mine: Sequence[Any] = settlements if len(places) == len(settlements) else [settlements[i] for i in places]
        bare: list[int] = []
        rows: list[tuple[Any, ...]] = []
        for ref, _, attempt, outcome, took in mine:
            # Taking apart an array for each job costs SQL twice what storing the row does (2.9 against 1.2 us a job).
            if outcome.result is None and took < BRIEF and type(ref) is int and attempt < 1 << 16:
                bare.append(ref << 16 | attempt)
            else:
                rows.append((ref, attempt, outcome.result, took))
        count = 0
        if bare:
            count += yield Do(self.sql("settle", "complete-bare"), {"rows": to_text(bare), "now": clock.wall, "k": k})
        if rows:
            count += yield Do(self.sql("settle", "complete"), {"rows": to_text(rows), "now": clock.wall, "k": k})
        ns = to_text([each.ref for each in mine])
        if count == len(mine):
            yield Do(self.sql("shared", "unlive"), {"ns": ns})
            return []
        done = {(n, attempt) for n, attempt in (yield Ask(self.sql("settle", "unlive-some"), {"ns": ns}))}
        return [i for i, each in zip(places, mine, strict=True) if (each.ref, each.attempt) not in done]

    def _decide(self, moves: Moves, k: int, settlements: Sequence[Settlement], places: Sequence[int]) -> Steps[list[int]]:
        """Decide where the others go; returns the places of those for which the fence does not hold."""
        asked = [(settlements[i].ref, settlements[i].attempt, settlements[i].id) for i in places]
        rows = yield Ask(self.sql("settle", "held"), {"rows": to_text(asked), "k": k})
        found = {int(key): Held(*columns) for key, *columns in rows}
        for key, job in found.items():
            each = settlements[places[key]]
            moves.decide(job, each.outcome, each.took)
        return [i for key, i in enumerate(places) if key not in found]

    def _say_already(self, settlements: Sequence[Settlement], places: Sequence[int], verdicts: list[Verdict]) -> Steps[None]:
        """Tell the settlements that changed nothing whether their attempt is completed already."""
        rows = [(settlements[i].ref, settlements[i].attempt, settlements[i].id) for i in places]
        found = yield Ask(self.sql("settle", "already"), {"rows": to_text(rows)})
        already = {key for (key,) in found}
        for key, i in enumerate(places):
            verdicts[i] = Verdict.ALREADY if key in already else Verdict.LOST

    @plan
    def renew(
        self, lease: LeaseId, beat: int, length: float, *, worker: WorkerInfo | None = None, now: Now = None
    ) -> Steps[Renewal]:
        """Open (`beat` 0, with `worker`) or extend a lease, and collect cancel requests."""
        clock = yield Clock(now)
        values: dict[str, Any] = {
            "lease": lease, "beat": beat, "length": micros(length),
            "given": clock.given, "wall": clock.wall, "boot": clock.boot, "up": clock.up,
        }  # fmt: skip
        if beat == 0 and worker is not None:
            values |= {
                "name": worker.name, "host": worker.host, "pid": worker.pid, "slots": worker.slots,
                "queues": to_text(worker.queues), "tasks": to_text(worker.tasks),
            }  # fmt: skip
            if (yield Do(self.sql("renew", "open"), values)):
                return Renewal(lost=False, cancels=[])
        if not (yield Do(self.sql("renew", "extend"), values)):
            return Renewal(lost=True, cancels=[])
        rows = yield Ask(self.sql("renew", "cancels"), {"lease": lease})
        return Renewal(lost=False, cancels=[job for (job,) in rows])

    @plan
    def note(self, lease: LeaseId, notes: Sequence[Note], *, now: Now = None) -> Steps[list[Verdict]]:
        """Write down what running jobs say in mid-run: progress, the stuck flag. Fenced like `settle`."""
        clock = yield Clock(now)
        holder = yield from held(self.sql, lease, clock)
        if holder is None or not notes:
            return [Verdict.LOST] * len(notes)
        rows = [(note.ref, note.attempt, note.kind, note.name, note.value, note.id) for note in notes]
        held_rows = yield Ask(self.sql("note", "held"), {"rows": to_text(rows), "k": holder[0]})
        fenced = {key for (key,) in held_rows}
        if fenced:
            yield Do(self.sql("note", "write"), {"rows": to_text([row for i, row in enumerate(rows) if i in fenced])})
        stuck = [note.ref for i, note in enumerate(notes) if i in fenced and note.kind is NoteKind.STUCK]
        if stuck:
            yield Do(self.sql("note", "stuck"), {"ns": to_text(stuck)})
        throttles = _throttles((note for i, note in enumerate(notes) if i in fenced), clock.wall)
        if throttles:
            yield Do(self.sql("flows", "throttle"), {"rows": to_text(throttles)})
        return [Verdict.DONE if i in fenced else Verdict.LOST for i in range(len(notes))]


def _share_out(wants: Sequence[Want], take: Callable[[str, int], Steps[list[Claimed]]]) -> Steps[list[Claimed]]:
    """Give each want its share, and then to each what the others left, up to its bound."""
    left = sum(want.take for want in wants)
    taken: list[list[Claimed]] = []
    for want in wants:
        jobs = yield from take(want.queue, want.take)
        left -= len(jobs)
        taken.append(jobs)
    for want, jobs in zip(wants, taken, strict=True):
        more = min(left, want.up_to - want.take)
        if more > 0 and len(jobs) == want.take:
            extra = yield from take(want.queue, more)
            left -= len(extra)
            jobs.extend(extra)
    return taken[0] if len(taken) == 1 else [job for jobs in taken for job in jobs]


def _throttles(notes: Iterable[Note], now: Micros) -> list[tuple[str, str, Micros]]:
    """The keys that these notes close, and until when."""
    found: list[tuple[str, str, Micros]] = []
    for note in notes:
        seconds = throttled_for(note.value) if note.kind is NoteKind.THROTTLE else 0.0
        if seconds > 0:
            limit, _, key = note.name.partition("\n")
            found.append((limit, key, now + micros(seconds)))
    return found


def _sorted(settlements: Sequence[Settlement]) -> tuple[list[int], list[int], list[int]]:
    """The places of completed jobs, of those that end otherwise, and of those that were told of earlier in the batch."""
    places: Sequence[int] = range(len(settlements))
    if len({each.ref for each in settlements}) < len(settlements):
        first: dict[tuple[Ref, int], int] = {}
        for i, each in enumerate(settlements):
            first.setdefault((each.ref, each.attempt), i)
        places = list(first.values())
    completed = [i for i in places if type(settlements[i].outcome) is Completed]
    if len(completed) == len(settlements):
        return completed, [], []
    others = [i for i in places if type(settlements[i].outcome) is not Completed]
    return completed, others, sorted(set(range(len(settlements))) - set(places))


def _final(settlements: Sequence[Settlement], verdicts: Sequence[Verdict]) -> list[str]:
    return [each.id for each, verdict in zip(settlements, verdicts, strict=True) if verdict is Verdict.DONE]


def _number(settlement: Settlement) -> int:
    return cast("int", settlement.ref)
