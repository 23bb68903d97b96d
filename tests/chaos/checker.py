"""Decides whether treadle kept its promises in one run. A pure function: files in, findings out.

What ran is read only from what the bodies wrote, what was promised only from the log of acknowledged enqueues. The store's
own account is the statement of the accused: it is held against both.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from operator import itemgetter
from typing import Any

from .history import Body, Entry, Fault, History, Try

FINAL = {"completed", "dead", "cancelled", "expired"}
CRASHES = ("rescued", "crashed")
AGAIN = (*CRASHES, "retrying", "snoozed")
HANDED_BACK = ("released",)
BUDGET = 3
"""Crashes after which a job is dead."""

AFTER_LEASE = 5.0
AFTER_REAPING = 1.0
"""The promise: claimable again within the lease and 5 s, or within 1 s of the crash when its supervisor lives."""

AFTERMATH = 2.0
"""Seconds after an outage in which a lease may still run out because of it: who could not renew tries again with pauses."""

CLOCKS = 0.05
"""Seconds by which two lines of one machine may stand in the wrong order: they are stamped before they are written."""


@dataclass
class Report:
    """What was found: broken promises by name, with a line for each case, and figures that break nothing."""

    broken: dict[str, list[str]] = field(default_factory=lambda: defaultdict[str, list[str]](list))
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return not any(self.broken.values())


class Case:
    """A history with the indexes that several promises look things up in."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.entries = {entry.job: entry for entry in history.ledger}
        self.starts: dict[str, list[Body]] = defaultdict(list)
        self.ends: dict[str, list[Body]] = defaultdict(list)
        for body in history.bodies:
            if body.event != "broke":
                (self.starts if body.event == "start" else self.ends)[body.job].append(body)

    def ended(self, job: str, attempt: int | None) -> bool:
        """Whether the body of this very attempt wrote that it was done."""
        return any(end.attempt == attempt for end in self.ends[job])

    def witnesses(self, crash: Try) -> list[Fault]:
        """The faults that hit the worker of an attempt while it held the job; an outage of the store hits every worker."""
        return [
            fault
            for fault in self.history.faults
            if fault in self.outages(crash.started, crash.ended)
            or (
                crash.worker in fault.workers
                and crash.started - CLOCKS <= fault.t <= crash.ended + CLOCKS
                and (fault.act == "kill" or crash.outcome == "rescued")
            )
        ]

    def outages(self, since: float, until: float) -> list[Fault]:
        """The outages of the store, with their aftermath, that fall into a span of time."""
        return [
            fault
            for fault in self.history.faults
            if fault.act == "outage" and fault.t <= until + CLOCKS and (fault.until or fault.t) + AFTERMATH >= since
        ]


Findings = Iterator[str]


def lost(case: Case) -> Findings:
    """An acknowledged job that did not end well and whose end is not explained."""
    for job in case.history.acknowledged:
        entry = case.entries.get(job)
        if entry is None:
            yield f"{job}: acknowledged, and not in the store"
        elif entry.state not in FINAL:
            yield f"{job}: still {entry.state} after the drain"
        elif entry.state == "completed" and not case.ended(job, entry.result_attempt):
            yield f"{job}: completed by attempt {entry.result_attempt}, whose body never wrote its end"
        elif entry.state == "dead" and not explained(entry):
            yield f"{job}: dead ({entry.cause}) without the attempts that would explain it"
        elif entry.state in ("cancelled", "expired"):
            yield f"{job}: {entry.state}, though nobody asked for that"


def explained(entry: Entry) -> bool:
    """Whether the recorded attempts of a dead job show why it died."""
    if entry.cause == "worker_lost":
        return len(entry.recorded(*CRASHES)) >= BUDGET
    return entry.attempt in entry.recorded("died")


def invented(case: Case) -> Findings:
    """A job that nobody ever tried to enqueue."""
    for job in sorted({*case.entries, *case.starts} - case.history.offered):
        yield f"{job}: never enqueued"


