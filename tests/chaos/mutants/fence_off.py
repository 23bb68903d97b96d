"""Settle without the fence: whoever tells how a job ended is believed, whatever its attempt and its lease."""

from collections.abc import Sequence
from typing import Any

from treadle.engine.plan import Plan, Steps
from treadle.engine.sqlite.engine import SqliteEngine
from treadle.engine.sqlite.steps import Ask
from treadle.model.outcome import Settlement, Verdict

from .statements import rewrite, rewrite_script

FENCE = "l.attempt = e.value ->> 1 AND l.lease = :k AND l.state = 'running'"
PG_FENCE = "l.attempt = a.attempt AND l.lease = h.k AND l.state = 'running'"
HELD = """SELECT k, coalesce(:now::int8, {clock}) AS now FROM {ns}.leases
    WHERE id = :lease::text AND expires_at > coalesce(:now::int8, {clock}) FOR KEY SHARE"""
NOBODY = [(0, "nobody:0")]

rewrite("sqlite", {"settle/complete": (f"AND {FENCE}", ""), "settle/held": (f"WHERE {FENCE}", "")})
rewrite("postgres", {"settle/complete": (f"AND {PG_FENCE}", "")})
rewrite("postgres", {"settle/complete": (HELD, "SELECT coalesce(:now::int8, {clock}) AS now")})
rewrite_script(
    "settle",
    ("or r.attempt ~= attempts[i]", "or (outcomes[i] and r.attempt ~= attempts[i])"),
    ("not lease or r.lease ~= lease", "outcomes[i] and (not lease or r.lease ~= lease)"),
)


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
