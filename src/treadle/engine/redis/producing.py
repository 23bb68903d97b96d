"""The verb of producers: `enqueue`."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import msgspec

from treadle.engine.admission import distinct
from treadle.engine.contract import Now
from treadle.engine.plan import Steps, plan
from treadle.engine.redis.facts import packed_write
from treadle.engine.redis.steps import Call, encode
from treadle.model.flow import Hold, OnConflict, Ordering, Unique
from treadle.model.job import Enqueued, JobId, NewJob, Stored, micros
from treadle.model.state import State

STATES: dict[str, State | None] = {"0": None, **{str(code): state for code, state in enumerate(State, 1)}}
_CODES = {state: code for code, state in enumerate(State, 1)}
_VERDICTS = {
    "S": Stored.STORED,
    "A": Stored.ALREADY,
    "G": Stored.GUARDED,
    "U": Stored.UNKNOWN_PARENT,
    "R": Stored.REFUSED,
    "D": Stored.DUPLICATE,
    "C": Stored.CONFLICT,
}
_ANSWERS = {a + b: (verdict, state) for a, verdict in _VERDICTS.items() for b, state in STATES.items()}
_holders = msgspec.msgpack.Decoder(list[tuple[int, JobId]]).decode
_flow = msgspec.msgpack.Decoder(tuple[list[tuple[str, str, int]], str | bool, bool, str | bool, object]).decode
_pack: Callable[[object], bytes] = msgspec.msgpack.Encoder().encode


class Producing:
    """`enqueue`: one call for the whole batch."""

    @plan
    def enqueue(self, jobs: Sequence[NewJob], *, now: Now = None) -> Steps[list[Enqueued]]:
        """Store every job, or say of each why not."""
        if not jobs:
            return []

        def read(reply: bytes | tuple[bytes, bytes]) -> list[Enqueued]:
            if reply == b"S3" * len(jobs):
                return [Enqueued(job.id, Stored.STORED, State.QUEUED) for job in jobs]
            verdicts, holders = (reply, {}) if isinstance(reply, bytes) else (reply[0], dict(_holders(reply[1])))
            text = verdicts.decode()
            codes = [text[i : i + 2] for i in range(0, len(text), 2)]
            return [
                Enqueued(holders.get(i, job.id), *_ANSWERS[code])
                for i, (job, code) in enumerate(zip(jobs, codes, strict=True), 1)
            ]

        lines: dict[tuple[str, int, str, str], int] = {}
        which = [lines.setdefault((job.queue, job.priority, job.task, _kind(job)), len(lines) + 1) for job in jobs]
        special = {i: _special(job) for i, job in enumerate(jobs, 1) if _is_special(job)}
        with_rows = any(_wants_row(job) for job in jobs)
        places = False if len(lines) == 1 else which
        asked = [_asked(job) for job in jobs]
        parameters = (now, [job.id for job in jobs], list(lines), places)
        whole = Call("enqueue", encode((*parameters, special, with_rows)), read, asked)
        if not special and all(kind == "n" for _, _, _, kind in lines):

            def appended(reply: int) -> list[Enqueued] | Call:
                return [Enqueued(job.id, Stored.STORED, State.QUEUED) for job in jobs] if reply else whole

            whole = replace(whole, alone=Call("append", encode(parameters), appended, asked))
        answer: list[Enqueued] = yield whole
        return answer


def _asked(job: NewJob) -> bytes:
    """What the store keeps of a job as it was asked for, and hands on unread."""
    asked = (
        job.id, job.task, job.version, job.codec, job.queue, job.priority, job.max_crashes, job.tags or None, job.key,
        job.args, job.options, job.headers,
    )  # fmt: skip
    flowing = job.holds or job.ordering is not None or job.fair is not None or job.unique is not None
    return _pack((*asked, _packed_flow(job)) if flowing else asked)


def _packed_flow(job: NewJob) -> bytes:
    """What a job asks of others, and its length, by which it is found from behind: see `rows.lua`."""
    holds = [(hold.limit, f"{hold.limit}\n{hold.key}", hold.cost) for hold in distinct(job.holds)]
    alone = job.fair is None and job.unique is None
    if alone and job.ordering is None and len(holds) == 1 and holds[0][2] == 1:
        flow = b"h" + holds[0][1].encode()
    elif alone and job.ordering is not None and not holds:
        flow = (b"O" if job.ordering.stop else b"o") + job.ordering.key.encode()
    else:
        order, stop = (False, False) if job.ordering is None else job.ordering
        unique = False if job.unique is None else (job.unique.key, [_CODES[state] for state in job.unique.during])
        flow = _pack((holds, order, stop, False if job.fair is None else job.fair, unique))
    return flow + len(flow).to_bytes(4, "big")


def unpacked_flow(flow: bytes) -> tuple[tuple[Hold, ...], Ordering | None, str | None]:
    """A job's holds, ordering and tenant."""
    kind, one = flow[:1], flow[1:-4]
    if kind == b"h":
        limit, _, key = one.decode().partition("\n")
        return (Hold(limit, key),), None, None
    if kind in (b"o", b"O"):
        return (), Ordering(one.decode(), kind == b"O"), None
    holds, order, stop, fair, _ = _flow(flow[:-4])
    asked = tuple(Hold(limit, name[len(limit) + 1 :], cost) for limit, name, cost in holds)
    return asked, None if isinstance(order, bool) else Ordering(order, stop), None if isinstance(fair, bool) else fair


def _kind(job: NewJob) -> str:
    return "g" if job.holds or job.ordering is not None else "n"


def _wants_row(job: NewJob) -> bool:
    return (
        job.delay is not None
        or job.run_at is not None
        or job.start_within is not None
        or bool(job.edges)
        or job.fair is not None
    )


def _is_special(job: NewJob) -> bool:
    return _wants_row(job) or job.guard is not None or job.unique is not None or job.idempotency is not None


def _special(job: NewJob) -> tuple[object, ...]:
    return (
        False if job.delay is None else micros(job.delay),
        False if job.run_at is None else job.run_at,
        False if job.start_within is None else micros(job.start_within),
        job.edges or False,
        False if job.guard is None else packed_write(job.guard.write),
        False if job.unique is None else _packed_unique(job.unique),
        False if job.idempotency is None else (job.idempotency.key, job.idempotency.digest, micros(job.idempotency.ttl)),
    )


def _packed_unique(unique: Unique) -> tuple[object, ...]:
    within = False if unique.within is None else micros(unique.within)
    return unique.key, [_CODES[state] for state in unique.during], within, unique.on_conflict is OnConflict.REPLACE
