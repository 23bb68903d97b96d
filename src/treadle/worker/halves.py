"""Turns by halves: while one half of what can be in hand at once runs and is told of, the other is claimed."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from time import monotonic
from typing import Any, NamedTuple

from treadle.engine.session import Durability
from treadle.model.outcome import Note, Settlement
from treadle.worker.fetcher import Ask, Fetcher
from treadle.worker.notes import Notes
from treadle.worker.settler import Settler

STILL = 0.1
"""Seconds after which the next claim waits no longer for what is in hand: that takes its time after all, and others may stand
behind it. A worker that waited until nothing was told of any more kept a plain job for 5 s, as something always was.
"""

Converse = Callable[[list[Note], list[Settlement], Durability, Sequence[Ask]], Coroutine[Any, Any, None]]


class _Away(NamedTuple):
    """Of how many ends an exchange under way tells, for how many gated jobs and suspects it asks, and whether it claims any."""

    ends: int
    asks: int
    suspects: int
    claims: bool


class Halves:
    """Exchanges beside the loop, two at a time, while bodies run.

    Where the store carries out plans beside each other, one tells of what has ended and one claims. Where it carries out one
    after the other (`serial`), each tells of a half that has ended and claims the next in one plan: it finds all that was
    told of before, and the store has one to go on with while the answer to the other is read. In order by 1,000 keys that
    took 13.8 us a job on Valkey, and 17.1 with two kinds of exchanges; on PostgreSQL two such plans do not see each other's
    ends.
    """

    def __init__(self, converse: Converse, settler: Settler, notes: Notes, signal: asyncio.Event, *, serial: bool) -> None:
        self.answered_at: float = 0.0
        """When a claim was answered last, by the monotonic clock."""
        self._converse = converse
        self._settler = settler
        self._notes = notes
        self._signal = signal
        self._serial = serial
        self._away: dict[asyncio.Task[None], _Away] = {}
        self._look: asyncio.TimerHandle | None = None

    @property
    def claiming(self) -> bool:
        """Whether a claim is under way, whose jobs nobody here knows of yet."""
        return any(its.claims and not task.done() for task, its in self._away.items())

    @property
    def tasks(self) -> list["asyncio.Task[None]"]:
        """The exchanges under way."""
        return list(self._away)

    def due(self, fetcher: Fetcher) -> bool:
        """Whether the next half may be claimed."""
        if not fetcher.halves or (self.claiming and not self._serial) or len(self._unanswered()) > 1:
            return False
        late = not self.claiming and monotonic() - self.answered_at >= STILL
        return late or fetcher.due(self._untold())

    def goes_first(self, fetcher: Fetcher) -> bool:
        """Whether a claim that is due is to go without what goes on ending."""
        return not self._serial and self.due(fetcher)

    async def take(self, fetcher: Fetcher, *, ending: bool) -> None:
        """Tell of what has ended, and claim when that has made room for a half; `ending`: more is about to end."""
        for task in [each for each in self._away if each.done()]:
            del self._away[task]
            await task
        due = self.due(fetcher)
        # A worker holds one suspect at a time, so one claim at a time may bring it.
        suspects = not any(its.suspects for its in self._unanswered())
        asks = fetcher.asks(self._untold(), suspects=suspects) if due else []
        if self._serial:
            if len(self._away) < 2:
                self._send(asks, tell=True)
        elif ending and asks:
            self._signal.set()  # the claim goes first, and what goes on ending is told of together
            self._send(asks, tell=False)
        else:
            if not any(its.ends for its in self._away.values()):
                self._send([], tell=True)
            self._send(asks, tell=False)
        if not due and not self.claiming and self._look is None:
            self._look = asyncio.get_running_loop().call_later(STILL, self._look_again)

    async def over(self) -> None:
        """Wait for all that is under way."""
        while self._away:
            task = next(iter(self._away))
            await task
            del self._away[task]

    def _send(self, asks: Sequence[Ask], *, tell: bool) -> None:
        notes, batch, strictness = list[Note](), list[Settlement](), Durability.DEFAULT
        if tell:
            notes = self._notes.take()
            batch, strictness = self._settler.take()
        if asks or batch or notes:
            task = asyncio.create_task(self._converse(notes, batch, strictness, asks), name="treadle half")
            gated, suspects = sum(ask.gated for ask in asks), sum(ask.suspects for ask in asks)
            self._away[task] = _Away(len(batch) or len(notes), gated, suspects, bool(asks))
            task.add_done_callback(lambda _: self._signal.set())

    def _unanswered(self) -> list[_Away]:
        return [its for task, its in self._away.items() if not task.done()]

    def _untold(self) -> int:
        """How many ends the store will not have heard of when it carries out the next claim."""
        if not self._serial:
            return self._settler.left
        return sum(max(its.ends, its.asks) for its in self._unanswered())

    def _look_again(self) -> None:
        self._look = None
        self._signal.set()
