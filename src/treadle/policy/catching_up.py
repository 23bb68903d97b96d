"""What to do about slots that have come: fire them, or let them go and say so.

Slots are seen a moment after they have come, or long after it when nobody was there to see them. Up to `ON_TIME` late a
slot is fired like any other; beyond that it is *missed*, and the schedule's word on catching up decides.
"""

from dataclasses import dataclass
from enum import StrEnum
from itertools import islice, takewhile
from typing import NamedTuple

from treadle.model.job import Micros
from treadle.policy.slots import Rule

ON_TIME: Micros = 60_000_000
"""How late a slot may be seen and still be on time."""

AT_ONCE = 100
"""How many slots one decision fires at most; the next one goes on from there."""

COUNTED = 10_000
"""How many slots beyond the window are counted; of more, so many are reported."""


class CatchUp(StrEnum):
    """What becomes of missed slots: the latest of them is fired, none is, or all are."""

    ONCE = "once"
    SKIP = "skip"
    ALL = "all"


class Overlap(StrEnum):
    """What becomes of a slot whose predecessor's job has not ended: dropped, queued behind it if none is, or enqueued."""

    SKIP = "skip"
    QUEUE_ONE = "queue_one"
    ALLOW = "allow"


class Passed(NamedTuple):
    """Slots that are not fired: the first, the last, how many, and why."""

    first: Micros
    last: Micros
    number: int
    why: str


@dataclass(slots=True, frozen=True)
class Decision:
    """The slots to fire, oldest first, those to let go, and the slot up to which all is decided."""

    fire: tuple[Micros, ...]
    passed: tuple[Passed, ...]
    through: Micros


def decide(rule: Rule, through: Micros, now: Micros, catch_up: CatchUp, window: Micros) -> Decision | None:
    """What to do about the slots after `through` that have come by `now`; None when none has.

    Missed slots are caught up only when they came within `window`.
    """
    oldest = now - max(window, ON_TIME)
    passed: list[Passed] = []
    if through < oldest:
        beyond = list(islice(takewhile(lambda slot: slot < oldest, rule.after(through)), COUNTED))
        if beyond:
            passed.append(Passed(beyond[0], beyond[-1], len(beyond), "missed: older than the window"))
    due = takewhile(lambda slot: slot <= now, rule.after(max(through, oldest - 1)))
    if catch_up is CatchUp.ALL:
        fire = tuple(islice(due, AT_ONCE))
    else:
        fire, missed = _recent(list(due), now, catch_up)
        if missed is not None:
            passed.append(missed)
    if not fire and not passed:
        return None
    return Decision(fire, tuple(passed), max(fire[-1:] + tuple(each.last for each in passed)))


def _recent(due: list[Micros], now: Micros, catch_up: CatchUp) -> tuple[tuple[Micros, ...], Passed | None]:
    """Those on time, or else the latest if it is to be caught up; and what is missed."""
    fire = [slot for slot in due if now - slot <= ON_TIME]
    if not fire and catch_up is CatchUp.ONCE:
        fire = due[-1:]
    missed = due[: len(due) - len(fire)]
    why = "missed: a later slot stands for it" if catch_up is CatchUp.ONCE else "missed"
    return tuple(fire), Passed(missed[0], missed[-1], len(missed), why) if missed else None
