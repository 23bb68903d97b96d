"""The verbs of small shared facts: `read`, `write`, `leases`."""

from collections.abc import Sequence

import msgspec

from treadle.engine.contract import Now
from treadle.engine.plan import Steps, plan
from treadle.engine.redis.steps import Call, encode
from treadle.model.job import Lease, WorkerInfo
from treadle.model.record import Record, Space, Write, Written

_version_and_value = msgspec.msgpack.Decoder(tuple[int, str]).decode
_written = msgspec.msgpack.Decoder(list[Written]).decode
_worker = msgspec.msgpack.Decoder(tuple[str, str, int, tuple[str, ...], tuple[str, ...], int, int]).decode


def packed_write(write: Write) -> tuple[str, str, str | bool, int | bool]:
    """A write as the scripts take it: false stands for no value, and for any version."""
    return (
        write.space,
        write.key,
        False if write.value is None else write.value,
        False if write.expect is None else write.expect,
    )


class Facts:
    """Records and leases."""

    @plan
    def read(self, space: Space, keys: Sequence[str] | None = None) -> Steps[list[Record]]:
        """Records of a space, sorted by key."""

        def read(reply: tuple[bytes, Sequence[bytes]]) -> list[Record]:
            flat = reply[1]
            found = [
                Record(space, key.decode(), value, version)
                for key, (version, value) in zip(flat[::2], map(_version_and_value, flat[1::2]), strict=True)
            ]
            return sorted(found, key=lambda record: record.key)

        answer: list[Record] = yield Call("read", encode((space, False if keys is None else list(keys))), read, watches=space)
        return answer

    @plan
    def write(self, writes: Sequence[Write], *, now: Now = None) -> Steps[list[Written]]:  # noqa: ARG002 - no time is kept
        """Compare-and-set each record on its own, in order."""
        if not writes:
            return []
        answer: list[Written] = yield Call("write", encode([packed_write(each) for each in writes]), _written)
        return answer

    @plan
    def leases(self, *, now: Now = None) -> Steps[list[Lease]]:
        """Every lease not yet removed."""
        answer: list[Lease] = yield Call("leases", encode((now,)), _leases)
        return answer


def _leases(reply: Sequence[Sequence[bytes]]) -> list[Lease]:
    found: list[Lease] = []
    for now, lease, ends_at, packed, running in reply:
        name, host, pid, queues, tasks, slots, since = _worker(packed)
        worker = WorkerInfo(name, host, pid, queues, tasks, slots)
        found.append(Lease(lease.decode(), worker, since, (int(ends_at) - int(now)) / 1_000_000, int(running)))
    return sorted(found, key=lambda lease: (lease.started_at, lease.id))
