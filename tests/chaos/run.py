"""Kill, freeze and wake real workers under load, and hold what is left against treadle's promises.

    PYTHONPATH=tests python -m chaos.run --engine sqlite --n 200 --seed 7 --out chaos.json

First a control without faults, then N random SIGKILLs with N/10 freezes (and, where the store lies on a server, N/10 deaths of
that server and N/4 troubles of the network), then a poisoned job among a thousand good ones, then workers and servers that
are broken on purpose and must be found out. Everything runs on this machine, in a temporary folder.
"""

import json
import os
import platform
import secrets
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from servers.ground import GROUNDS

from .checker import Report
from .scenario import Scenario, as_json, play

GOOD = 1000

CONTROL = Scenario(name="control", jobs=300, rate=80.0, lease=3.0)
CHAOS = Scenario(name="chaos", kills=200, freezes=20, drain=180.0)
POISON = Scenario(name="poison", jobs=GOOD, producers=1, rate=200.0, menu="poisoned")

# Each breaks one promise; the names are those of the findings of which at least one must come up.
MUTANTS: dict[Scenario, set[str]] = {
    # What is rescued waits a while, so that a worker that wakes finds its jobs neither ended nor running elsewhere.
    Scenario(name="fence_off", mutant="fence_off", freezes=2, menu="long", rate=10.0, crash_delay=6.0, drain=30.0): {"stale"},
    Scenario(name="settle_first", mutant="settle_first", kills=6, rate=30.0, drain=20.0): {"lost"},
    Scenario(name="claim_unlocked", mutant="claim_unlocked", jobs=50, rate=30.0, drain=5.0): {"started_twice"},
}
CARELESS: dict[Scenario, set[str]] = {
    Scenario(name="careless", careless=True, deaths=3, rate=60.0, lease=6.0, drain=60.0): {"lost"},
}

Judge = Callable[[Report], list[str]]


def poisoned(report: Report) -> list[str]:
    """The poison is the only dead letter, and everything else completed."""
    states, dead = report.figures["states"], report.figures["dead"]
    if {state: count for state, count in states.items() if count} != {"completed": GOOD, "dead": 1} or dead != {
        "worker_lost": 1
    }:
        return [f"expected {GOOD} completed and one dead letter (worker_lost), found {states} and {dead}"]
    return []


def perform(scenario: Scenario, engine: str, seed: str) -> dict[str, Any]:
    """Play a scenario that must keep every promise, and say how it went."""
    blows = {"kills": scenario.kills, "freezes": scenario.freezes, "deaths": scenario.deaths, "troubles": scenario.troubles}
    print(f"{scenario.name}: seed {seed}, {', '.join(f'{count} {what}' for what, count in blows.items() if count)}", flush=True)
    report, folder = play(scenario, engine, seed)
    if scenario.menu == "poisoned":
        report.broken["poison_spread"] = poisoned(report)
    tell(report)
    if report.ok:
        shutil.rmtree(folder)
    return as_json(report)


def expose(scenario: Scenario, expected: set[str], engine: str, seed: str) -> dict[str, Any]:
    """Play a scenario whose workers are broken; it is a success when the checker says so, and names the right promise."""
    print(f"{scenario.name}: seed {seed}, workers broken on purpose", flush=True)
    report, folder = play(replace(scenario, allowance=None), engine, seed)
    found = {name for name, cases in report.broken.items() if cases}
    caught = bool(expected & found)
    print(f"  {'caught' if caught else 'NOT CAUGHT'}: broken promises {sorted(found) or 'none'}", flush=True)
    for name in sorted(expected & found):
        print(f"    {name}: {len(report.broken[name])}, such as {report.broken[name][0]}", flush=True)
    if caught:
        shutil.rmtree(folder)
    return as_json(report) | {"ok": caught, "expected": sorted(expected), "found": sorted(found)}


def tell(report: Report) -> None:
    """Print a report for a reader."""
    for name, value in report.figures.items():
        if name != "folder":
            shown = ", ".join(f"{key} {each}" for key, each in value.items()) if isinstance(value, dict) else value
            print(f"  {name.replace('_', ' '):<26}{shown if shown != '' else 'none'}")
    for name, cases in report.broken.items():
        if cases:
            print(f"  BROKEN {name}: {len(cases)}")
            for case in cases[:10]:
                print(f"    {case}")
    print("  every promise kept" if report.ok else f"  the files of the run stay in {report.figures['folder']}", flush=True)


def scenarios(
    engine: str, n: int, only: tuple[str, ...], allowance: float | None, lease: float
) -> tuple[list[Scenario], dict[Scenario, set[str]]]:
    """What to play: the scenarios that must hold, and the mutants that must be found out."""
    chaos = replace(CHAOS, kills=n, freezes=max(1, n // 10), allowance=allowance)
    mutants = MUTANTS
    if engine in GROUNDS:
        # The lease is thrice what a call may take, and some troubles last longer than it.
        chaos = replace(chaos, deaths=max(1, n // 10), troubles=max(2, n // 4), lease=lease)
        mutants = MUTANTS | CARELESS
    kept = [
        each for each in (replace(CONTROL, allowance=None), chaos, replace(POISON, allowance=allowance)) if chosen(each, only)
    ]
    return kept, {each: expected for each, expected in mutants.items() if chosen(each, only)}


def chosen(scenario: Scenario, only: tuple[str, ...]) -> bool:
    return not only or scenario.name in only


@click.command()
@click.option(
    "--engine", type=click.Choice(["sqlite", *GROUNDS]), default="sqlite", show_default=True, help="The store to run on."
)
@click.option(
    "--n", type=click.IntRange(1), default=200, show_default=True, help="SIGKILLs against workers; a tenth as many freezes."
)
@click.option("--seed", default=None, help="Repeats the choices of an earlier run. [default: a new one, printed]")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), default=None, help="Write the figures here, as JSON.")
@click.option("--only", multiple=True, help="Play this scenario only; may be given several times.")
@click.option("--allowance", type=float, default=0.0, show_default=True, help="Seconds added to the bounds on recovery.")
@click.option(
    "--lease", type=float, default=6.0, show_default=True, help="Seconds that a lease holds in the main run on a server."
)
@click.option("--untimed", is_flag=True, help="Report how long recoveries take without judging it.")
def main(
    engine: str,
    n: int,
    seed: str | None,
    out: Path | None,
    only: tuple[str, ...],
    allowance: float,
    lease: float,
    untimed: bool,
) -> None:
    """Kill, freeze and wake real workers under load, and check what is left."""
    # As Ctrl-C would: what was started here does not outlive the run.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    seed = seed or secrets.token_hex(4)
    print(f"chaos on {engine}, seed {seed}", flush=True)
    began = time.monotonic()
    kept, mutants = scenarios(engine, n, only, None if untimed else allowance, lease)
    results = {each.name: perform(each, engine, seed) for each in kept}
    results |= {each.name: expose(each, expected, engine, seed) for each, expected in mutants.items()}
    ok = all(each["ok"] for each in results.values())
    took = round(time.monotonic() - began, 1)
    if out is not None:
        machine = {"python": platform.python_version(), "cores": os.cpu_count(), "system": platform.platform()}
        told = {"engine": engine, "n": n, "seed": seed, "ok": ok, "seconds": took, "machine": machine, "scenarios": results}
        out.write_text(json.dumps(told, indent=2) + "\n")
    print(f"{'ok' if ok else 'FAILED'}: {len(results)} scenarios in {took} s, seed {seed}", flush=True)
    sys.exit(0 if ok else 1)


if __name__ == "__main__":
    main()
