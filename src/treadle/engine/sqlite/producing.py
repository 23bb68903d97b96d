"""The producing verb: enqueue."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from treadle.engine.contract import Now
from treadle.engine.judging import Place, flow_of, flow_row, place_alone
from treadle.engine.moving import PLAIN
from treadle.engine.plan import Steps, plan
from treadle.engine.rows import to_text
from treadle.engine.session import Wake, topics
from treadle.engine.source import Source
from treadle.engine.sqlite.entering import Entry, arrange, take_numbers
from treadle.engine.sqlite.judging import Judged, judge
from treadle.engine.sqlite.steps import Ask, Clock, Do
from treadle.model.job import Enqueued, JobId, Micros, NewJob, Stored
from treadle.model.state import BlockedOn, State

_CHUNKS = (100, 10, 1)


class _Batch(NamedTuple):
    """New jobs with the numbers that were taken for them: job i has `first + i`. `tenants`: some queue has any."""

    first: int
    tenants: bool
    jobs: Sequence[NewJob]

    def ends(self) -> dict[str, int]:
        """The first and the last number, as parameters."""
        return {"first": self.first, "last": self.first + len(self.jobs) - 1}


class Producing:
    """`enqueue`: plain jobs take one pass and three statements; edges, guards and keys are judged before all is written."""

    sql: Source

    @plan
    def enqueue(self, jobs: Sequence[NewJob], *, now: Now = None) -> Steps[list[Enqueued]]:
        """Store every job, or say of each why not."""
        if not jobs:
            return []
        clock = yield Clock(now)
        wall: Micros = clock.wall
        timed = tagged = flowing = False
        for job in jobs:
            if job.edges or job.guard is not None or job.unique is not None or job.idempotency is not None:
                judged = yield from judge(self.sql, jobs, wall)
                return (yield from self._store_judged(judged, wall))
            if job.delay is not None or job.run_at is not None or job.start_within is not None:
                timed = True
            if job.tags:
                tagged = True
            if job.holds or job.ordering is not None or job.fair is not None:
                flowing = True
        first, tenants = yield from take_numbers(self.sql, len(jobs))
        batch = _Batch(first, tenants, jobs)
        stored = 0
        for size, rows in _rows(batch, wall):
            stored += yield Do(self.sql.repeated("enqueue", "jobs", size), rows)
        fresh: set[int] | None = None
        if stored < len(jobs):
            fresh = {n - batch.first for (n,) in (yield Ask(self.sql("enqueue", "stored"), batch.ends()))}
        states: list[State] | None = None
        if timed or flowing or tenants:
            places = [place_alone(job, wall) for job in jobs]
            yield from self._place(batch, places, fresh)
            states = [each.state for each in places]
        else:
            yield Do(self.sql("enqueue", "live-plain"), batch.ends())
        if tagged:
            yield from self._tag(batch, fresh)
        yield from _wake(jobs, states, fresh)
        if fresh is None and states is None:
            return [Enqueued(job.id, Stored.STORED, State.QUEUED) for job in jobs]
        known = {} if fresh is None else (yield from self._known(batch, fresh))
        return [
            known.get(i) or Enqueued(job.id, Stored.STORED, State.QUEUED if states is None else states[i])
            for i, job in enumerate(jobs)
        ]

    def _store_judged(self, judged: Judged, wall: Micros) -> Steps[list[Enqueued]]:
        chosen = judged.chosen
        if not chosen:
            return judged.answers
        yield from judged.write(self.sql, wall)
        batch = _Batch(*(yield from take_numbers(self.sql, len(chosen))), chosen)
        places = [judged.places[job.id] for job in chosen]
        for size, rows in _rows(batch, wall):
            yield Do(self.sql.repeated("enqueue", "jobs", size), rows)
        yield from self._place(batch, places, None)
        ended = [(batch.first + i, p.reason, p.due_at, p.start_by) for i, p in enumerate(places) if p.state is State.CANCELLED]
        if ended:
            yield Do(self.sql("enqueue", "ended"), {"rows": to_text(ended), "now": wall})
        yield from self._tag(batch, None)
        own = {job.id: batch.first + i for i, job in enumerate(chosen)}
        edges = [
            (own[job.id], judged.numbers.get(parent) or own[parent], on_dead, still_open)
            for job, place in zip(chosen, places, strict=True)
            for parent, on_dead, still_open in place.edges
        ]
        if edges:
            yield Do(self.sql("enqueue", "edges"), {"rows": to_text(edges)})
        yield from _wake(chosen, [place.state for place in places], None)
        if ended:
            yield Wake(topics(jobs=(job.id for job in chosen if judged.places[job.id].state is State.CANCELLED)))
        return judged.answers

    def _place(self, batch: _Batch, places: Sequence[Place], fresh: set[int] | None) -> Steps[None]:
        flows = [
            (batch.first + i, *flow_row(job))
            for i, job in enumerate(batch.jobs)
            if _flows(job) and (fresh is None or i in fresh)
        ]
        if flows:
            yield Do(self.sql("flows", "add"), {"rows": to_text(flows)})
        chosen = [i for i, p in enumerate(places) if p.state is not State.CANCELLED and (fresh is None or i in fresh)]
        entering = [i for i in chosen if places[i].state is State.QUEUED]
        seqs = [batch.first + i for i in entering]
        entries = [Entry(batch.first + i, job.queue, job.priority, flow_of(job)) for i in entering for job in (batch.jobs[i],)]
        yield from arrange(self.sql, entries, seqs, tenants=batch.tenants)
        seq = dict(zip(entering, seqs, strict=True))
        rows = [
            (batch.first + i, p.state, p.due_at, p.start_by, p.waiting, BlockedOn.PARENTS if p.waiting else None,
                seq.get(i, 0), flow_of(batch.jobs[i]))
            for i, p in ((i, places[i]) for i in chosen)
        ]  # fmt: skip
        if rows:
            yield Do(self.sql("enqueue", "live"), {"rows": to_text(rows)})

    def _tag(self, batch: _Batch, fresh: set[int] | None) -> Steps[None]:
        rows = [
            (tag, batch.first + i)
            for i, job in enumerate(batch.jobs)
            if job.tags and (fresh is None or i in fresh)
            for tag in job.tags
        ]
        if rows:
            yield Do(self.sql("enqueue", "tags"), {"rows": to_text(rows)})

    def _known(self, batch: _Batch, fresh: set[int]) -> Steps[dict[int, Enqueued]]:
        """The answers for jobs whose ids were known, by place in the batch."""
        old = [i for i in range(len(batch.jobs)) if i not in fresh]
        rows = yield Ask(self.sql("enqueue", "known"), {"ids": to_text([batch.jobs[i].id for i in old])})
        states: dict[JobId, State] = {job: State(state) for job, _, state, _ in rows}
        return {i: Enqueued(batch.jobs[i].id, Stored.ALREADY, states[batch.jobs[i].id]) for i in old}


def _flows(job: NewJob) -> bool:
    """Whether a job asks anything of others that is kept with it."""
    return flow_of(job) != PLAIN or job.unique is not None


def _rows(batch: _Batch, wall: Micros) -> Iterator[tuple[int, list[Any]]]:
    """The immutable rows, cut into the few sizes for which a statement stands prepared, each flattened into its parameters."""
    place = 0
    for size in _CHUNKS:
        while place + size <= len(batch.jobs):
            flat: list[Any] = []
            for n, job in enumerate(batch.jobs[place : place + size], batch.first + place):
                tags = to_text(job.tags) if job.tags else None
                flat += (
                    n, job.id, job.task, job.version, job.codec, job.queue, job.priority, job.args, job.options, job.headers,
                    job.key, tags, job.max_crashes, wall,
                )  # fmt: skip
            yield size, flat
            place += size


def _wake(jobs: Sequence[NewJob], states: Sequence[State] | None, fresh: set[int] | None) -> Steps[None]:
    if states is None and fresh is None:
        queues = {job.queue for job in jobs}
    else:
        queues = {
            job.queue
            for i, job in enumerate(jobs)
            if (fresh is None or i in fresh) and (states is None or states[i] is State.QUEUED)
        }
    if queues:
        yield Wake(topics(queues))
