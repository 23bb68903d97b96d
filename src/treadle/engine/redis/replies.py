"""What comes back from a server besides data: refusals, and what each of them means for who asked."""

from collections.abc import Callable, Sequence
from typing import cast

import hiredis

from treadle.model.errors import CannotOpen, StoreBusy, StoreError


class Refusal(Exception):
    """An error reply. `code` is its first word."""

    @property
    def code(self) -> str:
        """The first word of the reply, such as `NOSCRIPT`."""
        return str(self).partition(" ")[0]


class ScriptFailed(RuntimeError):
    """A script stopped with an error: a mistake in the engine, or data that no treadle wrote."""


PASSING = frozenset({"LOADING", "TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN", "BUSY", "NOREPLICAS"})
"""Refusals that end by themselves; nothing was carried out."""

ELSEWHERE = frozenset({"MOVED", "READONLY"})
"""Refusals that mean another server; nothing was carried out."""

RIGHTS = (
    "Let an administrator run ACL SETUSER USER ~{treadle}* &{treadle}* +@all -@dangerous +info +config|get, with your "
    "namespace in the place of treadle."
)
"""What a user needs of a server that gives each its own rights."""

_pack = cast("Callable[[tuple[str | bytes | int, ...]], bytes]", hiredis.pack_command)  # pyright: ignore[reportUnknownMemberType]


def pack(command: Sequence[str | bytes | int]) -> bytes:
    """One command as bytes."""
    return _pack(tuple(command))


def push_of(reply: object) -> bytes | None:
    """What kind of push a reply is (`smessage`, `ssubscribe`, ...), or None for one that was asked for."""
    if not isinstance(reply, hiredis.PushNotification):
        return None
    words: list[bytes] = cast("list[bytes]", reply)
    return words[0]


def unwelcome(refusal: Refusal) -> str:
    """Why the server does not serve this user, and the cure."""
    match refusal.code:
        case "NOAUTH":
            cure = "Write redis://:PASSWORD@HOST, or redis://USER:PASSWORD@HOST."
            return f"the server wants a password, and the URL has none. {cure}"
        case "WRONGPASS":
            cure = "Correct the user and the password in the URL: redis://USER:PASSWORD@HOST."
            return f"the server does not know this user with this password. {cure}"
        case _:
            return f"{refusal}. {RIGHTS}"


def error_for(refusal: Refusal, location: str) -> Exception:
    """What to raise for a refusal that did not pass."""
    match refusal.code:
        case "OOM":
            return StoreBusy(
                f"{location}: the server's memory is full (maxmemory), so nothing was stored. Delete finished jobs "
                "(`treadle prune --keep 0`), which count until they are pruned, or raise maxmemory. Workers go on settling."
            )
        case "NOAUTH" | "WRONGPASS" | "NOPERM":
            return CannotOpen(f"{location}: {unwelcome(refusal)}")
        case "MISCONF":
            return StoreError(f"{location}: the server cannot save and takes no writes ({refusal}). Look at its disk and log.")
        case code if code in PASSING | ELSEWHERE:
            return StoreBusy(f"{location}: {refusal}. Nothing was changed; call again.")
        case _:
            return ScriptFailed(f"{location}: {refusal}")
