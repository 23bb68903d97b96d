"""Where jobs of tenants enter their queue: start-time fair queueing, worked out at the entry, so that no claim pays for it.

A *standing* is one queue at one priority: the tenants that were given places in it, and the place given last to each.
"""

from dataclasses import dataclass, field

STEP = 1000
"""The distance between two jobs of a tenant of weight 1."""
NOBODY = ""
"""The tenant of the jobs that have none."""


@dataclass(slots=True)
class Standing:
    """A queue at one priority. `head` and `back` are the first and the last place in it, None when it is empty."""

    head: int | None
    back: int | None
    lasts: dict[str, int]
    weights: dict[str, float] = field(default_factory=dict[str, float])
    changed: bool = False

    def enter(self, tenant: str | None, number: int) -> int:
        """The place of one more job, whose place would be `number` if there were no tenants."""
        if self.head is None and self.lasts:
            self.lasts.clear()
            self.changed = True
        place = number if tenant is None and not self.lasts else self._fair(tenant or NOBODY, number)
        self.head = place if self.head is None else min(self.head, place)
        self.back = place if self.back is None else max(self.back, place)
        return place

    def _fair(self, tenant: str, number: int) -> int:
        if not self.lasts and self.back is not None:
            self.lasts[NOBODY] = self.back
        place = number if self.head is None else self.head
        last = self.lasts.get(tenant)
        if last is not None:
            place = max(place, last + max(1, round(STEP / self.weights.get(tenant, 1))))
        self.lasts[tenant] = place
        self.changed = True
        return place
