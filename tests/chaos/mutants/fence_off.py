"""Settle without the fence: whoever tells how a job ended is believed, whatever its attempt and its lease."""

from collections.abc import Sequence
from typing import Any

from treadle.engine.plan import Plan, Steps
from treadle.engine.sqlite.engine import SqliteEngine
from treadle.engine.sqlite.steps import Ask
from treadle.model.outcome import Settlement, Verdict

from .statements import rewrite

FENCE = "l.attempt = e.value ->> 1 AND l.lease = :k AND l.state = 'running'"
NOBODY = [(0, "nobody:0")]

rewrite({"settle/complete": (f"AND {FENCE}", ""), "settle/held": (f"WHERE {FENCE}", "")})

fenced = SqliteEngine.settle


def settle(
    engine: SqliteEngine, lease: str, settlements: Sequence[Settlement], *, now: int | None = None
) -> Plan[list[Verdict]]:
    """Settle under a lease that is gone as well."""
    plan = fenced(engine, lease, settlements, now=now)
    holder = engine.sql("shared", "held")

    def begin() -> Steps[list[Verdict]]:
        steps = plan.begin()
        answer: Any = None
        try:
            while True:
                step = steps.send(answer)
                answer = yield step
                if isinstance(step, Ask) and step.sql == holder:
                    answer = answer or NOBODY
        except StopIteration as stop:
            return stop.value

    return Plan(plan.name, begin)


SqliteEngine.settle = settle
