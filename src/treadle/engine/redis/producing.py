"""The verb of producers: `enqueue`."""

from collections.abc import Sequence

from treadle.engine.contract import Now
from treadle.engine.plan import Steps, plan
from treadle.engine.redis.facts import packed_write
from treadle.engine.redis.steps import Call, encode
from treadle.model.job import Enqueued, NewJob, Stored, micros
from treadle.model.state import State

STATES: dict[str, State | None] = {"0": None, **{str(code): state for code, state in enumerate(State, 1)}}
_VERDICTS = {
    "S": Stored.STORED,
    "A": Stored.ALREADY,
    "G": Stored.GUARDED,
    "U": Stored.UNKNOWN_PARENT,
    "R": Stored.REFUSED,
}
_ANSWERS = {a + b: (verdict, state) for a, verdict in _VERDICTS.items() for b, state in STATES.items()}


class Producing:
    """`enqueue`: one call for the whole batch."""

    @plan
    def enqueue(self, jobs: Sequence[NewJob], *, now: Now = None) -> Steps[list[Enqueued]]:
        """Store every job, or say of each why not."""
        if not jobs:
            return []

        def read(reply: bytes) -> list[Enqueued]:
            text = reply.decode()
            codes = [text[i : i + 2] for i in range(0, len(text), 2)]
            return [Enqueued(job.id, *_ANSWERS[code]) for job, code in zip(jobs, codes, strict=True)]

        answer: list[Enqueued] = yield Call("enqueue", encode((now, [_row(job) for job in jobs])), read)
        return answer


def _row(job: NewJob) -> tuple[object, ...]:
    return (
        job.id,
        job.task,
        job.queue,
        job.priority,
        job.version,
        job.codec,
        None if job.delay is None else micros(job.delay),
        job.run_at,
        None if job.start_within is None else micros(job.start_within),
        job.max_crashes,
        job.args,
        job.options,
        job.headers,
        job.tags or None,
        job.key,
        job.edges or None,
        None if job.guard is None else packed_write(job.guard.write),
    )
