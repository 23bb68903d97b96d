"""What waits behind, and who looks on: drains with a deep backlog and under a held snapshot.

    python -m benchmarks.depth [--engine sqlite|postgres|redis] [--rounds 3] [--waiting 1000000]

The rate of one worker process over 50,000 jobs that are all there are; over the first 50,000 of a million; on PostgreSQL also
while another transaction keeps a snapshot open through 300,000 jobs. Each ratio is of one round; machines drift.
"""

import argparse
import json
import tempfile
from contextlib import closing
from pathlib import Path

from benchmarks import producing
from benchmarks.run import child, note
from benchmarks.sites import SITES, Site
from benchmarks.worker import TAIL

LONG = 300_000


def drained(url: str, waiting: int, goal: int) -> dict[str, float]:
    """The figures of one worker that has settled `goal` of `waiting` jobs."""
    producing.fill(url, "no_op", waiting)
    figures: dict[str, float] = json.loads(child("benchmarks.worker", "drain", env={"BENCH_URL": url, "BENCH_GOAL": str(goal)}))
    return figures


def under_a_snapshot(url: str) -> dict[str, float]:
    """The figures of a drain of 300,000 jobs while a transaction that began before it stays open."""
    import psycopg

    with closing(psycopg.connect(url.partition("?")[0])) as onlooker:
        onlooker.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        onlooker.execute("SELECT count(*) FROM pg_class")
        return drained(url, LONG, LONG)


def measure(site: Site, rounds: int, waiting: int) -> None:
    """Everything, in the first setting of the site."""
    setting = site.settings[0]
    print(f"{site.title}, {setting}")

    def url() -> str:
        return site.url(site.fresh(setting), setting)

    postgres = site.title.startswith("PostgreSQL")
    shallow: list[float] = []
    deep: list[float] = []
    watched: list[float] = []
    last: list[float] = []
    for _ in range(rounds):
        shallow.append(drained(url(), TAIL, TAIL)["rate"])
        deep.append(drained(url(), waiting, TAIL)["rate"] / shallow[-1])
        if postgres:
            figures = under_a_snapshot(url())
            watched.append(figures["rate"] / shallow[-1])
            last.append(figures["tail_rate"] / shallow[-1])
    note(f"drain of {TAIL:,} (jobs/s)", shallow)
    note(f"the same before {waiting:,} waiting, share", deep)
    if postgres:
        note(f"drain of {LONG:,} under a held snapshot, share", watched)
        note(f"the last {TAIL:,} of them, share", last)


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.depth", description="deep backlogs, held snapshots")
    parser.add_argument("--engine", default="sqlite", choices=list(SITES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--waiting", type=int, default=1_000_000)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="treadle-bench-") as folder:
        site = SITES[chosen.engine](Path(folder))
        try:
            measure(site, chosen.rounds, chosen.waiting)
        finally:
            site.close()


if __name__ == "__main__":
    main()
