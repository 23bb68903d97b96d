"""What a deploy would leave behind: waiting jobs that the code at hand cannot take, and why."""

from dataclasses import dataclass

from treadle.app.registry import Registry
from treadle.engine.contract import Engine
from treadle.engine.plan import Plan
from treadle.model.errors import InvalidArguments
from treadle.model.filter import Filter, Order, Page
from treadle.model.job import Job, JobId
from treadle.model.state import LIVE, State

PAGE = 1000
_WAITING = tuple(state for state in State if state in LIVE and state is not State.RUNNING)


@dataclass(slots=True, frozen=True)
class Misfit:
    """Jobs of one task, version and queue that this code cannot take for one reason: how many, and the first of them."""

    task: str
    version: int
    queue: str
    count: int
    why: str
    first: JobId


class Fitting:
    """Tries waiting jobs against an app's tasks, page by page: nothing is held between the pages, and nothing changed."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._found: dict[tuple[str, int, str, str], list[JobId]] = {}
        self._last: JobId | None = None

    def page(self, engine: Engine) -> Plan[list[Job]]:
        """The next page of waiting jobs, oldest first."""
        return engine.find(Filter(states=_WAITING), Page(limit=PAGE, after=self._last, order=Order.OLDEST))

    def take(self, jobs: list[Job]) -> bool:
        """Try these; False when there are no more."""
        for job in jobs:
            self._last = job.id
            why = self._misfit(job)
            if why is not None:
                self._found.setdefault((job.task, job.version, job.queue, why), []).append(job.id)
        return len(jobs) == PAGE

    def misfits(self) -> list[Misfit]:
        """What does not fit, the most first."""
        found = [
            Misfit(task, version, queue, len(jobs), why, jobs[0]) for (task, version, queue, why), jobs in self._found.items()
        ]
        return sorted(found, key=lambda each: (-each.count, each.task, each.version, each.queue, each.why))

    def _misfit(self, job: Job) -> str | None:
        task = self._registry.get(job.task)
        if task is None:
            return "this code has no task of this name: it waits until some worker knows it, or give the task an alias"
        if job.version > task.settings.version:
            return f"it was enqueued for version {job.version}, and this code has {task.settings.version}: it is put off"
        try:
            task.prepare(job.args, job.version)
        except InvalidArguments as error:
            return f"its arguments do not fit: {error.rule}"
        return None
