"""The producing verb: enqueue."""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

import msgspec

from treadle.engine.contract import Now
from treadle.engine.plan import Steps
from treadle.engine.postgres.statements import Statements
from treadle.engine.postgres.steps import Aside, Ask, Later, Rows, texts, verb
from treadle.engine.postgres.storing import alike, batch, enqueue_judged, tag
from treadle.engine.session import Wake, topics
from treadle.model.job import Enqueued, JobId, NewJob, Stored
from treadle.model.state import State

CHUNK = 1000
"""Jobs in one statement: while the server stores one part of a large batch, the next is written out."""

_decode_ids = msgspec.json.Decoder(list[str]).decode


class Producing:
    """`enqueue`: plain jobs take one statement; all that looks at other jobs is judged before anything is written."""

    sql: Statements

    @verb
    def enqueue(self, jobs: Sequence[NewJob], *, now: Now = None) -> Steps[list[Enqueued]]:
        """Store every job, or say of each why not."""
        if not jobs:
            return []
        timed = tagged = False
        for job in jobs:
            if job.is_judged:
                return (yield from enqueue_judged(self.sql, jobs, now))
            if job.delay is not None or job.run_at is not None or job.start_within is not None:
                timed = True
            if job.tags:
                tagged = True
        if timed:
            placed: list[Enqueued] = yield Later(self._timed_asks(jobs, now), partial(self._answer_timed, jobs))
            return placed
        if len(jobs) == 1 and not tagged:
            ask = Ask(self.sql("enqueue", "one"), _one(jobs[0], now))
            later = Later([ask], partial(self._answer_one, jobs), wake=_wake(jobs[0].queue))
        else:
            yield Wake(topics({job.queue for job in jobs}))
            later = Later(self._plain_asks(jobs, now, tagged=tagged), partial(self._answer_plain, jobs))
        enqueued: list[Enqueued] = yield later
        return enqueued

    def _plain_asks(self, jobs: Sequence[NewJob], now: Now, *, tagged: bool) -> Iterator[Ask]:
        for start in range(0, len(jobs), CHUNK):
            part = jobs[start : start + CHUNK]
            values = alike(part, now)
            if values is not None:
                yield Ask(self.sql("enqueue", "alike"), values | {"total": len(part)})
            else:
                yield Ask(self.sql("enqueue", "plain"), batch(part, now) | {"total": len(part)})
        if tagged:
            yield tag(self.sql, jobs)

    def _timed_asks(self, jobs: Sequence[NewJob], now: Now) -> Iterator[Ask]:
        for start in range(0, len(jobs), CHUNK):
            yield Ask(self.sql("enqueue", "timed"), batch(jobs[start : start + CHUNK], now, timed=True))
        yield tag(self.sql, jobs)

    def _answer_one(self, jobs: Sequence[NewJob], rows: list[Rows], _aside: Aside) -> Any:
        if rows[0]:
            return [Enqueued(jobs[0].id, Stored.STORED, State.QUEUED)]
        return self._with_known(jobs, {})

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


@lru_cache(maxsize=256)
def _wake(queue: str) -> Wake:
    return Wake(topics((queue,)))


def _one(job: NewJob, now: Now) -> dict[str, Any]:
    return {
        "now": now, "id": job.id, "task": job.task, "version": job.version, "codec": job.codec, "queue": job.queue,
        "priority": job.priority, "args": job.args, "options": job.options, "headers": job.headers, "key": job.key,
        "tags": None, "max_crashes": job.max_crashes, "channel": None,
    }  # fmt: skip
