"""When a failed job may try again, and when it gives up. Pure: time and the random draw are handed in."""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeGuard, cast

from treadle.model.errors import InvalidOption, Misuse
from treadle.model.kind import is_list, is_number, is_whole
from treadle.model.outcome import Cause
from treadle.model.raised import GiveUp, Retry
from treadle.policy.duration import Duration, seconds

Jitter = Literal["full", "none"]
Errors = tuple[type[BaseException], ...]


@dataclass(slots=True, frozen=True, init=False, eq=True)
class Retries:
    """How often a job may fail, how long it waits in between, and which errors are worth another try.

    `Retries()` waits 1 s, 2 s, 4 s ... up to 10 min, each drawn between zero and that ("full" jitter), and gives up with
    the fifth failure. `Retries(["1m", "5m"])` waits exactly these and gives up with the failure after the last of them.
    `on` names the errors that are retried, `give_up_on` those that never are (it wins), and `within` the longest time
    between the first failure and the start of another try. Raises `InvalidOption` and `InvalidDuration`.
    """

    delays: tuple[float, ...] | None
    max_failures: int
    first: float
    factor: float
    cap: float
    jitter: Jitter
    on: Errors
    give_up_on: Errors
    within: float | None

    def __init__(
        self,
        delays: Sequence[Duration] | None = None,
        *,
        max_failures: int | None = None,
        first: Duration = 1.0,
        factor: float = 2.0,
        cap: Duration = 600.0,
        jitter: Jitter | None = None,
        on: Errors | type[BaseException] = (Exception,),
        give_up_on: Errors | type[BaseException] = (),
        within: Duration | None = None,
    ) -> None:
        listed = None if delays is None else _listed(delays)
        keep = object.__setattr__
        keep(self, "delays", listed)
        keep(self, "max_failures", _failures(max_failures, listed))
        keep(self, "first", seconds(first))
        keep(self, "factor", _factor(factor))
        keep(self, "cap", seconds(cap))
        keep(self, "jitter", _jitter(jitter, listed))
        keep(self, "on", _errors("on", on))
        keep(self, "give_up_on", _errors("give_up_on", give_up_on))
        keep(self, "within", None if within is None else seconds(within))

    def delay(self, failures_before: int, draw: float) -> float:
        """Seconds to wait after a failure that `failures_before` others preceded; `draw` is in [0, 1)."""
        if self.delays is not None:
            wait = self.delays[min(failures_before, len(self.delays) - 1)] if self.delays else 0.0
        else:
            wait = self._grown(failures_before)
        return wait * draw if self.jitter == "full" else wait

    def _grown(self, failures_before: int) -> float:
        try:
            return min(self.cap, self.first * self.factor**failures_before)
        except OverflowError:
            return self.cap


class Again(NamedTuple):
    """Try again in `delay` seconds."""

    delay: float


class Over(NamedTuple):
    """Give up: the cause and the reason that the dead letter will carry."""

    cause: Cause
    reason: str


def decide(
    retries: Retries,
    *,
    failures_before: int,
    since_first_failure: float | None,
    error: BaseException,
    draw: float,
    after: float | None = None,
    exhausted: Cause = Cause.FAILED,
) -> Again | Over:
    """Whether a job that failed with `error` tries again.

    `failures_before` and `since_first_failure` (seconds, None at the first failure) describe what went before, `after`
    (seconds) is a delay that the job itself asked for, `exhausted` the cause to name when the rule is used up
    (`TIMED_OUT` when this failure was a timeout), and `draw` a random number in [0, 1).
    """
    if isinstance(error, GiveUp):
        return Over(Cause.GAVE_UP, error.reason or "the job gave up")
    refusal = None if isinstance(error, Retry) else _unworthy(retries, error)
    if refusal is not None:
        return Over(Cause.GAVE_UP, refusal)
    failures = failures_before + 1
    if failures >= retries.max_failures:
        return Over(exhausted, f"failed {failures} of {retries.max_failures} times")
    wait = retries.delay(failures_before, draw) if after is None else after
    spent = since_first_failure or 0.0
    if retries.within is not None and spent + wait > retries.within:
        return Over(
            exhausted, f"the next try would start {spent + wait:g} s after the first failure, limit {retries.within:g} s"
        )
    return Again(wait)


def _unworthy(retries: Retries, error: BaseException) -> str | None:
    name = type(error).__name__
    if isinstance(error, Misuse):
        return "its code is wrong, and another attempt would do the same"
    if isinstance(error, retries.give_up_on):
        return f"{name} is listed in give_up_on"
    if not isinstance(error, retries.on):
        return f"{name} is not among the errors to retry on"
    return None


def _listed(delays: Sequence[Duration]) -> tuple[float, ...]:
    if not is_list(delays):
        cure = f"max_failures={delays}" if isinstance(delays, int) else f"[{delays!r}]"
        raise InvalidOption(repr(delays), "the delays must be a list", f"Write Retries({cure}).")
    return tuple(seconds(each) for each in delays)


def _failures(given: int | None, delays: tuple[float, ...] | None) -> int:
    if given is None:
        return 5 if delays is None else len(delays) + 1
    if delays is not None:
        raise InvalidOption(given, "max_failures follows from the list of delays", "Give the list or the number, not both.")
    if not is_whole(given, 1, sys.maxsize):
        raise InvalidOption(given, "max_failures must be a whole number, at least 1", "Use 1 (or NO_RETRY) for no second try.")
    return given


def _factor(given: float) -> float:
    if not is_number(given) or not 1.0 <= given <= 1000.0:
        raise InvalidOption(given, "factor must be a number from 1 to 1000", "2 doubles each delay, 1 keeps it.")
    return float(given)


def _jitter(given: Jitter | None, delays: tuple[float, ...] | None) -> Jitter:
    if given is None:
        return "full" if delays is None else "none"
    if given not in ("full", "none"):
        raise InvalidOption(given, 'jitter must be "full" or "none"', "Leave it out for the default.")
    return given


def _errors(name: str, given: Errors | type[BaseException]) -> Errors:
    # A text is many letters and a number is no list: both are named as what was given.
    found: list[type[BaseException]] = []
    listed = tuple(cast("Iterable[object]", given)) if is_list(given) and not isinstance(given, type) else (given,)
    for each in listed:
        if not _is_error(each):
            raise InvalidOption(repr(each), f"{name} must hold exception classes", f"Write {name}=(ValueError, OSError).")
        found.append(each)
    return tuple(found)


def _is_error(value: object) -> TypeGuard[type[BaseException]]:
    return isinstance(value, type) and issubclass(value, BaseException)


NO_RETRY = Retries(max_failures=1)
"""The first failure is the last."""
