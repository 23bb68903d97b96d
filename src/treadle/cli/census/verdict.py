"""Did the census come out right? The jobs' own account against the independent count."""

import json
import subprocess
import sys
from dataclasses import dataclass

from treadle.app.view import Job
from treadle.app.where import Filter
from treadle.cli.census.inventory import Inventory
from treadle.cli.census.progress import Run
from treadle.cli.census.tasks import app, was_retried
from treadle.cli.census.watch import Snapshot, look
from treadle.model.filter import Page
from treadle.model.state import State


class Recount:
    """The independent count, in a process of its own, at work from the moment it is made."""

    def __init__(self, inventory: Inventory) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "treadle.cli.census.refused"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # Ctrl-C in the terminal is the demo's to hear; it stops this process itself.
            start_new_session=True,
        )
        assert self._process.stdin is not None
        json.dump([source.path for source in inventory.sources], self._process.stdin)
        self._process.stdin.close()

    def refused(self) -> set[str]:
        """Wait for the count: the paths that `ast.parse` refuses."""
        assert self._process.stdout is not None
        text = self._process.stdout.read()
        if self._process.wait() != 0:
            raise RuntimeError(f"the independent count failed with exit code {self._process.returncode}")
        return set(json.loads(text))

    def stop(self) -> None:
        """End it, if it has not ended."""
        self._process.kill()
        self._process.wait()


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a finished run says about itself. `faults` is empty when everything is accounted for."""

    snapshot: Snapshot
    dead: int
    retried: int
    took: float
    faults: list[str]


def judge(run: Run, enqueued: int, recount: Recount) -> Verdict:
    """Compare: every job enqueued has ended, and the dead are exactly what the plain loop refuses."""
    snapshot = look(run.name)
    files = _jobs(Filter(tag=run.name, tasks=["census.measure"]))
    dead = {_path(job) for job in files if job.state is State.DEAD}
    refused = recount.refused()
    completed = snapshot.of(State.COMPLETED)
    faults = [f"dead, but ast.parse takes it: {path}" for path in sorted(dead - refused)]
    faults += [f"ast.parse refuses it, but it is not dead: {path}" for path in sorted(refused - dead)]
    if snapshot.total != enqueued:
        faults.append(f"{enqueued} jobs were enqueued, but the store knows {snapshot.total}")
    if completed + len(dead) != enqueued:
        faults.append(f"completed {completed} + dead {len(dead)} is not the {enqueued} enqueued")
    ends = [job.finished_at for job in files if job.finished_at is not None]
    took = (max(ends) - min(job.enqueued_at for job in files)).total_seconds() if ends else 0.0
    retried = sum(was_retried(job) for job in files)
    return Verdict(snapshot=snapshot, dead=len(dead), retried=retried, took=took, faults=faults)


def _path(job: Job) -> str:
    path: str = job.args["path"]
    return path


def _jobs(where: Filter) -> list[Job]:
    found: list[Job] = []
    after = None
    while page := app.client.find(where, Page(limit=500, after=after)):
        found += page
        after = page[-1].id
    return found
