"""What a worker cannot know: whether a claim that was never answered was carried out after all, now or later."""

import logging
from collections.abc import Callable
from time import monotonic

from treadle.engine.contract import Engine
from treadle.engine.session import Durability, Session
from treadle.model.job import Claimed, LeaseId
from treadle.model.outcome import Released, Settlement
from treadle.worker.settler import Settler

log: logging.Logger = logging.getLogger("treadle.worker")

LOOKS = (0.0, 1.0, 5.0, 20.0, 60.0)
"""Seconds after the doubt at which the worker asks what it holds. Not once: a request that was given up may still be on its
way, in a network that stands still, and arrive when the connection it came on is long closed."""


class Doubt:
    """After a claim without an answer, finds the jobs that run under the lease and that nobody here knows of.

    They are handed back. Left alone they would stay with this worker, whose lease goes on, and never run. `known` says
    whether this attempt of a job is in flight here.
    """

    def __init__(
        self, engine: Engine, session: Session, lease: LeaseId, settler: Settler, known: Callable[[Claimed], bool]
    ) -> None:
        self._engine = engine
        self._session = session
        self._lease = lease
        self._settler = settler
        self._known = known
        self._looks: list[float] = []

    def arise(self) -> None:
        """A claim was not answered."""
        now = monotonic()
        self._looks = [now + seconds for seconds in LOOKS]

    @property
    def open(self) -> bool:
        """Whether there is still something to find out."""
        return bool(self._looks)

    async def settle(self) -> None:
        """Look, if it is time to. Nothing else may be under way with the store. Raises what the store raises."""
        now = monotonic()
        if not self._looks or now < self._looks[0]:
            return
        held = await self._session.arun(self._engine.held(self._lease))
        self._looks = [moment for moment in self._looks if moment > now]
        told = self._settler.ids()
        strays = [each for each in held if each.id not in told and not self._known(each)]
        for each in strays:
            self._settler.add(Settlement(each.ref, each.id, each.attempt, Released(), 0.0), Durability.DEFAULT)
        if strays:
            log.warning("%d jobs had been claimed by a request that was never answered; they are handed back", len(strays))
