"""Outcomes on their way to the store: batched, never dropped while the lease lasts."""

import logging

from treadle.engine.session import Durability
from treadle.model.job import JobId
from treadle.model.outcome import Completed, Settlement, Verdict

log: logging.Logger = logging.getLogger("treadle.worker")

MOST = 1000


class Settler:
    """Collects outcomes; an exchange takes them in batches and either confirms them or puts them back."""

    def __init__(self) -> None:
        self._pending: list[Settlement] = []
        self._told: list[list[Settlement]] = []
        self._strict = 0
        self.settled: int = 0
        self.refused: int = 0

    def __len__(self) -> int:
        return len(self._pending)

    @property
    def left(self) -> int:
        """How many outcomes the store has not confirmed: those that wait, and those that an exchange has taken."""
        return len(self._pending) + sum(map(len, self._told))

    @property
    def full(self) -> bool:
        """Whether a whole batch waits to be taken."""
        return len(self._pending) >= MOST

    def ids(self) -> set[JobId]:
        """The jobs whose outcomes the store has not confirmed."""
        return {each.id for batch in (self._pending, *self._told) for each in batch}

    def add(self, settlement: Settlement, durability: Durability) -> None:
        """One more attempt is over."""
        self._pending.append(settlement)
        if durability is Durability.DEFAULT:
            self._strict += 1

    def take(self) -> tuple[list[Settlement], Durability]:
        """The oldest outcomes, and how strictly they must be stored: as the strictest of all that are pending."""
        durability = Durability.DEFAULT if self._strict else Durability.RELAXED
        if len(self._pending) <= MOST:
            batch, self._pending = self._pending, []
            self._strict = 0
        else:
            batch, self._pending = self._pending[:MOST], self._pending[MOST:]
        if batch:
            self._told.append(batch)
        return batch, durability

    def put_back(self, batch: list[Settlement], durability: Durability, rest: list[Settlement] | None = None) -> None:
        """The store was not told of this batch, or of the `rest` of it: try these first next time."""
        self._forget(batch)
        back = batch if rest is None else rest
        self._pending[:0] = back
        if durability is Durability.DEFAULT:
            self._strict += len(back)

    def confirm(self, batch: list[Settlement], verdicts: list[Verdict]) -> None:
        """Count what the store said. A refusal is the fence at work: the job belongs to somebody else now."""
        self.settled += len(batch)
        self._forget(batch)
        if verdicts.count(Verdict.DONE) == len(batch):
            return
        for settlement, verdict in zip(batch, verdicts, strict=True):
            if verdict is Verdict.LOST:
                self.refused += 1
                log.warning("the outcome of job %s attempt %d came too late and was refused", settlement.id, settlement.attempt)
            elif verdict is Verdict.ALREADY and not isinstance(settlement.outcome, Completed):
                log.error(
                    "job %s attempt %d had completed itself before it ended otherwise, which changes nothing: %s",
                    settlement.id,
                    settlement.attempt,
                    settlement.outcome,
                )

    def _forget(self, batch: list[Settlement]) -> None:
        self._told = [each for each in self._told if each is not batch]
