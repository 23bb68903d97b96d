"""Plans: what a verb does, as a value with no I/O inside.

A plan is a name and a way to begin again. Beginning it gives a generator that yields steps (each engine has its own kind
of step, understood by its own sessions), receives each step's rows, and returns the verb's answer. `drive` and `adrive`
are the only place where the synchronous and the asynchronous world differ. Because a plan can begin again, a session can
retry it after a serialisation failure, time it, or break it on purpose in a test.
"""

from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from functools import cache, partial, wraps
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

R = TypeVar("R")
P = ParamSpec("P")
E = TypeVar("E")

Steps = Generator[Any, Any, R]

READS = frozenset({"find", "count", "read", "leases", "held", "gates"})
"""The verbs that change nothing. A plan that is put together from these alone bears their names, and changes nothing either."""


@dataclass(slots=True, frozen=True)
class Plan(Generic[R]):
    """A named unit of work that happens whole or not at all.

    `parts` are the plans that `together` put into it: a session may send them off side by side.
    """

    name: str
    begin: Callable[[], Steps[R]]
    parts: "tuple[Plan[Any], ...]" = ()


def plan(verb: Callable[Concatenate[E, P], Steps[R]]) -> Callable[Concatenate[E, P], Plan[R]]:
    """Turn a generator method into one that returns a plan named after it."""

    @wraps(verb)
    def planned(engine: E, /, *args: P.args, **kwargs: P.kwargs) -> Plan[R]:
        return Plan(verb.__name__, lambda: verb(engine, *args, **kwargs))

    return planned


def together(*plans: Plan[Any]) -> Plan[tuple[Any, ...]]:
    """One plan that does several in order, in one transaction and one exchange where the engine can."""

    return Plan("+".join([each.name for each in plans]), partial(_in_order, plans), plans)


def _in_order(plans: tuple[Plan[Any], ...]) -> Steps[tuple[Any, ...]]:
    answers: list[Any] = []
    for each in plans:
        answers.append((yield from each.begin()))
    return tuple(answers)


@cache
def only_reads(name: str) -> bool:
    """Whether the plan of this name changes nothing."""
    return READS.issuperset(name.split("+"))


def drive(plan: Plan[R], send: Callable[[Any], Any]) -> R:
    """Run a plan to its answer, sending each step through `send`."""
    steps = plan.begin()
    try:
        step = next(steps)
        while True:
            step = steps.send(send(step))
    except StopIteration as stop:
        answer: R = stop.value
        return answer
    finally:
        steps.close()


async def adrive(plan: Plan[R], send: Callable[[Any], Awaitable[Any]]) -> R:
    """Run a plan to its answer, awaiting each step."""
    steps = plan.begin()
    try:
        step = next(steps)
        while True:
            step = steps.send(await send(step))
    except StopIteration as stop:
        answer: R = stop.value
        return answer
    finally:
        steps.close()
