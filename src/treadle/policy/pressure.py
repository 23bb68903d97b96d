"""Back-pressure: when a queue holds too much, and what is to become of what comes then. Pure: what was counted is handed in."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from treadle.model.errors import InvalidOption
from treadle.model.kind import is_whole
from treadle.policy.duration import Duration, seconds

Action = Literal["reject", "block", "shed", "signal"]
ACTIONS: tuple[Action, ...] = ("reject", "block", "shed", "signal")

_TIMEOUT = 30.0
"""Seconds, unless said."""


@dataclass(slots=True, frozen=True, init=False)
class Cap:
    """How much may wait in a queue: `depth` jobs (all that are stored and do not run), or `age`, the time that the job
    which waits longest has been due.

    `action` says what becomes of an enqueue beyond that. `"reject"` raises `QueueFull`; `"block"` waits for room, for
    `timeout` (30 s unless said) at most, and raises it then; `"shed"` stores the job and cancels the least urgent of those
    that wait, so that what is dropped can be seen; `"signal"` stores the job and tells: the log, and whatever listens on the
    app's `on_full`.
    Raises `InvalidOption` and `InvalidDuration`.
    """

    depth: int | None
    age: float | None
    action: Action
    timeout: float

    def __init__(
        self,
        depth: int | None = None,
        *,
        age: Duration | None = None,
        action: Action = "reject",
        timeout: Duration | None = None,
    ) -> None:
        if depth is not None and not is_whole(depth, 1, 1_000_000_000):
            raise InvalidOption(
                repr(depth), "a cap's depth is a whole number from 1 to 1,000,000,000", "To let nothing out, pause the queue."
            )
        if depth is None and age is None:
            raise InvalidOption(
                "Cap()", "a cap without a depth and an age caps nothing", 'Write Cap(10_000) or Cap(age="10m").'
            )
        if age is not None and not seconds(age):
            rule = "an age of nothing would refuse whatever comes while a job waits"
            raise InvalidOption(age, rule, 'Write for example age="10m".')
        if action not in ACTIONS:
            raise InvalidOption(action, "a cap does not know this action", f"Use one of {', '.join(ACTIONS)}.")
        if timeout is not None and action != "block":
            rule = f"timeout says how long an enqueue waits for room, and with {action} none does"
            raise InvalidOption(timeout, rule, 'Leave it out, or write action="block".')
        keep = object.__setattr__
        keep(self, "depth", depth)
        keep(self, "age", None if age is None else seconds(age))
        keep(self, "action", action)
        keep(self, "timeout", _TIMEOUT if timeout is None else seconds(timeout))

    def __str__(self) -> str:
        bounds = [f"{self.depth:,} jobs"] if self.depth is not None else []
        bounds += [f"{self.age:g} s old"] if self.age is not None else []
        return f"{' or '.join(bounds)}: {self.action}"


class Level(NamedTuple):
    """What waits in a queue: how many jobs, and how many seconds the first of those that could run has been due."""

    depth: int
    age: float


class Excess(NamedTuple):
    """How many of the jobs that come are too many, and why."""

    jobs: int
    why: str


def judge(cap: Cap, level: Level, coming: int) -> Excess | None:
    """Whether `coming` more jobs are too many; None when there is room for all."""
    if cap.age is not None and level.age > cap.age:
        return Excess(coming, f"its oldest job has been due for {level.age:.1f} s, and its cap is {cap.age:g} s")
    if cap.depth is not None and level.depth + coming > cap.depth:
        why = f"{level.depth:,} jobs wait there, {coming:,} more come, and its cap is {cap.depth:,}"
        return Excess(min(coming, level.depth + coming - cap.depth), why)
    return None
