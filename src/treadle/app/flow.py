"""Flow control as a task declares it and one call may change it: limits, order, uniqueness, tenants."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import msgspec

from treadle.app.keys import By, Parameters, read_by
from treadle.app.limit import Limit, check_costs, check_limits
from treadle.app.unique import Unique, check_unique, idempotency
from treadle.model.errors import InvalidOption
from treadle.model.flow import Hold, Ordering
from treadle.model.job import NewJob
from treadle.model.kind import is_a


@dataclass(slots=True, frozen=True, init=False)
class Ordered:
    """Jobs whose `by` makes the same key run one at a time, in the order in which they became due, also over retries.

    `on_dead` says what becomes of the others when one of them dies: `"continue"`, or `"stop"` until its dead letter is
    replayed or resolved. Tasks that name the same `group` keep one order together; left out, a task's order is its own.
    Raises `InvalidOption`.
    """

    by: tuple[str, ...]
    on_dead: Literal["continue", "stop"]
    group: str | None

    def __init__(self, by: By, *, on_dead: Literal["continue", "stop"] = "continue", group: str | None = None) -> None:
        if on_dead not in ("continue", "stop"):
            raise InvalidOption(on_dead, "on_dead does not know this", 'Use "continue" or "stop".')
        if group is not None and not (is_a(group, str) and group.isprintable() and 0 < len(group.encode()) <= 200):
            raise InvalidOption(group, "a group is 1 to 200 bytes of printable text", 'Write for example group="ledger".')
        keep = object.__setattr__
        keep(self, "by", read_by("ordered_by", by))
        keep(self, "on_dead", on_dead)
        keep(self, "group", group)


def check_ordered(value: object) -> Ordered:
    """An order, written as parameters or as `Ordered(...)`. Raises `InvalidOption`."""
    if isinstance(value, Ordered):
        return value
    return Ordered(read_by("ordered_by", value))


def check_fair_by(value: object) -> tuple[str, ...]:
    """The parameters that name a tenant. Raises `InvalidOption`."""
    return read_by("fair_by", value)


@dataclass(slots=True, frozen=True, kw_only=True)
class Flow:
    """What holds back, orders and merges the jobs of one task."""

    parameters: Parameters
    limits: tuple[Limit, ...] = ()
    costs: Mapping[str, int] | None = None
    ordered: Ordered | None = None
    unique: Unique | None = None
    fair_by: tuple[str, ...] = ()
    idempotency_key: str | None = None

    def __post_init__(self) -> None:
        for limit in self.limits:
            self.parameters.check(f"limit {limit.name}", limit.by)
        for name in self.costs or ():
            if name not in {limit.name for limit in self.limits}:
                raise InvalidOption(name, "costs names a limit that this task does not have", "Name it in limits= too.")
        if self.ordered is not None:
            self.parameters.check("ordered_by", self.ordered.by)
        if self.unique is not None:
            self.parameters.check("unique", self.unique.by)
        self.parameters.check("fair_by", self.fair_by)

    @property
    def plain(self) -> bool:
        """True when its jobs need none of this."""
        return not (self.limits or self.ordered or self.unique or self.fair_by or self.idempotency_key)

    @property
    def gated(self) -> bool:
        """True when the claim of its jobs is their start, so that few may be claimed ahead of a free slot."""
        return bool(self.limits or self.ordered)

    def over(self, said: Mapping[str, Any]) -> "Flow":
        """This, with what was said for one call. Raises `InvalidOption`."""
        if not said:
            return self
        costs = self.costs
        if "limits" in said and costs is not None:
            costs = {limit.name: costs[limit.name] for limit in said["limits"] if limit.name in costs}
        return replace(self, **{"costs": costs, **said})

    def lay(self, job: NewJob) -> tuple[tuple[str, str], ...]:
        """Write onto a new job what the engine is to know; returns its limits and keys. Raises `InvalidOption`."""
        values: dict[str, Any] = msgspec.json.decode(job.args)
        parameters, costs = self.parameters, self.costs or {}
        if self.limits:
            job.holds = tuple(
                Hold(limit.name, self._key(f"limit {limit.name}", limit.by, values), costs.get(limit.name, 1))
                for limit in self.limits
            )
        if self.ordered is not None:
            key = self._key("ordered_by", self.ordered.by, values)
            job.ordering = Ordering(f"{self.ordered.group or parameters.task} {key}", self.ordered.on_dead == "stop")
        if self.unique is not None:
            job.unique = self.unique.key(parameters, values)
            if self.unique.wait is not None and job.delay is None and job.run_at is None:
                job.delay = self.unique.wait
        if self.idempotency_key is not None:
            job.idempotency = idempotency(parameters, self.idempotency_key, values)
        if self.fair_by:
            job.fair = self._key("fair_by", self.fair_by, values)
        return tuple((hold.limit, hold.key) for hold in job.holds)

    def _key(self, what: str, by: tuple[str, ...], values: Mapping[str, Any]) -> str:
        return self.parameters.key(what, by, values) if by else ""


FREE = Flow(parameters=Parameters("", ()))
"""The flow of a task that has none."""

READERS: dict[str, tuple[str, Any]] = {
    "limits": ("limits", check_limits),
    "costs": ("costs", check_costs),
    "ordered_by": ("ordered", check_ordered),
    "unique": ("unique", check_unique),
    "fair_by": ("fair_by", check_fair_by),
}
"""The words of a task, and of one call, that speak of flow: which field each becomes, and how it is read."""
