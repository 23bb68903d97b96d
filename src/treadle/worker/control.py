"""What a supervisor and its worker processes say to each other: lines of JSON on a socket that both notice the end of.

Settings travel here rather than on the command line or in the environment: a store's URL may hold a password, and both of
those are open to others or inherited by what jobs start.
"""

import contextlib
import socket

import msgspec

from treadle.model.job import LeaseId

BUFFER = 65_536


class Orders(msgspec.Struct, tag="orders"):
    """The first word to a worker process: its lease, and its settings as JSON."""

    lease: LeaseId
    options: str
    after_outage: bool = False
    """Whether the store has just been away: what ran out meanwhile is not judged at once."""


class Drain(msgspec.Struct, tag="drain"):
    """Claim nothing more and leave when the jobs in hand are done."""


class Abandon(msgspec.Struct, tag="abandon"):
    """Hand back what still runs, now."""


class Serving(msgspec.Struct, tag="serving"):
    """The lease is open and jobs are being claimed."""


class Unusable(msgspec.Struct, tag="unusable"):
    """The target cannot be served, and why."""

    why: str


class Away(msgspec.Struct, tag="away"):
    """The store cannot be reached, and this process leaves for that and no other reason."""


Down = Orders | Drain | Abandon
Up = Serving | Unusable | Away

_down = msgspec.json.Decoder(Down)
_up = msgspec.json.Decoder(Up)


class Line:
    """One end of the socket. Nothing here blocks but `first`."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._received = bytearray()
        self.open: bool = True
        """False once the other end is gone."""

    def fileno(self) -> int:
        """The file number, for a selector."""
        return self._end.fileno()

    def send(self, message: Down | Up) -> None:
        """Say something, unless nobody listens any more. Messages are few and small: they fit the socket's buffer."""
        with contextlib.suppress(OSError):
            self._end.sendall(msgspec.json.encode(message) + b"\n")

    def first(self) -> Orders | None:
        """Wait for the orders; None when the supervisor is gone before it gave any."""
        while self.open:
            for message in self.orders():
                if isinstance(message, Orders):
                    self._end.setblocking(False)
                    return message
        return None

    def orders(self) -> list[Down]:
        """What the supervisor has said since."""
        return [_down.decode(line) for line in self._lines()]

    def news(self) -> list[Up]:
        """What the worker process has said since."""
        return [_up.decode(line) for line in self._lines()]

    def _lines(self) -> list[bytes]:
        try:
            data = self._end.recv(BUFFER)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        if not data:
            self.open = False
        self._received += data
        *lines, rest = bytes(self._received).split(b"\n")
        self._received = bytearray(rest)
        return lines

    def close(self) -> None:
        """Hang up."""
        self.open = False
        self._end.close()
