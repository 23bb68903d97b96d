"""Uniqueness, as a user says it: which calls count as the same, for how long, and what becomes of the second."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from treadle.app.keys import By, Parameters, read_by
from treadle.model import flow
from treadle.model.errors import InvalidDuration, InvalidOption
from treadle.model.kind import is_list
from treadle.model.state import LIVE, State
from treadle.policy.duration import Duration, seconds

OnConflict = Literal["return", "raise", "replace"]
_STATES = tuple(state for state in State if state in LIVE)
WAITING = tuple(state for state in _STATES if state is not State.RUNNING)
"""The states of a job that another may replace."""


@dataclass(slots=True, frozen=True, init=False)
class Unique:
    """At most one job for each value of `by`: a parameter or several of the task; left out, all its arguments together.

    A job counts while its state is one of `during` (unless said, until it has ended) and, with `within`, for so long after
    it was enqueued. While one counts, enqueueing another gives a handle of the first (`on_conflict="return"`), raises
    `DuplicateJob` (`"raise"`), or cancels the first and stores the other (`"replace"`; one that runs is never replaced, and
    its handle is given instead). Raises `InvalidOption` and `InvalidDuration`.
    """

    by: tuple[str, ...]
    during: tuple[State, ...]
    within: float | None
    on_conflict: OnConflict
    wait: float | None

    def __init__(
        self,
        by: By | None = None,
        *,
        during: Iterable[State | str] | None = None,
        within: Duration | None = None,
        on_conflict: OnConflict = "return",
        _wait: float | None = None,
    ) -> None:
        keep = object.__setattr__
        keep(self, "by", () if by is None else read_by("by", by))
        keep(self, "during", _STATES if during is None else _states(during))
        keep(self, "within", None if within is None else _some("within", within))
        if on_conflict not in ("return", "raise", "replace"):
            raise InvalidOption(on_conflict, "on_conflict does not know this", 'Use "return", "raise" or "replace".')
        keep(self, "on_conflict", on_conflict)
        keep(self, "wait", _wait)
        waiting = set(self.during) & set(WAITING)
        if self.during and not waiting and self.within is None and on_conflict == "replace":
            rule = "only a job that waits is replaced, and of such states during names none"
            raise InvalidOption(", ".join(self.during), rule, f"Name some of {', '.join(WAITING)}, or another on_conflict.")
        if not self.during and not self.within:
            raise InvalidOption("during=(), within=None", "no job would ever count", "Name states, or give within=.")

    def key(self, parameters: Parameters, values: Mapping[str, Any]) -> flow.Unique:
        """What the engine is asked for one call. Raises `InvalidOption` for a key that is too long."""
        text = parameters.key("unique", self.by, values) if self.by else parameters.digest(values)
        replace = flow.OnConflict.REPLACE if self.on_conflict == "replace" else flow.OnConflict.RETURN
        return flow.Unique(f"{parameters.task} {text}", self.during, self.within, replace)


def debounce(wait: Duration, *, by: By | None = None) -> Unique:
    """Run once when calls have ceased for `wait`: each call puts off the one that waits, and takes its place.

    `@app.task(unique=debounce("10s", by="document"))`. Calls that never cease put it off for ever. A delay said for one call
    replaces `wait`. Raises `InvalidDuration`.
    """
    return Unique(by, during=(State.SCHEDULED,), on_conflict="replace", _wait=_some("wait", wait))


def throttle(period: Duration, *, by: By | None = None) -> Unique:
    """Store at most one job in each `period`: the first call is taken, the others are given its handle.

    `@app.task(unique=throttle("1m", by="user"))`. The period begins with the call that was taken. Raises `InvalidDuration`.
    """
    return Unique(by, during=(), within=_some("period", period))


def _some(name: str, given: Duration) -> float:
    found = seconds(given)
    if not found:
        raise InvalidDuration(
            repr(given), f"a {name} of nothing would make no two calls one", f'Write for example {name}="10s".'
        )
    return found


def check_unique(value: object) -> Unique:
    """A rule of uniqueness. Raises `InvalidOption`."""
    if isinstance(value, Unique):
        return value
    raise InvalidOption(value, "this is not a rule of uniqueness", 'Write unique=Unique(by="order_id").')


def idempotency(parameters: Parameters, key: str, values: Mapping[str, Any]) -> flow.Idempotency:
    """What the engine is asked for a call that carries an idempotency key."""
    return flow.Idempotency(f"{parameters.task} {key}", parameters.digest(values), IDEMPOTENT_FOR)


IDEMPOTENT_FOR = 86_400.0
"""Seconds for which a request is known again by its idempotency key."""


def _states(given: Iterable[State | str]) -> tuple[State, ...]:
    if not is_list(given):
        raise InvalidOption(given, "during names states", 'Write during=("queued", "running").')
    try:
        return tuple(dict.fromkeys(State(each) for each in given))
    except ValueError as error:
        raise InvalidOption(str(error), "during names states", f"Use some of {', '.join(State)}.") from None
