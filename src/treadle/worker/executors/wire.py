"""What a worker and its child processes say to each other: frames on a socket, and a slate that both can see.

A frame is four bytes of length and one msgpack message; nothing but our own plain values crosses, never a pickle.

The slate is shared memory. It says which job the child is executing at this moment, at the price of a store to memory
instead of a system call, and it keeps the outcomes that were not sent yet: both outlive the child, so that its death
charges exactly the job it was executing and loses no outcome.
"""

import mmap
import os
import tempfile
from collections.abc import Iterator
from dataclasses import fields
from typing import Any, get_args

import msgspec

from treadle.model.job import Claimed
from treadle.model.outcome import Cause, Completed, Died, NoteKind, Outcome

HEADER = 4


class Setup(msgspec.Struct, array_like=True, tag=1):
    """The first word to a child: what it serves, how it logs, and whether its weight is wanted."""

    target: str
    url: str | None
    json_logs: bool
    log_level: str
    worker: str
    weigh: bool
    lease: str
    namespace: str | None = None


class Feed(msgspec.Struct, array_like=True, tag=2):
    """Jobs to run, in order. The child numbers all it was ever fed from 1."""

    jobs: list[Claimed]


class Recall(msgspec.Struct, array_like=True, tag=3):
    """Give back every job not begun."""


class Ready(msgspec.Struct, array_like=True, tag=11):
    """The child has imported its target and takes jobs."""


class Unusable(msgspec.Struct, array_like=True, tag=16):
    """The child cannot take jobs, and why."""

    why: str


class Ended(msgspec.Struct, array_like=True, tag=12):
    """A job is over, after `took` seconds. `stopped`: the body was interrupted, and the outcome says nothing."""

    number: int
    stopped: bool
    took: float
    kind: int
    values: list[Any]


class Returned(msgspec.Struct, array_like=True, tag=13):
    """The numbers of the jobs given back by a recall: none of them was begun, and none will be."""

    numbers: list[int]


class Said(msgspec.Struct, array_like=True, tag=14):
    """A note from a running body."""

    number: int
    kind: NoteKind
    name: str
    value: str


class Weight(msgspec.Struct, array_like=True, tag=15):
    """How many bytes of memory the child occupies."""

    bytes: int


ToChild = Setup | Feed | Recall
FromChild = Ready | Unusable | Ended | Returned | Said | Weight

_KINDS: tuple[type[Any], ...] = get_args(Outcome)
_NUMBER = {kind: number for number, kind in enumerate(_KINDS)}
_FIELDS = [[each.name for each in fields(kind)] for kind in _KINDS]

_encode = msgspec.msgpack.Encoder().encode
_to_child = msgspec.msgpack.Decoder(ToChild)
_from_child = msgspec.msgpack.Decoder(FromChild)


def frame(message: ToChild | FromChild) -> bytes:
    """A message as it travels."""
    body = _encode(message)
    return len(body).to_bytes(HEADER, "little") + body


def ended(number: int, stopped: bool, took: float, outcome: Outcome) -> Ended:
    """The message that tells an outcome."""
    kind = _NUMBER[type(outcome)]
    return Ended(number, stopped, took, kind, [getattr(outcome, name) for name in _FIELDS[kind]])


def outcome_of(message: Ended) -> Outcome:
    """The outcome that a message tells."""
    kind: type[Any] = _KINDS[message.kind]
    values = message.values
    if kind is Completed:
        return Completed(*values)
    if kind is Died:
        return Died(Cause(values[0]), *values[1:])
    outcome: Outcome = kind(*values)
    return outcome


def _bodies(received: bytearray) -> Iterator[bytes]:
    """Take every whole frame out of what was received; the rest of a frame stays for the next time."""
    at, total = 0, len(received)
    while at + HEADER <= total:
        end = at + HEADER + int.from_bytes(received[at : at + HEADER], "little")
        if end > total:
            break
        yield bytes(received[at + HEADER : end])
        at = end
    del received[:at]


def to_child(received: bytearray) -> list[ToChild]:
    """Every whole message in what a child received."""
    return [_to_child.decode(body) for body in _bodies(received)]


def from_child(received: bytearray) -> list[FromChild]:
    """Every whole message in what a worker received."""
    return [_from_child.decode(body) for body in _bodies(received)]


class Slate:
    """Memory shared with one child: three words and the outcomes not sent yet.

    `running` is the number of the job being executed (0: none) and `victim` that of the job to interrupt; the first is
    written by the child alone, the second by the worker alone. A word is stored in one piece. The outcomes are read by
    the worker only after the child's death.
    """

    SIZE = 1 << 18
    ROOM = SIZE - 64

    def __init__(self, file: int) -> None:
        self.file = file
        self._map = mmap.mmap(file, self.SIZE)
        self._bytes = memoryview(self._map)
        self._words = self._bytes[:64].cast("Q")
        self._outbox = self._bytes[64:]

    @classmethod
    def make(cls) -> "Slate":
        """A blank slate, as an open file that a child can inherit."""
        if hasattr(os, "memfd_create"):
            file = os.memfd_create("treadle-slate")
        else:
            file, path = tempfile.mkstemp(prefix="treadle-slate-")
            os.unlink(path)  # noqa: PTH108 - only the open file is wanted
        os.ftruncate(file, cls.SIZE)
        return cls(file)

    @property
    def running(self) -> int:
        return self._words[0]

    @running.setter
    def running(self, number: int) -> None:
        self._words[0] = number

    @property
    def victim(self) -> int:
        return self._words[1]

    @victim.setter
    def victim(self, number: int) -> None:
        self._words[1] = number

    def keep(self, frame: bytes) -> bool:
        """Add a frame to the outbox; False when it does not fit."""
        start = self._words[2]
        end = start + len(frame)
        if end > self.ROOM:
            return False
        self._outbox[start:end] = frame
        # Last: until the length says so, the frame is not there.
        self._words[2] = end
        return True

    def kept(self) -> bytes:
        """The frames in the outbox."""
        return bytes(self._outbox[: self._words[2]])

    def forget(self) -> None:
        """Empty the outbox: everything in it was sent."""
        self._words[2] = 0

    def close(self) -> None:
        """Let go of the memory."""
        self._outbox.release()
        self._words.release()
        self._bytes.release()
        self._map.close()
        os.close(self.file)
