"""A limit as code declares it: how often and how many at once, for each key that the task's parameters make."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

from treadle.app.keys import By, read_by
from treadle.model.errors import InvalidOption
from treadle.model.flow import RATE_CAP, Rule
from treadle.model.job import micros
from treadle.model.kind import is_a, is_list, is_whole
from treadle.policy.breaker import Breaker
from treadle.policy.rate import Rate, read_rate

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,99}", re.ASCII)
MOST = 1_000_000_000
LIMITS_OF_A_JOB = 8


class LimitWords(TypedDict, total=False):
    """What a user may write in `app.limit(...)`."""

    rate: str | None
    burst: int
    strict: bool
    concurrency: int | None
    by: By | None
    breaker: Breaker | None


@dataclass(slots=True, frozen=True)
class Limit:
    """A named limit, to be handed to tasks: `@app.task(limits=[stripe])`. Made by `app.limit`.

    `by` names the parameters whose values make the key, empty for one key that all jobs share.
    """

    name: str
    rate: Rate | None = None
    burst: int = 1
    strict: bool = False
    concurrency: int | None = None
    by: tuple[str, ...] = ()
    breaker: Breaker | None = None

    def rule(self) -> Rule:
        """What the engine is told of it."""
        return Rule(
            rate=None if self.rate is None else self.rate.starts,
            period=None if self.rate is None else micros(self.rate.period),
            burst=self.burst,
            strict=self.strict,
            concurrency=self.concurrency,
            probes=1 if self.breaker is None else self.breaker.probes,
        )


def make_limit(name: str, words: Mapping[str, Any]) -> Limit:
    """A limit from what was written. Raises `InvalidOption`."""
    unknown = words.keys() - LimitWords.__annotations__.keys()
    if unknown:
        raise InvalidOption(
            min(unknown), "a limit has no such setting", f"Use one of: {', '.join(LimitWords.__annotations__)}."
        )
    given = {word: value for word, value in words.items() if value is not None}
    rate = read_rate(given["rate"]) if "rate" in given else None
    if rate is None and "concurrency" not in given and "breaker" not in given:
        raise InvalidOption(name, "this limit limits nothing", 'Give rate="100/min", concurrency=8 or breaker=Breaker().')
    if rate is None and ("burst" in given or "strict" in given):
        raise InvalidOption(name, "burst and strict speak of a rate", 'Give rate="100/min" too, or leave them out.')
    if rate is not None and rate.starts > RATE_CAP * rate.period:
        raise InvalidOption(rate, f"a rate is {RATE_CAP:,} a second at most", "Leave it out: faster than that is no limit.")
    strict = given.get("strict", False)
    if not isinstance(strict, bool):
        raise InvalidOption(strict, "strict is True or False", "Correct the value.")
    if strict and "burst" in given:
        raise InvalidOption(name, "a strict limit has no burst: its whole rate may come at once", "Leave burst out.")
    if not is_a(given.get("breaker", Breaker()), Breaker):
        raise InvalidOption(given["breaker"], "this is not a breaker", "Write breaker=Breaker(failures=5).")
    return Limit(
        check_limit_name(name),
        rate,
        check_count("burst", given.get("burst", 1)),
        strict,
        check_count("concurrency", given["concurrency"]) if "concurrency" in given else None,
        read_by("by", given["by"]) if "by" in given else (),
        given.get("breaker"),
    )


def check_limits(value: object) -> tuple[Limit, ...]:
    """The limits of a task or a call, at most eight, each once. Raises `InvalidOption`."""
    if not is_list(value):
        raise InvalidOption(value, "limits is a list of limits", 'Write limits=[app.limit("stripe", rate="100/min")].')
    found: tuple[Any, ...] = tuple(value)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportUnknownVariableType]
    for each in found:
        if not isinstance(each, Limit):
            raise InvalidOption(each, "this is not a limit", 'Declare it first: stripe = app.limit("stripe", rate="100/min").')
    if len({each.name for each in found}) < len(found):
        raise InvalidOption("limits", "one limit is named twice", "Name each once; costs= says how much a job takes of it.")
    if len(found) > LIMITS_OF_A_JOB:
        raise InvalidOption(f"{len(found)} limits", f"a job has at most {LIMITS_OF_A_JOB}", "Put some of them together.")
    return found


def check_costs(value: object) -> Mapping[str, int]:
    """What a job costs, by the name of a limit. Raises `InvalidOption`."""
    if not isinstance(value, Mapping):
        raise InvalidOption(value, "costs says how much of which limit", 'Write costs={"stripe": 5}.')
    costs: Mapping[Any, Any] = value  # pyright: ignore[reportUnknownVariableType]
    return {check_limit_name(name): check_count("a cost", cost) for name, cost in costs.items()}


def check_limit_name(name: object) -> str:
    """A limit's name. Raises `InvalidOption`."""
    if isinstance(name, str) and _NAME.fullmatch(name):
        return name
    raise InvalidOption(name, "this is not a limit's name", "Use 1 to 100 letters, digits, dots, dashes and underscores.")


def check_count(what: str, value: object) -> int:
    """A whole number from 1 to `MOST`. Raises `InvalidOption`."""
    if not is_whole(value, 1, MOST):
        raise InvalidOption(repr(value), f"{what} is a whole number from 1 to {MOST:,}", "Correct the number.")
    assert isinstance(value, int)
    return value
