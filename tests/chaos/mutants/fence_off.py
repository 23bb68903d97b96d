"""Settle without the fence: whoever says that a job is completed is believed, whatever its attempt and its lease."""

from typing import Any

from treadle.engine.sqlite.working import Working

from .statements import rewrite

FENCE = "l.n = e.value ->> 0 AND l.attempt = e.value ->> 1 AND l.lease = :k AND l.state = 'running'"
NOBODY = (0, "nobody:0")

rewrite({"settle/complete": (FENCE, "l.n = e.value ->> 0")})

fenced = Working._complete


def unfenced(engine: Working, holder: Any, *rest: Any) -> Any:
    """Complete under a lease that is gone as well."""
    return fenced(engine, holder or NOBODY, *rest)


Working._complete = unfenced
