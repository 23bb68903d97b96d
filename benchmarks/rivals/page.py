"""From a result to the tables and plots of docs/benchmarks.md, between the markers of its engine.

python -m benchmarks.rivals.page RESULT.json ...
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.rivals import plots
from benchmarks.rivals.environments import ROOT
from benchmarks.rivals.figures import GROUPS, METRICS, OWN, Metric, Row, plain

PAGE = ROOT / "docs" / "benchmarks.md"
FOLDER = ROOT / "docs" / "benchmarks"

Found = dict[str, Any]
"""The result of one engine."""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(metric: Metric, row: Row) -> str:
    mark = " (!)" if metric.measure in row["failed"] else ""
    value = metric.value(row)
    if value is None:
        return "-" + mark
    rounds = metric.rounds(row)
    if len(rounds) > 1 and metric.unit == "jobs/s":
        return f"{plain(value)} ({plain(min(rounds))}-{plain(max(rounds))}){mark}"
    return plain(value) + mark


def _values(found: Found, group: str) -> str:
    metrics = [metric for metric in GROUPS[group] if any(metric.rounds(row) for row in found["peers"])]
    if not metrics:
        return ""
    head = ["", *(f"{metric.title}, {metric.unit}" for metric in metrics)]
    return _table(head, [[row["name"], *(_cell(metric, row) for metric in metrics)] for row in found["peers"]])


def _ratio(ratio: float | None) -> str:
    if ratio is None:
        return "-"
    text = f"{plain(ratio)}x"
    return text if ratio >= 1 else f"**{text}**"


def _ratios(found: Found) -> str:
    """How many times better treadle is than each; what it loses is in bold."""
    own = next((row for row in found["peers"] if row["name"] == OWN), None)
    rivals = [row for row in found["peers"] if row["name"] != OWN]
    if own is None or not rivals:
        return ""
    shown = [metric for metric in METRICS.values() if metric.rounds(own)]
    rows = [[metric.title, *(_ratio(metric.ratio(own, rival)) for rival in rivals)] for metric in shown]
    return _table(["treadle against", *(row["name"] for row in rivals)], rows)


def _losses(found: Found) -> str:
    """Each metric in which a rival was better, with all that were."""
    own = next((row for row in found["peers"] if row["name"] == OWN), None)
    lost = []
    for metric in METRICS.values():
        mine = metric.value(own) if own else None
        better = [
            f"{rival['name']} {plain(theirs)}"
            for rival in found["peers"]
            if own and rival is not own and (ratio := metric.ratio(own, rival)) is not None and ratio < 1
            if (theirs := metric.value(rival)) is not None
        ]
        if better and mine is not None:
            lost.append(f"* {metric.title}, {metric.unit}: {', '.join(better)}; treadle {plain(mine)}")
    return "\n".join(lost) if lost else "* in nothing that was measured here"


def _setups(found: Found) -> str:
    def version(row: Row) -> str:
        runs = row["figures"].get("imports")
        return f"{runs[0]['version']}, {runs[0]['runtime']}" if runs else "-"

    lines = [["queue", "version", "settings", "when a worker is killed with -9"], ["---"] * 4]
    lines += [[row["name"], version(row), row["settings"], row["killed"]] for row in found["peers"]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _preamble(found: Found) -> str:
    machine, server = found["machine"], found["server"]
    settings = ", ".join(f"{name}={value}" for name, value in server["settings"].items())
    return (
        f"Taken on {machine['when']}: {server['name']} {server['version']} ({settings}), {machine['cores']} cores of "
        f"{machine['processor']} shared by client, workers and server, {machine['sync_us']} us for an fdatasync of 8 kB. "
        f"N = {found['n']:,}, medians of {found['rounds']} rounds (lowest and highest in brackets), a backlog of "
        f"{found['backlog']:,}. The load of the machine was {machine['load_before']} before the run, which took "
        f"{machine['minutes']} minutes."
    )


def _snapshots(found: Found) -> str:
    """How long the snapshot was held in each run, since the queues have got through different numbers of jobs by then."""
    held = [
        f"{row['name']} {run['jobs']:,} in {plain(run['seconds'])} s"
        for row in found["peers"]
        for run in row["figures"].get("snapshot", [])[:1]
    ]
    return f"Jobs run while the snapshot was held: {'; '.join(held)}." if held else ""


def _misses(found: Found) -> str:
    missed = [f"* left out: {each['peer']}: {each['reason']}" for each in found["left_out"]]
    missed += [f"* (!) failed: {failure}" for failure in found["failures"]]
    return "\n".join(missed)


def section(engine: str, found: Found) -> str:
    """The tables of one engine."""
    parts = [
        _preamble(found),
        f"![Bars of the rates and start latencies below](benchmarks/{engine}.svg)",
        _values(found, "speed"),
        _values(found, "lightness"),
        _values(found, "depth"),
        _snapshots(found),
        "How many times better treadle is; what it loses is in bold:",
        _ratios(found),
        "Where treadle loses:",
        _losses(found),
        _setups(found),
        _misses(found),
    ]
    return "\n\n".join(part for part in parts if part)


def write(results: dict[str, Found]) -> None:
    """Put each engine's section between its markers, and its plot and figures beside the page."""
    FOLDER.mkdir(exist_ok=True)
    text = PAGE.read_text()
    for engine, found in results.items():
        begin, end = f"<!-- {engine}: begin -->", f"<!-- {engine}: end -->"
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        text = f"{before}{begin}\n{section(engine, found)}\n{end}{after}"
        shown = [METRICS[name] for name in ("drain1", "drain2", "enqueue", "bulk", "p50", "p99", "nap", "backlog", "snapshot")]
        (FOLDER / f"{engine}.svg").write_text(plots.draw(f"treadle and others on {engine}", shown, found["peers"]))
        (FOLDER / f"{engine}.json").write_text(json.dumps(found, indent=1) + "\n")
    PAGE.write_text(text)


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        write(json.loads(Path(argument).read_text()))
