"""The producing verb: enqueue."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from treadle.engine.contract import Now
from treadle.engine.judging import Judgement, Known, Place, judge
from treadle.engine.plan import Steps
from treadle.engine.postgres.edges import topics
from treadle.engine.postgres.facts import ledger_asks, store_ledger, to_ledger
from treadle.engine.postgres.statements import Statements
from treadle.engine.postgres.steps import Aside, Ask, Asks, Do, Later, Rows, columns, literal, numbers, texts, verb
from treadle.engine.rows import to_text
from treadle.engine.session import Wake
from treadle.model.job import Enqueued, JobId, NewJob, Stored, micros
from treadle.model.state import BlockedOn, State

CHUNK = 1000
"""Jobs in one statement: while the server stores one part of a large batch, the next is written out."""

_KIND = ("task", "version", "codec", "queue", "priority", "options", "headers", "key", "tags", "max_crashes")

_decode_ids = msgspec.json.Decoder(list[str]).decode


class Producing:
    """`enqueue`: plain jobs take one statement; edges and guards are judged before anything is written."""

    sql: Statements

    @verb
    def enqueue(self, jobs: Sequence[NewJob], *, now: Now = None) -> Steps[list[Enqueued]]:
        """Store every job, or say of each why not."""
        if not jobs:
            return []
        timed = tagged = False
        for job in jobs:
            if job.edges or job.guard is not None:
                return (yield from self._enqueue_judged(jobs, now))
            if job.delay is not None or job.run_at is not None or job.start_within is not None:
                timed = True
            if job.tags:
                tagged = True
        if timed:
            placed: list[Enqueued] = yield Later(self._timed_asks(jobs, now), partial(self._answer_timed, jobs))
            return placed
        yield Wake(topics({job.queue for job in jobs}))
        if len(jobs) == 1 and not tagged:
            asks: Any = [Ask(self.sql("enqueue", "one"), _one(jobs[0], now))]
        else:
            asks = self._plain_asks(jobs, now, tagged=tagged)
        enqueued: list[Enqueued] = yield Later(asks, partial(self._answer_plain, jobs))
        return enqueued

    def _plain_asks(self, jobs: Sequence[NewJob], now: Now, *, tagged: bool) -> Iterator[Ask]:
        for start in range(0, len(jobs), CHUNK):
            part = jobs[start : start + CHUNK]
            yield Ask(self.sql("enqueue", "plain"), _batch(part, now) | {"total": len(part)})
        if tagged:
            yield self._tag(jobs)

    def _timed_asks(self, jobs: Sequence[NewJob], now: Now) -> Iterator[Ask]:
        for start in range(0, len(jobs), CHUNK):
            yield Ask(self.sql("enqueue", "timed"), _batch(jobs[start : start + CHUNK], now, timed=True))
        yield self._tag(jobs)

    def _answer_plain(self, jobs: Sequence[NewJob], rows: list[Rows], _aside: Aside) -> Any:
        parts = [rows[place][0] for place in range((len(jobs) + CHUNK - 1) // CHUNK)]
        if sum(count for count, _ in parts) == len(jobs):
            return [Enqueued(job.id, Stored.STORED, State.QUEUED) for job in jobs]
        states: dict[JobId, State] = {}
        for start, (count, ids) in zip(range(0, len(jobs), CHUNK), parts, strict=True):
            part = jobs[start : start + CHUNK]
            new = [job.id for job in part] if count == len(part) else _decode_ids(ids or "[]")
            states |= dict.fromkeys(new, State.QUEUED)
        return self._with_known(jobs, states)

    def _answer_timed(self, jobs: Sequence[NewJob], rows: list[Rows], aside: Aside) -> Any:
        states = {job: State(state) for part in rows for job, state in part}
        queues = {job.queue for job in jobs if states.get(job.id) is State.QUEUED}
        if queues:
            aside.wake(Wake(topics(queues)))
        return self._with_known(jobs, states)

    def _with_known(self, jobs: Sequence[NewJob], new: Mapping[JobId, State]) -> Any:
        """The answers of a batch in which some ids may have been known."""
        old = [job.id for job in jobs if job.id not in new]
        seen: set[JobId] = set()
        answers: list[Enqueued] = []
        for job in jobs:
            state = new.get(job.id)
            verdict = Stored.ALREADY if state is None or job.id in seen else Stored.STORED
            seen.add(job.id)
            answers.append(Enqueued(job.id, verdict, state))
        if not old:
            return answers

        def complete(rows: list[Rows], _aside: Aside) -> list[Enqueued]:
            states: dict[JobId, State] = {job: State(state) for job, _, state, _ in rows[0]}
            return [each if each.state is not None else each._replace(state=states.get(each.id)) for each in answers]

        return Later([Ask(self.sql("enqueue", "known"), {"ids": texts(old)})], complete)

    def _tag(self, jobs: Sequence[NewJob]) -> Ask:
        return Ask(self.sql("enqueue", "tags"), {"ids": texts([job.id for job in jobs if job.tags])})

    def _enqueue_judged(self, jobs: Sequence[NewJob], now: Now) -> Steps[list[Enqueued]]:
        parents = texts({edge.parent for job in jobs for edge in job.edges})
        ids = texts({job.id for job in jobs} | {edge.parent for job in jobs for edge in job.edges})
        guards = [job.guard.write for job in jobs if job.guard is not None]
        *_, versions, known_rows, taken, clock = yield Asks(
            [
                Ask(self.sql("enqueue", "hold-parents"), {"parents": parents}),
                Ask(self.sql("enqueue", "hold-letters"), {"parents": parents}),
                *ledger_asks(self.sql, guards),
                Ask(self.sql("enqueue", "known"), {"ids": ids}),
                Ask(self.sql("shared", "numbers"), {"count": len(jobs)}),
                Ask(self.sql("shared", "clock"), {"now": now}),
            ]
        )
        known = {job: Known(n, State(state), letter == "open") for job, n, state, letter in known_rows}
        facts, wall = to_ledger(versions), clock[0][0]
        judgement = judge(jobs, known, facts, wall)
        if judgement.chosen:
            yield from store_ledger(self.sql, facts)
            numbers_ = {jobs[i].id: n for i, (n,) in zip(judgement.chosen, taken, strict=False)}
            yield from self._store([jobs[i] for i in judgement.chosen], judgement, known, numbers_, wall)
        return judgement.answers

    def _store(
        self, jobs: Sequence[NewJob], judgement: Judgement, known: Mapping[JobId, Known], own: Mapping[JobId, int], wall: int
    ) -> Steps[None]:
        yield Do(self.sql("enqueue", "judged"), _batch(jobs, wall) | {"ns": numbers(own[job.id] for job in jobs)})
        places: list[tuple[NewJob, Place]] = [(job, judgement.places[job.id]) for job in jobs]
        live = [
            (own[job.id], p.state, p.due_at, p.start_by, p.waiting, BlockedOn.PARENTS if p.waiting else None)
            for job, p in places
            if p.state is not State.CANCELLED
        ]
        if live:
            names = ("n", "state", "due_at", "start_by", "waiting", "blocked_on")
            yield Do(self.sql("enqueue", "live"), columns(names, live))
        ended = [(job.id, p) for job, p in places if p.state is State.CANCELLED]
        if ended:
            rows = [(own[job], p.reason, p.due_at, p.start_by) for job, p in ended]
            yield Do(self.sql("enqueue", "ended"), columns(("n", "reason", "due_at", "start_by"), rows) | {"now": wall})
        if any(job.tags for job in jobs):
            yield Do(*self._tag(jobs))
        edges = [
            (own[job.id], known[parent].n if parent in known else own[parent], on_dead, still_open)
            for job, place in places
            for parent, on_dead, still_open in place.edges
        ]
        if edges:
            yield Do(self.sql("enqueue", "edges"), columns(("child", "parent", "on_dead", "open"), edges))
        yield Wake(topics({job.queue for job, p in places if p.state is State.QUEUED}, (job for job, _ in ended)))


def _one(job: NewJob, now: Now) -> dict[str, Any]:
    return {
        "now": now, "id": job.id, "task": job.task, "version": job.version, "codec": job.codec, "queue": job.queue,
        "priority": job.priority, "args": job.args, "options": job.options, "headers": job.headers, "key": job.key,
        "tags": None, "max_crashes": job.max_crashes,
    }  # fmt: skip


def _batch(jobs: Sequence[NewJob], now: Now, *, timed: bool = False) -> dict[str, Any]:
    """A batch as the parameters of `plain`, `timed` and `judged`."""
    kinds: dict[tuple[Any, ...], int] = {}
    places: list[int] = []
    for job in jobs:
        kind: tuple[Any, ...] = (
            job.task, job.version, job.codec, job.queue, job.priority, job.options, job.headers, job.key,
            to_text(job.tags) if job.tags else None, job.max_crashes,
        )  # fmt: skip
        if timed:
            kind += (job.delay, job.run_at, job.start_within)
        places.append(kinds.setdefault(kind, len(kinds) + 1))
    parts = list(zip(*kinds, strict=True))
    values: dict[str, Any] = {name: literal(part) for name, part in zip(_KIND, parts, strict=False)}
    if timed:
        delays, moments, spans = parts[len(_KIND) :]
        values |= {"delay": literal(map(_span, delays)), "run_at": literal(moments), "within": literal(map(_span, spans))}
    values["now"] = now
    values["ids"] = texts([job.id for job in jobs])
    values["kinds"] = numbers(places)
    values["args"] = texts([job.args for job in jobs])
    return values


def _span(seconds: float | None) -> int | None:
    return None if seconds is None else micros(seconds)
