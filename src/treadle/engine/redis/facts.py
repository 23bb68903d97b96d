"""The verbs of small shared facts: `read`, `write`, `leases`, `gates`."""

from collections.abc import Sequence

import msgspec

from treadle.engine.admission import WHOLE, check_write
from treadle.engine.contract import Now
from treadle.engine.plan import Steps, plan
from treadle.engine.redis.steps import Call, encode
from treadle.model.flow import Gate
from treadle.model.job import Lease, Micros, WorkerInfo
from treadle.model.record import Record, Space, Write, Written

_version_and_value = msgspec.msgpack.Decoder(tuple[int, str]).decode
_written = msgspec.msgpack.Decoder(list[Written]).decode
_gates = msgspec.msgpack.Decoder(list[tuple[str, str, int, int, Micros | bool]]).decode
_worker = msgspec.msgpack.Decoder(tuple[str, str, int, tuple[str, ...], tuple[str, ...], int, int]).decode


def packed_write(write: Write) -> tuple[str, str, str | bool, int | bool]:
    """A write as the scripts take it: false stands for no value, and for any version. Raises `InvalidOption`."""
    check_write(write)
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
    def write(self, writes: Sequence[Write], *, now: Now = None) -> Steps[list[Written]]:
        """Compare-and-set each record on its own, in order."""
        if not writes:
            return []
        answer: list[Written] = yield Call("write", encode((now, [packed_write(each) for each in writes])), _written)
        return answer

    @plan
    def leases(self, *, now: Now = None) -> Steps[list[Lease]]:
        """Every lease not yet removed."""
        answer: list[Lease] = yield Call("leases", encode((now,)), _leases)
        return answer

    @plan
    def gates(self, limits: Sequence[str] | None = None, *, limit: int = 1000) -> Steps[list[Gate]]:
        """The keys of limits at which jobs run or are parked."""
        chosen = False if limits is None else sorted(set(limits))
        answer: list[Gate] = yield Call("gates", encode((chosen, limit)), _read_gates)
        return answer


def _read_gates(reply: bytes) -> list[Gate]:
    return [
        Gate(limit, None if key == WHOLE else key, running, parked, None if isinstance(wakes_at, bool) else wakes_at)
        for limit, key, running, parked, wakes_at in _gates(reply)
    ]


def _leases(reply: Sequence[Sequence[bytes]]) -> list[Lease]:
    found: list[Lease] = []
    for now, lease, ends_at, packed, running in reply:
        name, host, pid, queues, tasks, slots, since = _worker(packed)
        worker = WorkerInfo(name, host, pid, queues, tasks, slots)
        found.append(Lease(lease.decode(), worker, since, (int(ends_at) - int(now)) / 1_000_000, int(running)))
    return sorted(found, key=lambda lease: (lease.started_at, lease.id))