def stale(case: Case) -> Findings:
    """A result taken from an attempt that had been superseded."""
    for entry in case.history.ledger:
        if entry.state != "completed":
            continue
        if entry.result_attempt != entry.attempt:
            yield f"{entry.job}: attempt {entry.attempt} owned it, the result is of attempt {entry.result_attempt}"
        elif entry.attempt in entry.recorded(*CRASHES, *AGAIN, *HANDED_BACK, "died"):
            yield f"{entry.job}: attempt {entry.attempt} is recorded as ended otherwise, and completed it"


def started_twice(case: Case) -> Findings:
    """A body that started again though the attempt before is not recorded as rescued, retried or handed back."""
    for job, starts in case.starts.items():
        for attempt, count in Counter(start.attempt for start in starts).items():
            if count > 1:
                yield f"{job}: attempt {attempt} started {count} times"
        recorded = case.entries[job].recorded(*AGAIN, *HANDED_BACK) if job in case.entries else set()
        for attempt in sorted({start.attempt for start in starts})[:-1]:
            if attempt not in recorded:
                yield f"{job}: started again after attempt {attempt}, of which nothing is recorded"


def double_lease(case: Case) -> Findings:
    """An attempt that was claimed before the one before it had ended: two leases on one job, by the store's own clock."""
    for entry in case.history.ledger:
        spans = [(each.started, each.ended) for each in sorted(entry.tries)]
        if entry.state == "completed" and entry.claimed is not None:
            spans.append((entry.claimed, entry.claimed))
        for (_, ended), (started, _) in pairwise(spans):
            if started < ended:
                yield f"{entry.job}: claimed {ended - started:.3f} s before the attempt before had ended"


def untouched(case: Case) -> Findings:
    """Where nothing was done to the fleet, nothing may have happened to a job that its own body did not ask for."""
    if case.history.faults:
        return
    for entry in case.history.ledger:
        for each in entry.tries:
            if each.outcome in (*CRASHES, *HANDED_BACK):
                yield f"{entry.job}: attempt {each.attempt} {each.outcome} ({each.exit}), without any fault"


def one_end(case: Case) -> Findings:
    """Each job stands in the store once, in a final state, and each attempt before its last has exactly one record."""
    for job, count in Counter(entry.job for entry in case.history.ledger).items():
        if count > 1:
            yield f"{job}: listed {count} times"
    for entry in case.history.ledger:
        tries = [each.attempt for each in entry.tries]
        told = list(range(1, entry.attempt + (0 if entry.state == "completed" else 1)))
        if sorted(tries) != told and entry.state in FINAL:
            yield f"{entry.job}: {entry.state} at attempt {entry.attempt}, records of attempts {sorted(tries)}"


def unwitnessed(case: Case) -> Findings:
    """A job dead because its workers died, without as many crashes that somebody else saw."""
    for entry in case.history.ledger:
        if entry.cause != "worker_lost":
            continue
        crashes = [each for each in entry.tries if each.outcome in CRASHES]
        seen = [each for each in crashes if case.witnesses(each)]
        if len(seen) < BUDGET:
            missing = [(each.attempt, each.outcome, each.exit, each.worker) for each in crashes if each not in seen]
            yield f"{entry.job}: worker_lost with {len(seen)} witnessed crashes; nobody saw {missing}"


def miscounted(case: Case) -> Findings:
    """Enqueued = the sum over states, and the sum is what can be listed."""
    total = sum(case.history.counts.values())
    if total != len(case.entries):
        yield f"the states add up to {total}, {len(case.entries)} jobs are listed"
    listed = Counter(entry.state for entry in case.history.ledger)
    if {state: count for state, count in case.history.counts.items() if count} != dict(listed):
        yield f"counted {case.history.counts}, listed {dict(listed)}"


PROMISES: tuple[Callable[[Case], Findings], ...] = (
    lost,
    invented,
    stale,
    started_twice,
    double_lease,
    untouched,
    one_end,
    unwitnessed,
    miscounted,
)


def check(history: History, *, allowance: float | None = 0.0) -> Report:
    """Hold a run against every promise. `allowance` is seconds added to the bounds on recovery; None only reports them."""
    case = Case(history)
    report = Report()
    for promise in PROMISES:
        report.broken[promise.__name__] = sorted(promise(case))
    recovered = recoveries(case)
    if allowance is not None:
        report.broken["slow_recovery"] = slow(recovered, history.lease, allowance)
    report.figures = figures(case) | {f"recovery_{kind}": spread(took) for kind, took in recovered.items()}
    return report


