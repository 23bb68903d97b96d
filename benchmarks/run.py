"""`make bench`: treadle beside a bare loop, in one run, interleaved, medians of five.

    python -m benchmarks.run [--engine sqlite|postgres|redis] [--n 50000] [--seed 0] [--out FILE] [--rounds 5] [--quick]

Everything runs on this machine in a temporary directory and stops by itself. The figures are printed as a table and, with
`--out`, written as JSON together with the machine they were taken on. Machines drift: compare ratios of one run, not rates.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks import claims, latency, producing
from benchmarks.sites import SITES, Site

LATENCIES = 200
WAITING = 1_000_000


class Bench:
    """One run: its site, its sizes, and the figures so far."""

    def __init__(self, n: int, rounds: int, folder: Path, site: Site) -> None:
        self.n = n
        self.rounds = rounds
        self.folder = folder
        self.site = site
        self.figures: dict[str, dict[str, float]] = {}

    def url(self, setting: str) -> str:
        """The URL of an empty store."""
        return self.site.url(self.site.fresh(setting), setting)

    def bare(self, what: str, setting: str, n: int) -> str:
        """What the bare loop prints."""
        return child(self.site.bare, what, self.site.fresh(setting), setting, str(n))

    def note(self, setting: str, name: str, values: list[float]) -> float:
        """Keep and print the median of some runs."""
        value = statistics.median(values)
        self.figures.setdefault(setting, {})[name] = value
        shown = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
        print(f"  {name:<46} {shown:>12}   ({min(values):,.4g} to {max(values):,.4g}, {len(values)} runs)", flush=True)
        return value


def note(name: str, values: list[float]) -> None:
    """Print a figure's median, and between what it lay."""
    value = statistics.median(values)
    shown = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    print(f"  {name:<56} {shown:>10}   ({min(values):,.4g} to {max(values):,.4g})", flush=True)


def child(*argv: str, env: dict[str, str] | None = None) -> str:
    """Run a measuring process to its end and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", *argv],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **(env or {})},
        timeout=600,
    )
    return done.stdout.strip().splitlines()[-1]


def drain(bench: Bench, setting: str, task: str, n: int, mode: str = "drain") -> dict[str, float]:
    """Fill an empty store and let one worker process drain it."""
    place = bench.site.fresh(setting)
    url = bench.site.url(place, setting)
    producing.fill(url, task, n)
    figures: dict[str, float] = json.loads(child("benchmarks.worker", mode, env={"BENCH_URL": url, "BENCH_GOAL": str(n)}))
    bench.site.clear(place)
    return figures


def drains(bench: Bench, setting: str) -> None:
    bare: list[float] = []
    ours: dict[str, list[dict[str, float]]] = {"no_op": [], "no_op_thread": []}
    for _ in range(bench.rounds):
        bare.append(float(bench.bare("drain", setting, bench.n)))
        for task, runs in ours.items():
            runs.append(drain(bench, setting, task, bench.n))
    bench.note(setting, "drain, bare loop (jobs/s)", bare)
    for task, runs in ours.items():
        kind = "threads" if task.endswith("thread") else "async"
        bench.note(setting, f"drain, {kind} (jobs/s)", [run["rate"] for run in runs])
        bench.note(setting, f"drain, {kind}, share of bare", [run["rate"] / base for run, base in zip(runs, bare, strict=True)])
        bench.note(setting, f"worker CPU, {kind} (us/job)", [run["cpu_us"] for run in runs])
        bench.note(setting, f"memory after the drain, {kind} (MB)", [run["rss_mb"] for run in runs])


def enqueues(bench: Bench, setting: str) -> None:
    singles: list[float] = []
    bares: list[float] = []
    bulks: list[float] = []
    for _ in range(bench.rounds):
        bares.append(float(bench.bare("enqueue", setting, 2000)))
        singles.append(producing.one_at_a_time(bench.url(setting), 2000))
        bulks.append(producing.bulk(bench.url(setting), bench.n))
    bench.note(setting, "enqueue one at a time, bare insert (us)", bares)
    bench.note(setting, "enqueue one at a time (us)", singles)
    bench.note(setting, "enqueue one at a time, share of bare", [b / s for b, s in zip(bares, singles, strict=True)])
    bench.note(setting, "enqueue_many, 10,000 a call (jobs/s)", bulks)


def latencies(bench: Bench, setting: str) -> None:
    bare: list[list[float]] = []
    ours: list[list[float]] = []
    for _ in range(max(3, bench.rounds // 2)):
        bare.append(sorted(json.loads(bench.bare("wake", setting, LATENCIES))))
        ours.append(sorted(latency.measure(bench.url(setting), bench.folder, LATENCIES)))
    for percent in (50, 95, 99):
        pick: Callable[[list[float]], float] = lambda run, p=percent: run[min(len(run) - 1, len(run) * p // 100)]  # noqa: E731
        bench.note(setting, f"idle wake-and-claim, bare, p{percent} (us)", [pick(run) for run in bare])
        bench.note(setting, f"enqueue to start, idle worker, p{percent} (us)", [pick(run) for run in ours])
        ratios = [pick(mine) / pick(base) for mine, base in zip(ours, bare, strict=True)]
        bench.note(setting, f"enqueue to start, p{percent}, times bare", ratios)


def backlog(bench: Bench, setting: str, waiting: int) -> None:
    small, large = claims.measure(bench.url(setting), waiting)
    bench.note(setting, "claim of 100, empty backlog (us)", [small])
    bench.note(setting, f"claim of 100, {waiting:,} waiting (us)", [large])
    bench.note(setting, "claim with a backlog, times without", [large / small])


def memory(bench: Bench, setting: str) -> None:
    run = drain(bench, setting, "no_op", 520_000)
    bench.note(setting, "memory growth, job 100,000 to 500,000", [run["memory_growth"]])


def measure(bench: Bench, *, quick: bool) -> None:
    """Everything, one setting after the other."""
    settings = bench.site.settings
    for setting in settings:
        print(f"{bench.site.title}, {setting}, Python {platform.python_version()}")
        enqueues(bench, setting)
        drains(bench, setting)
        latencies(bench, setting)
        if not quick:
            backlog(bench, setting, WAITING)
    if not quick:
        memory(bench, settings[0])
    print(f"where a worker's CPU goes, no-op async jobs (cProfile, {settings[0]}):", flush=True)
    drain(bench, settings[0], "no_op", bench.n, "profile")


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.run", description="treadle beside a bare loop")
    parser.add_argument("--engine", default="sqlite", choices=list(SITES))
    parser.add_argument("--n", type=int, default=50_000, help="jobs in each drain")
    parser.add_argument("--seed", default="0", help="recorded with the figures; nothing here is random")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--quick", action="store_true", help="leave out the million waiting jobs and the memory run")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="treadle-bench-") as folder:
        site = SITES[chosen.engine](Path(folder))
        try:
            bench = Bench(chosen.n, chosen.rounds, Path(folder), site)
            measure(bench, quick=chosen.quick)
        finally:
            site.close()
        if chosen.out:
            machine = {"python": platform.python_version(), "cores": os.cpu_count(), "store": site.title}
            chosen.out.write_text(
                json.dumps({"n": chosen.n, "seed": chosen.seed, "machine": machine, "figures": bench.figures}, indent=2) + "\n"
            )


if __name__ == "__main__":
    main()
