"""What time it is in the store, which is the time that schedules go by.

A store on this machine has this machine's clock. Of another, the leases tell: each says how long it still holds by the
store's clock, and, asked as of 1970, when it ends; the difference is now.
"""

import time
from typing import Protocol, runtime_checkable

from treadle.engine.contract import Engine
from treadle.engine.plan import Plan, Steps
from treadle.engine.session import Store
from treadle.model.job import Micros


@runtime_checkable
class Timed(Protocol):
    """A store that knows its time without being asked: one whose clock a test turns."""

    def this_moment(self) -> Micros:
        """This moment."""
        ...


def own_time(store: Store) -> Micros | None:
    """The store's time where it need not be asked for, else None."""
    if isinstance(store, Timed):
        return store.this_moment()
    return here() if store.local else None


def here() -> Micros:
    """The time of this machine."""
    return time.time_ns() // 1000


def ask_time(engine: Engine) -> Plan[Micros | None]:
    """The store's time, by any lease that holds; None while there is none.

    A lease renewed between the questions would answer wrongly, so one is believed only if it ends when it ended before.
    """

    def begin() -> Steps[Micros | None]:
        before = {each.id: each.expires_in for each in (yield from engine.leases(now=0).begin())}
        left = {each.id: each.expires_in for each in (yield from engine.leases().begin())}
        after = {each.id: each.expires_in for each in (yield from engine.leases(now=0).begin())}
        for lease, seconds in left.items():
            if seconds > 0 and lease in before and before[lease] == after.get(lease):
                return round((before[lease] - seconds) * 1_000_000)
        return None

    return Plan("leases", begin)
