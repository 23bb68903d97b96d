"""The chore that fires schedules. Every worker has it; whoever is first enqueues a slot, and the others see that it is done.

Between slots it sleeps, and looks up now and then: at the store's clock, and at what others have declared.
"""

import logging
import random
from time import monotonic

from treadle.app.app import Treadle
from treadle.app.firing import Moved, carry_out, judge, look
from treadle.app.schedule import Schedule
from treadle.app.storetime import ask_time, here, own_time
from treadle.engine.session import Session
from treadle.model.job import LeaseId, Micros
from treadle.model.record import Record
from treadle.worker.chores import Chore
from treadle.worker.outage import UNREACHED

log: logging.Logger = logging.getLogger("treadle.worker")

LOOK_UP = 15.0
"""Seconds after which a scheduler looks again, whether a slot has come or not."""

NEVER: Micros = 1 << 62

SPREAD = 0.05
"""Seconds over which the workers' looks at one slot are spread, so that most of them find it done."""


class Scheduler:
    """Fires what the app declares, by the store's clock."""

    def __init__(self, app: Treadle, session: Session, lease: LeaseId) -> None:
        self._engine = app.store.engine
        self._store = app.store
        self._session = session
        self._lease = lease
        self._schedules = tuple(app.schedules)
        self._aside: set[str] = set()
        self._idle: dict[str, tuple[int, Micros]] = {}
        self._asked: tuple[float, Micros] | None = None
        self.chore: Chore = Chore("schedule", LOOK_UP, self.turn)

    async def turn(self) -> float:
        """Fire what has come; returns the seconds until the next slot, or until the next look."""
        now = await self._now()
        soonest = await self.fire(now)
        if soonest <= now:
            return 0.0
        return min(LOOK_UP, (soonest - now) / 1_000_000) + random.uniform(0.0, SPREAD)  # noqa: S311 - jitter

    async def fire(self, now: Micros) -> Micros:
        """Fire what has come by `now`; returns when the next slot comes, or `now` if there may be more to do at once."""
        records = await self._session.arun(look(self._engine, [each.name for each in self._schedules]))
        soonest = NEVER
        for schedule in self._schedules:
            try:
                soonest = min(soonest, await self._serve(schedule, records.get(schedule.name), now))
            except UNREACHED:
                raise
            except Exception:
                log.exception("schedule %s could not be served; trying again", schedule.name)
        return soonest

    async def _serve(self, schedule: Schedule, record: Record | None, now: Micros) -> Micros:
        """Fire what has come of one schedule; returns as `fire` does."""
        version, slot = self._idle.get(schedule.name, (0, 0))
        if record is not None and record.version == version and now < slot:
            return slot  # nothing has changed since it was judged, which costs 0.15 ms
        moved = await self._move(schedule, record, now)
        if moved is None:
            slot = next(schedule.rule.after(now), NEVER)
            if record is not None:
                self._idle[schedule.name] = (record.version, slot)
            return slot
        return now if moved.again or moved.fired else next(schedule.rule.after(now), NEVER)

    async def _move(self, schedule: Schedule, record: Record | None, now: Micros) -> Moved | None:
        """Do what there is to do about a schedule; None when there is nothing."""
        move = judge(schedule, record, now)
        if move is None:
            self._aside.discard(schedule.name)
            return None
        moved = await self._session.arun(carry_out(self._engine, move, now, self._lease))
        if moved.fired:
            log.debug("schedule %s: enqueued %d slot(s)", schedule.name, len(moved.fired))
        if moved.aside is not None and schedule.name not in self._aside:
            self._aside.add(schedule.name)
            log.warning(
                "schedule %s is declared differently by a worker that started later, lease %s: it fires there, not here",
                schedule.name,
                moved.aside,
            )
        return moved

    async def _now(self) -> Micros:
        """The store's time; of a store that must be asked, counted on from the last answer for as long as a look lasts."""
        own = own_time(self._store)
        if own is not None:
            return own
        if self._asked is None or monotonic() - self._asked[0] > LOOK_UP:
            asked = await self._session.arun(ask_time(self._engine))
            self._asked = (monotonic(), here() if asked is None else asked)
        since, at = self._asked
        return at + round((monotonic() - since) * 1_000_000)
