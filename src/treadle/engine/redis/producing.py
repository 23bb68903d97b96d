"""The verb of producers: `enqueue`."""

from collections.abc import Callable, Sequence

import msgspec

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


_pack: Callable[[object], bytes] = msgspec.msgpack.Encoder().encode
_PLAIN = (False, False, False, False, False)


class Producing:
    """`enqueue`: one call for the whole batch."""

    @plan
    def enqueue(self, jobs: Sequence[NewJob], *, now: Now = None) -> Steps[list[Enqueued]]:
        """Store every job, or say of each why not."""
        if not jobs:
            return []

        def read(reply: bytes) -> list[Enqueued]:
            if reply == b"S3" * len(jobs):
                return [Enqueued(job.id, Stored.STORED, State.QUEUED) for job in jobs]
            text = reply.decode()
            codes = [text[i : i + 2] for i in range(0, len(text), 2)]
            return [Enqueued(job.id, *_ANSWERS[code]) for job, code in zip(jobs, codes, strict=True)]

        lines: dict[tuple[str, int, str], int] = {}
        which = [lines.setdefault((job.queue, job.priority, job.task), len(lines) + 1) for job in jobs]
        special = {i: _special(job) for i, job in enumerate(jobs, 1) if _is_special(job)}
        if special:  # the queue is entered in the order of the batch, so all take the same way
            special = {i: special.get(i, _PLAIN) for i in range(1, len(jobs) + 1)}
        parameters = (now, [job.id for job in jobs], list(lines), False if len(lines) == 1 else which, special)
        answer: list[Enqueued] = yield Call("enqueue", encode(parameters), read, [_asked(job) for job in jobs])
        return answer


def _asked(job: NewJob) -> bytes:
    """What the store keeps of a job as it was asked for, and hands on unread."""
    return _pack(
        (
            job.id, job.task, job.version, job.codec, job.queue, job.priority, job.max_crashes, job.tags or None, job.key,
            job.args, job.options, job.headers,
        )
    )  # fmt: skip


def _is_special(job: NewJob) -> bool:
    return (
        job.delay is not None
        or job.run_at is not None
        or job.start_within is not None
        or bool(job.edges)
        or job.guard is not None
    )


def _special(job: NewJob) -> tuple[object, ...]:
    return (
        False if job.delay is None else micros(job.delay),
        False if job.run_at is None else job.run_at,
        False if job.start_within is None else micros(job.start_within),
        job.edges or False,
        False if job.guard is None else packed_write(job.guard.write),
    )
