"""What a plan of this engine may ask of its session: rows, a change, the time. Values, with no driver behind them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from treadle.engine.session import Wake
from treadle.model.job import Micros

Values = Mapping[str, Any] | Sequence[Any]


class Ask(NamedTuple):
    """Run a statement and answer its rows, as a list of tuples."""

    sql: str
    values: Values = ()


class Do(NamedTuple):
    """Run a statement without rows and answer how many rows it changed."""

    sql: str
    values: Values = ()


class Clock(NamedTuple):
    """Answer the `Instant` of this plan; `now` overrides the wall clock."""

    now: Micros | None


class Instant(NamedTuple):
    """One moment on two clocks: the wall, and the machine's own time since it started (`up`, within `boot`).

    Leases are timed by the second, which neither a clock step nor a suspended machine can move. When the wall time was
    handed in (`given`), leases are timed by the wall as well.
    """

    wall: Micros
    boot: str
    up: Micros
    given: bool


Step = Ask | Do | Clock | Wake
