"""`make bench-rivals`: treadle beside other queues, interleaved, on the same servers.

    python -m benchmarks.rivals.run [--engine postgres|redis|all] [--n 50000] [--rounds 3] [--backlog 10*N]
                                    [--out build/rivals/result.json] [--only ADAPTER,...] [--measures NAME,...] [--page]

Everything runs on this machine, on servers of its own in temporary directories, and stops by itself. Each queue is installed
under build/rivals first; one that cannot be is left out, and the reason is printed and kept. In each round every queue has its
turn at a measure before the next measure begins, and the next round begins with the next queue. `--page` writes the tables and
plots of docs/benchmarks.md from the result.

Exit code 1 when a measurement failed, and above all when jobs were lost or run twice: the row says so too.
"""

import argparse
import json
import os
import platform
import signal
import sys
import time
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.rivals import environments, page
from benchmarks.rivals.measures import MEASURES, Bench, Figures, Sizes
from benchmarks.rivals.peers import PEERS, Peer
from benchmarks.rivals.room import Failed
from benchmarks.rivals.servers import serve, sync_microseconds

ENGINES = ("postgres", "redis")


@dataclass
class Result:
    """What a run has found on one engine, in the shape that the JSON file has."""

    n: int
    rounds: int
    backlog: int
    machine: dict[str, Any]
    server: dict[str, Any] = field(default_factory=dict)
    peers: list[dict[str, Any]] = field(default_factory=list)
    left_out: list[dict[str, str]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def _machine() -> dict[str, Any]:
    model = "unknown"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0] if names else model
    return {
        "when": datetime.now(UTC).date().isoformat(),
        "processor": model,
        "cores": len(os.sched_getaffinity(0)),
        "system": platform.system(),
        "python": platform.python_version(),
        "sync_us": round(sync_microseconds()),
        "load_before": round(os.getloadavg()[0], 2),
    }


def _installed(peers: list[Peer], result: Result) -> dict[str, environments.Environment]:
    """The environment of each queue that can be had, by the peer's name."""
    found: dict[str, environments.Environment] = {}
    for peer in peers:
        try:
            found[peer.name] = environments.own() if peer.environment is None else environments.ready(peer.environment)
        except environments.Unavailable as reason:
            print(f"left out: {peer.name}: {reason}", flush=True)
            result.left_out.append({"peer": peer.name, "reason": str(reason)})
    return found


def _measure(name: str, bench: Bench, row: dict[str, Any], result: Result) -> None:
    began = time.monotonic()
    try:
        figures = MEASURES[name].run(bench)
    except Failed as failure:
        said = f"{bench.peer.name}, {name}: {failure}"
        row["failed"].setdefault(name, str(failure))
        result.failures.append(said)
        print(f"  FAILED  {said}", flush=True)
        return
    row["figures"].setdefault(name, []).append(figures)
    print(f"  {name:<9} {bench.peer.name:<26} {_shown(figures)}   ({time.monotonic() - began:.0f} s)", flush=True)


def _shown(figures: Figures) -> str:
    parts = []
    for name, value in figures.items():
        if isinstance(value, list):
            ordered = sorted(value)
            parts.append(f"p50={ordered[len(ordered) // 2]} us")
        elif isinstance(value, float):
            parts.append(f"{name}={value:,.0f}" if value >= 100 else f"{name}={value:.3g}")
        else:
            parts.append(f"{name}={value}")
    return "  ".join(parts)


def _row(peer: Peer) -> dict[str, Any]:
    return {"name": peer.name, "settings": peer.settings, "killed": peer.killed, "figures": {}, "failed": {}}


def _engine(engine: str, only: set[str], names: list[str], result: Result) -> None:
    """Every measure of every queue on one engine."""
    began = time.monotonic()
    wanted = [peer for peer in PEERS if peer.engine == engine and (not only or peer.adapter.partition(".")[0] in only)]
    installed = _installed(wanted, result)
    peers = [peer for peer in wanted if peer.name in installed]
    rows = {peer.name: _row(peer) for peer in peers}
    result.peers += rows.values()
    sizes = Sizes(result.n, result.backlog)
    with serve(engine) as server:
        result.server = server.facts()
        print(f"{result.server['name']} {result.server['version']}", flush=True)
        benches = {peer.name: Bench(peer, installed[peer.name], server, sizes) for peer in peers}
        for name in names:
            _rounds(name, peers, benches, rows, result)
    result.machine["load_after"] = round(os.getloadavg()[0], 2)
    result.machine["minutes"] = round((time.monotonic() - began) / 60, 1)


def _rounds(name: str, peers: list[Peer], benches: dict[str, Bench], rows: dict[str, Any], result: Result) -> None:
    measure = MEASURES[name]
    for turn in range(measure.rounds or result.rounds):
        # Whoever was first comes last in the next round: no queue always follows the same one.
        shift = turn % len(peers)
        for peer in peers[shift:] + peers[:shift]:
            if measure.applies(peer):
                _measure(name, benches[peer.name], rows[peer.name], result)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.rivals.run", description="treadle beside other job queues")
    parser.add_argument("--engine", default="all", choices=[*ENGINES, "all"])
    parser.add_argument("--n", type=int, default=50_000, help="jobs in a drain, at most")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--backlog", type=int, help="jobs in the deep backlog (10 times N)")
    parser.add_argument("--out", type=Path, default=environments.PLACE / "result.json")
    parser.add_argument("--only", default="", help="these queues alone, separated by commas (the adapters' names)")
    parser.add_argument("--measures", default=",".join(MEASURES), help="these measures alone, separated by commas")
    parser.add_argument("--page", action="store_true", help="write the figures into docs/benchmarks.md")
    return parser.parse_args()


def _leave(*_: object) -> None:
    sys.exit(128 + signal.SIGTERM)


def main() -> int:
    # Leaving by an exception, so that servers and workers are ended and folders removed.
    signal.signal(signal.SIGTERM, _leave)
    chosen = _arguments()
    backlog = chosen.backlog if chosen.backlog is not None else 10 * chosen.n
    only = {name for name in chosen.only.split(",") if name}
    names = [name for name in MEASURES if name in chosen.measures.split(",")]
    found: dict[str, Any] = {}
    for engine in ENGINES if chosen.engine == "all" else (chosen.engine,):
        result = Result(chosen.n, chosen.rounds, backlog, _machine())
        _engine(engine, only, names, result)
        found[engine] = asdict(result)
        # After each engine: what comes later may fail.
        chosen.out.parent.mkdir(parents=True, exist_ok=True)
        chosen.out.write_text(json.dumps(found, indent=1) + "\n")
        print(f"\n{page.section(engine, found[engine])}\n", flush=True)
    if chosen.page:
        page.write(found)
    failures = [failure for each in found.values() for failure in each["failures"]]
    for failure in failures:
        print(f"FAILED: {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
