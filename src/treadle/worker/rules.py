"""What operators say of queues while workers run: shares, hours, ages. Looked up now and then, heeded without a restart."""

import logging
from collections.abc import Callable, Mapping

from treadle.app.ageing import age_queues
from treadle.app.app import Treadle
from treadle.app.hours import Kept, keep_hours
from treadle.app.queue import read_weight
from treadle.app.storetime import here, own_time
from treadle.engine.plan import together
from treadle.engine.session import Session
from treadle.model.record import Record, Space
from treadle.worker.chores import Chore

log: logging.Logger = logging.getLogger("treadle.worker")

LOOK_UP = 5.0
"""Seconds within which a worker heeds what an operator said, and within which a queue's hours begin and end."""
SOON = 0.5
"""Seconds until the next look while a round of ageing goes on."""


class Rules:
    """Keeps the hours and the ages of queues, and tells the fetcher their weights."""

    def __init__(self, app: Treadle, session: Session, reweigh: Callable[[Mapping[str, int]], None]) -> None:
        self._app = app
        self._session = session
        self._reweigh = reweigh
        self.chore: Chore = Chore("rules", LOOK_UP, self.turn)

    async def turn(self) -> float | None:
        """Look once; the seconds until the next look where much is to be done, else None."""
        engine, store = self._app.store.engine, self._app.store
        now = own_time(store) or here()
        plan = together(engine.read(Space.WEIGHT), keep_hours(engine, self._app.queues, now))
        answers = await self._session.arun(plan)
        weights: list[Record] = answers[0]
        kept: Kept = answers[1]
        self._reweigh({each.key: read_weight(each) for each in weights})
        for queue in kept.closed:
            log.info("queue %s is outside its hours and is paused", queue)
        for queue in kept.opened:
            log.info("queue %s is within its hours again and is resumed", queue)
        aged = await self._session.arun(age_queues(engine, now))
        for queue, gained in aged.gained.items():
            if gained:
                log.info("%d jobs of queue %s have waited long and gained priority", gained, queue)
        return SOON if aged.more else None