def recoveries(case: Case) -> dict[str, list[float]]:
    """Seconds from each fault until all that it hit was claimable again, by whether somebody watched over the victim.

    Nothing is taken back in a store that is away: where it was, the seconds count from its return.
    """
    slowest: dict[Fault, tuple[str, float]] = {}
    for entry in case.history.ledger:
        for crash in entry.tries:
            if crash.outcome not in CRASHES:
                continue
            for fault in case.witnesses(crash)[-1:]:
                away = case.outages(fault.t, crash.ended)
                since = max(fault.t, *(min(each.until or each.t, crash.ended) for each in away)) if away else fault.t
                took = crash.ended + crash.delay - since
                kind = "outage" if away else kind_of(fault)
                slowest[fault] = max(slowest.get(fault, (kind, 0.0)), (kind, took), key=itemgetter(1))
    found: dict[str, list[float]] = {"supervised": [], "unsupervised": [], "frozen": [], "outage": []}
    for kind, took in slowest.values():
        found[kind].append(took)
    return found


def kind_of(fault: Fault) -> str:
    """Which bound on recovery holds for a fault while the store is there."""
    return "frozen" if fault.act == "freeze" else "supervised" if fault.supervised else "unsupervised"


def slow(recovered: dict[str, list[float]], lease: float, allowance: float) -> list[str]:
    """Recoveries beyond their bound."""
    return [
        f"{kind}: {took:.2f} s, the bound is {bound:g} s and {allowance:g} s allowed"
        for kind, taken in recovered.items()
        for took in taken
        if took > (bound := AFTER_REAPING if kind == "supervised" else lease + AFTER_LEASE) + allowance
    ]


def spread(values: list[float]) -> dict[str, float | int]:
    """How many there were, the median and the largest."""
    if not values:
        return {"count": 0}
    ranked = sorted(values)
    return {"count": len(ranked), "p50": round(ranked[(len(ranked) - 1) // 2], 3), "p100": round(ranked[-1], 3)}


def figures(case: Case) -> dict[str, Any]:
    """What happened, for the reader."""
    history = case.history
    rescued = {(entry.job, attempt): entry for entry in history.ledger for attempt in entry.recorded(*CRASHES)}
    taken = {(entry.job, each.attempt): each for entry in history.ledger for each in entry.tries}
    late = [
        end
        for ends in case.ends.values()
        for end in ends
        if (end.job, end.attempt) in rescued and end.t > taken[(end.job, end.attempt)].ended
    ]
    return {
        "acknowledged": len(history.acknowledged),
        "states": dict(sorted(history.counts.items())),
        "kills": dict(sorted(Counter(fault.what for fault in history.faults if fault.act == "kill").items())),
        "outages": dict(sorted(Counter(fault.what for fault in history.faults if fault.act == "outage").items())),
        "freezes": sum(fault.act == "freeze" and (fault.until or 0.0) - fault.t > history.lease for fault in history.faults),
        "bodies_started": sum(len(starts) for starts in case.starts.values()),
        "bodies_ended": sum(len(ends) for ends in case.ends.values()),
        "started_again": sum(len(starts) - 1 for starts in case.starts.values() if starts),
        "overlaps": overlaps(case),
        "late_results_refused": sum(case.entries[end.job].result_attempt != end.attempt for end in late),
        "attempts": dict(sorted(Counter(each.outcome for entry in history.ledger for each in entry.tries).items())),
        "dead": dict(sorted(Counter(entry.cause or "" for entry in history.ledger if entry.state == "dead").items())),
        "crashes_without_a_fault": sum(
            not case.witnesses(each) for entry in history.ledger for each in entry.tries if each.outcome in CRASHES
        ),
    }


def overlaps(case: Case) -> int:
    """How often two bodies of one job ran at once: a frozen or orphaned body that did not know it had lost its lease."""
    found = 0
    for job, starts in case.starts.items():
        ends = {end.attempt: end.t for end in case.ends[job]}
        ranked = sorted(starts, key=lambda start: start.t)
        found += sum(ends.get(before.attempt, 0.0) > after.t for before, after in pairwise(ranked))
    return found
