"""One request on its way: what is sent, what the replies mean, and whether and when to try again."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from treadle.engine.jitter import jittered
from treadle.engine.plan import READS
from treadle.engine.redis.address import Dialled
from treadle.engine.redis.link import Lost
from treadle.engine.redis.replies import ELSEWHERE, PASSING, Refusal, error_for, pack
from treadle.engine.redis.scripts import Script, script
from treadle.engine.redis.steps import Round, encode
from treadle.engine.session import Durability
from treadle.model.errors import CannotOpen, StoreBusy, StoreError

WAITED = 0.8
"""The share of a call's time that replicas have to confirm it."""
_FIRST_PAUSE = 0.02
_LONGEST_PAUSE = 0.5


class Ground(Protocol):
    """What a session needs of its store."""

    timeout: float
    replicas: int
    tag: bytes
    """The namespace as a hash tag: the key by which a cluster finds the slot."""

    @property
    def location(self) -> str:
        """The server, for messages."""
        ...

    def dial(self, deadline: float) -> Dialled:
        """One more connection, to a server that may hold jobs."""
        ...

    def moved(self, refusal: Refusal) -> None:
        """The server says that another one has the slot, or that it is a replica."""
        ...

    def confirmation(self, durability: Durability) -> bytes:
        """The command that waits until replicas have what was written, or nothing."""
        ...

    def confirmed(self, reply: Any) -> bool:
        """Whether the reply to that command says that enough of them have it."""
        ...


@dataclass(slots=True, frozen=True)
class Answered:
    """What a script answered: a reply for each call, or nothing."""

    replies: Sequence[Any] | None


class Errand:
    """Calls that go out as one script, tried until they are answered or their time is over.

    A try that was refused has changed nothing. One whose answer was lost may have been carried out: it is repeated all the
    same: verbs may be, and a claim carries a token by which the store knows it again and answers with the same jobs. The store
    keeps the last answer of each `lane`: of claims that one session has under way at once, each has a lane of its own.
    """

    def __init__(self, ground: Ground, batch: Round, durability: Durability, lane: int) -> None:
        verbs = frozenset(call.verb for call in batch.calls)
        self._ground = ground
        self._script: Script = script(verbs)
        token = f"{lane}:{os.urandom(8).hex()}" if "claim" in verbs else ""
        arguments: list[str | bytes | int] = [1, ground.tag, token, encode(batch.watched) if batch.watched else b""]
        for call in batch.calls:
            arguments += [call.verb, call.parameters, len(call.texts), *call.texts]
        self._arguments = arguments
        self._command = pack(("EVALSHA", self._script.sha, *self._arguments))
        self._confirm = b"" if verbs <= READS else ground.confirmation(durability)
        self._at_once = False
        self._pause = _FIRST_PAUSE
        self.deadline: float = time.monotonic() + ground.timeout
        self.elsewhere: bool = False

    def payload(self) -> tuple[bytes, int]:
        """The bytes to send, and how many replies to expect."""
        if self._confirm:
            return self._command + self._confirm, 2
        return self._command, 1

    def answered(self, replies: Sequence[Any]) -> Answered | None:
        """The script's answers, or None when it is to be tried again. Raises what a refusal means."""
        reply = replies[0]
        self.elsewhere = False
        if isinstance(reply, Refusal):
            self._refused(reply)
            return None
        for each in reply or ():
            if isinstance(each, Refusal):
                raise error_for(each, self._ground.location)
        if self._confirm and not self._ground.confirmed(replies[-1]):
            raise _unconfirmed(self._ground, replies[-1])
        return Answered(reply)

    def _refused(self, refusal: Refusal) -> None:
        code = refusal.code
        if code == "NOSCRIPT":  # the text itself leaves no moment in which it could be forgotten again
            self._command = pack(("EVAL", self._script.text, *self._arguments))
            self._at_once = True
            return
        if code in ELSEWHERE:
            self.elsewhere = True
            self._ground.moved(refusal)
        if code not in PASSING | ELSEWHERE or time.monotonic() >= self.deadline:
            raise error_for(refusal, self._ground.location)

    def broke(self, lost: Lost) -> None:
        """The connection broke. Raises `StoreBusy` when it is not to be tried again."""
        if time.monotonic() >= self.deadline:
            what = "it is unknown whether it was carried out" if lost.sent else "nothing was changed"
            raise StoreBusy(f"{self._ground.location}: {lost}; {what}. Call again.")
        self._at_once = not lost.sent

    def unreachable(self, error: CannotOpen, *, reached_before: bool) -> None:
        """No connection could be made. Raises the error when it is the first one, or the last that there is time for."""
        if not reached_before or time.monotonic() + _LONGEST_PAUSE >= self.deadline:
            raise error

    def pause(self) -> float:
        """Seconds until the next try: longer each time, and never twice the same."""
        if self._at_once:
            self._at_once = False
            return 0.0
        self._pause = min(_LONGEST_PAUSE, self._pause * 2)
        left = max(0.0, self.deadline - time.monotonic())
        return min(left, jittered(self._pause))


def _unconfirmed(ground: Ground, reply: Any) -> StoreError:
    if isinstance(reply, Refusal):
        return StoreError(f"{ground.location}: carried out, but the server would not wait for its replicas ({reply}).")
    disks, count = (1, reply) if isinstance(reply, int) else reply  # its own disk is asked for by WAITAOF alone
    seconds, asked = f"{ground.timeout * WAITED:g} s", f"?replicas={ground.replicas} in the URL asks for {ground.replicas}"
    missing = [] if disks else [f"the server's own disk, full or slow, has not confirmed it in {seconds}"]
    if count < ground.replicas:
        missing.append(
            f"too few replicas have confirmed it: {count} in {seconds}, where {asked}. See that they run (`treadle doctor`)"
        )
    return StoreBusy(
        f"{ground.location}: carried out, but {', and '.join(missing)}. What was asked is done, and may be lost with this "
        "server; an enqueue that is made again stores a second job, unless it has an idempotency_key or a job_id."
    )
