"""From the runs in a result to what is shown: one value for each queue and metric, and treadle's ratio to each rival."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]
"""One queue's row of a result, as the JSON file has it."""

OWN = "treadle"


@dataclass(frozen=True)
class Metric:
    """One figure that is shown: a field of a measure's figures."""

    name: str
    title: str
    measure: str
    field: str
    unit: str
    more_is_better: bool = True
    percent: int | None = None
    """The field is a list of microseconds, and this percentile of all rounds' together is meant, in milliseconds."""

    def rounds(self, row: Row) -> list[float]:
        """One value for each round that did not fail; of a percentile, one for all of them."""
        runs = row["figures"].get(self.measure, [])
        if self.percent is None:
            return [float(run[self.field]) for run in runs]
        samples = sorted(sample for run in runs for sample in run[self.field])
        return [_percentile(samples, self.percent) / 1e3] if samples else []

    def value(self, row: Row) -> float | None:
        """The median of the rounds; None when nothing was measured."""
        found = self.rounds(row)
        return statistics.median(found) if found else None

    def ratio(self, own: Row, rival: Row) -> float | None:
        """How many times better treadle is: the median over the rounds, each held against the same round of the rival."""
        pairs = list(zip(self.rounds(own), self.rounds(rival), strict=False))
        if not pairs:
            return None
        return statistics.median(mine / theirs if self.more_is_better else theirs / mine for mine, theirs in pairs)


def _percentile(ordered: Sequence[float], percent: int) -> float:
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


_SPEED = (
    Metric("enqueue", "enqueue, one at a time", "enqueue", "rate", "jobs/s"),
    Metric("bulk", "enqueue, 1,000 a call", "bulk", "rate", "jobs/s"),
    Metric("drain1", "drain, 1 worker", "drain1", "rate", "jobs/s"),
    Metric("settled", "the same, until settled", "drain1", "settled_rate", "jobs/s"),
    Metric("drain2", "drain, 2 workers", "drain2", "rate", "jobs/s"),
    Metric("nap", "waiting jobs", "nap", "seconds", "s", more_is_better=False),
)
_LIGHTNESS = (
    Metric("p50", "start, p50", "latency", "microseconds", "ms", more_is_better=False, percent=50),
    Metric("p95", "start, p95", "latency", "microseconds", "ms", more_is_better=False, percent=95),
    Metric("p99", "start, p99", "latency", "microseconds", "ms", more_is_better=False, percent=99),
    Metric("idle", "memory, idle", "latency", "idle_memory_mb", "MB", more_is_better=False),
    Metric("memory", "memory, after a drain", "drain1", "memory_mb", "MB", more_is_better=False),
    Metric("import", "import", "imports", "ms", "ms", more_is_better=False),
)
_DEPTH = (
    Metric("backlog", "drain, deep backlog", "backlog", "rate", "jobs/s"),
    Metric("snapshot", "drain, snapshot held", "snapshot", "last_tenth_rate", "jobs/s"),
)
GROUPS: dict[str, tuple[Metric, ...]] = {"speed": _SPEED, "lightness": _LIGHTNESS, "depth": _DEPTH}
METRICS = {metric.name: metric for group in GROUPS.values() for metric in group}


def plain(value: float) -> str:
    """A figure with as many digits as it is worth."""
    if value >= 999.5:
        return f"{round(value, -1):,.0f}" if value >= 10_000 else f"{value:,.0f}"
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
