"""Locks after a fork: what another thread of the parent held at that moment, nobody in the child will ever let go."""

import os
import weakref
from typing import Protocol


class Locking(Protocol):
    """Somebody with locks."""

    def renew_locks(self) -> None:
        """Begin with locks that nobody holds."""
        ...


_all: "weakref.WeakSet[Locking]" = weakref.WeakSet()


def renew_in_children(owner: Locking) -> None:
    """Let every forked child begin with new locks in `owner`."""
    owner.renew_locks()
    _all.add(owner)


def _after_fork() -> None:
    for owner in list(_all):
        owner.renew_locks()


os.register_at_fork(after_in_child=_after_fork)
