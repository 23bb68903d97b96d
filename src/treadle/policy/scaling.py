"""How many worker processes the waiting work wants. Pure: what was seen, and when, is handed in.

More are wanted while jobs that could run wait for a slot: the slots are taken, or plain jobs have waited for seconds with
workers alive. What waits at a limit, a breaker or its turn, or is paused, is no reason: more processes would wait beside it.
Growing is quick and shrinking slow, so that work which comes in waves does not start and stop processes with each of them.
"""

import math
from typing import NamedTuple

GROW_AFTER = 3.0
"""Seconds for which jobs must have waited for slots before a process is added."""
SHRINK_AFTER = 60.0
"""Seconds for which one process less must have been enough before one is taken away."""
SHRINK_AGAIN = 15.0
"""Seconds between one that is taken away and the next."""
PATIENCE = 2.0
"""Seconds after which a plain job that waits shows that its executor has no slot, whatever the others have."""
FULL = 0.8
"""Share of slots that are taken, from which on what waits counts as waiting for a slot."""
SPARE = 0.6
"""Share of the slots that would be left, up to which one process less is enough."""


class Bounds(NamedTuple):
    """The fewest and the most processes."""

    least: int
    most: int


class Kind(NamedTuple):
    """What was seen of one kind of slots: those of the loop, of threads, or of child processes.

    `plain` and `gated` count jobs that wait and could be claimed into one, without and with limits or an order; `age` is how
    many seconds the oldest of the plain ones has been due. `running` and `slots` are those of all processes together.
    """

    plain: int = 0
    gated: int = 0
    age: float = 0.0
    running: int = 0
    slots: int = 0

    @property
    def waiting(self) -> int:
        """The jobs that could be claimed."""
        return self.plain + self.gated

    @property
    def short(self) -> bool:
        """Whether jobs wait for a slot."""
        if self.plain and self.age >= PATIENCE:
            return True
        return bool(self.waiting) and self.running >= FULL * self.slots


class Sight(NamedTuple):
    """What was seen at one moment: each kind of slots by itself, because a job takes none of another kind.

    `processes` is how many serve the same queues.
    """

    kinds: tuple[Kind, ...]
    processes: int

    @property
    def waiting(self) -> int:
        """The jobs that could be claimed."""
        return sum(each.waiting for each in self.kinds)

    @property
    def running(self) -> int:
        """The jobs that run."""
        return sum(each.running for each in self.kinds)

    @property
    def slots(self) -> int:
        """The slots of every kind."""
        return sum(each.slots for each in self.kinds)

    @property
    def short(self) -> bool:
        """Whether jobs wait for a slot of some kind."""
        return any(each.short for each in self.kinds)

    @property
    def wanted(self) -> int:
        """How many processes this wants: more while slots are short, as few as leave some room when nothing waits.

        Both who starts processes here and who does it from outside go by this figure.
        """
        if not self.processes:
            return min(1, self.waiting)
        if self.short:
            return max(
                self.processes + 1, *(self._holding(each, each.running + each.waiting) for each in self.kinds if each.short)
            )
        if self.waiting:
            return self.processes
        return min(self.processes, max((self._holding(each, each.running / SPARE) for each in self.kinds), default=0))

    def _holding(self, kind: Kind, jobs: float) -> int:
        """The processes that have so many slots of a kind."""
        return math.ceil(jobs * self.processes / kind.slots) if kind.slots else 0


class Memory(NamedTuple):
    """Since when slots have been short, and since when one process less would have been enough; None for not now."""

    short_since: float | None = None
    spare_since: float | None = None


def decide(bounds: Bounds, aim: int, memory: Memory, sight: Sight, now: float) -> tuple[int, Memory]:
    """How many processes to have from now on, `aim` being how many there were to be; `now` is in seconds."""
    if sight.short:
        since = now if memory.short_since is None else memory.short_since
        if now - since < GROW_AFTER or aim >= bounds.most:
            return aim, Memory(since)
        # Doubling at most: what is seen is a moment, and the next look comes soon.
        return min(bounds.most, 2 * aim, aim + sight.wanted - sight.processes), Memory()
    if sight.wanted >= sight.processes or aim <= bounds.least:
        return max(aim, bounds.least), Memory()
    since = now if memory.spare_since is None else memory.spare_since
    if now - since < SHRINK_AFTER:
        return aim, Memory(None, since)
    return aim - 1, Memory(None, now - SHRINK_AFTER + SHRINK_AGAIN)
