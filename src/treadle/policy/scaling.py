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


class Sight(NamedTuple):
    """What was seen at one moment.

    `plain` and `gated` count jobs that wait and could be claimed, without and with limits or an order; `age` is how many
    seconds the oldest of the plain ones has been due. `running` and `slots` are those of all processes that serve the same
    queues, `processes` how many these are.
    """

    plain: int
    gated: int
    age: float
    running: int
    slots: int
    processes: int

    @property
    def short(self) -> bool:
        """Whether jobs wait for a slot."""
        if self.plain and self.age >= PATIENCE:
            return True
        return bool(self.plain + self.gated) and self.running >= FULL * self.slots

    @property
    def wanted(self) -> int:
        """The processes that would run at once all that runs and waits for a slot; 0 when there is nothing to do."""
        busy = self.running + (self.plain + self.gated if self.short else 0)
        if not busy:
            return 0
        if not self.slots or not self.processes:
            return 1
        return math.ceil(busy * self.processes / self.slots)


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
        return min(bounds.most, max(aim + 1, min(2 * aim, sight.wanted))), Memory()
    per_process = sight.slots / sight.processes if sight.processes else 0.0
    spare = not (sight.plain + sight.gated) and sight.running <= SPARE * per_process * (aim - 1)
    if not spare or aim <= bounds.least:
        return max(aim, bounds.least), Memory()
    since = now if memory.spare_since is None else memory.spare_since
    if now - since < SHRINK_AFTER:
        return aim, Memory(None, since)
    return aim - 1, Memory(None, now - SHRINK_AFTER + SHRINK_AGAIN)
