"""A site: a store of its own, real workers on it, and the files in which their jobs write down what they do."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from chaos import journal
from chaos.account import Account
from chaos.fleet import PATH, Crew
from chaos.journal import Line
from faults.waiting import until
from treadle import Job
from treadle.worker.options import WorkerOptions


class Site:
    """One store, in a folder of its own unless it lies elsewhere, and whoever works there. `direct` is how the test looks."""

    def __init__(self, folder: Path, url: str | None = None, direct: str | None = None) -> None:
        self.folder = folder
        self.url = url or f"sqlite:///{folder}/site.db"
        self.account = Account(direct or self.url)
        self.crews: list[Crew] = []
        from faults import jobs

        self.jobs = jobs
        jobs.app.connection.point_at(direct or self.url)

    def crew(self, **options: Any) -> Crew:
        """Start a supervisor with its workers and wait until all of them hold a lease."""
        settings = {"lease": 2.0, "async_slots": 8, "threads": 4, "children": 2, "grace": 20.0, "crash_delay": 0.1}
        chosen = WorkerOptions(target="faults.jobs:app", **(settings | options))
        environment = {"TREADLE_URL": self.url, "CHAOS_FOLDER": str(self.folder), "PYTHONPATH": PATH}
        crew = Crew(f"crew{len(self.crews)}", chosen, self.folder, environment)
        self.crews.append(crew)
        crew.start()
        self.until(lambda: len(crew.workers(self.account)) == chosen.processes, "the workers hold their leases")
        return crew

    def worker(self, crew: Crew) -> psutil.Process:
        """The one worker process of a crew, once it holds a lease."""
        return self.until(lambda: crew.workers(self.account), "a worker holds a lease")[0]

    def until(self, look: Callable[[], Any], what: str) -> Any:
        """Wait until something is true; when it never is, the workers' logs are part of the failure."""
        try:
            return until(look, what)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.logs()}") from None

    def logs(self) -> str:
        """What the workers have written."""
        return "\n".join(f"--- {crew.name}\n{crew.log.read_text(errors='replace')[-8000:]}" for crew in self.crews)

    def bodies(self, event: str, job: str | None = None) -> list[Line]:
        """What bodies wrote of one event, of one job or of all."""
        lines = journal.read(self.folder / journal.BODIES)
        return [line for line in lines if line["event"] == event and job in (None, line["job"])]

    def started(self, job: str, attempt: int = 1) -> Line:
        """Wait for the start of an attempt; returns its line."""
        found = self.until(
            lambda: [line for line in self.bodies("start", job) if line["attempt"] == attempt], f"attempt {attempt} starts"
        )
        return found[0]

    def open(self, gate: str) -> None:
        """Let the jobs go on that wait for this."""
        (self.folder / gate).touch()

    def job(self, job: str) -> Job:
        """A job as the store tells it, with its attempts."""
        return next(each for each in self.account.jobs() if each.id == job)

    def finished(self, *jobs: str) -> list[Job]:
        """Wait until these jobs have ended; returns them in order."""

        def ended() -> list[Job]:
            found = {job.id: job for job in self.account.jobs()}
            return [found[job] for job in jobs] if all(found[job].state.final for job in jobs) else []

        return self.until(ended, "the jobs have ended")

    def drained(self) -> None:
        """Wait until no job is live."""
        self.until(lambda: self.account.live() == 0, "every job has ended")

    def close(self) -> None:
        for crew in self.crews:
            crew.kill()
        self.jobs.app.close()
        self.account.close()
