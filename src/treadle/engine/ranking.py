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
    """A queue at one priority. `head` and `back` are the first and the last place in it, None when it is empty.

    `shared` says whether tenants share it; `lasts` needs to hold those only that enter. `emptied`: what was given to
    tenants before counts no more.
    """

    head: int | None
    back: int | None
    lasts: dict[str, int]
    shared: bool
    weights: dict[str, float] = field(default_factory=dict[str, float])
    emptied: bool = False

    def enter(self, tenant: str | None, number: int) -> int:
        """The place of one more job, whose place would be `number` if there were no tenants."""
        if self.head is None and self.shared:
            self.lasts.clear()
            self.shared, self.emptied = False, True
        place = number if tenant is None and not self.shared else self._fair(tenant or NOBODY, number)
        self.head = place if self.head is None else min(self.head, place)
        self.back = place if self.back is None else max(self.back, place)
        return place

    def _fair(self, tenant: str, number: int) -> int:
        if not self.shared and self.back is not None:
            self.lasts[NOBODY] = self.back
        self.shared = True
        place = number if self.head is None else self.head
        last = self.lasts.get(tenant)
        if last is not None:
            place = max(place, last + max(1, round(STEP / self.weights.get(tenant, 1))))
        self.lasts[tenant] = place
        return place
