"""How one worker is to run: every knob of `treadle worker`, checked once, and carried to the child processes as JSON."""

import os
import sys
from dataclasses import dataclass, field, fields

import msgspec

from treadle.app.app import Treadle
from treadle.app.options import check_queue
from treadle.model.errors import InvalidOption
from treadle.model.kind import is_number, is_whole


def cores() -> int:
    """How many processors this process may use: the affinity mask, not the machine."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)) or 1
    return os.cpu_count() or 1


def _threads() -> int:
    return min(32, 4 * cores())


LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

_WHOLE = {"processes": 1, "async_slots": 0, "threads": 0, "children": 0}
_WHOLE_OR_NONE = {"child_max_jobs": 1, "child_max_rss": 1, "most_processes": 1}
_SECONDS = {
    "lease": 1.0,
    "grace": 0.0,
    "loop_stall": 0.1,
    "blocked_after": 0.01,
    "crash_delay": 0.0,
    "poll": 0.01,
    "kill_grace": 0.0,
}
_LONGEST = 366 * 86400.0


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerOptions:
    """One worker's settings. Durations are seconds, sizes bytes. Raises `InvalidOption` for a value that cannot be used."""

    target: str
    """What to serve: `module` or `module:attribute`, as `app.loader.load` reads it."""
    url: str | None = None
    """The store, when it is not the app's own."""
    namespace: str | None = None
    """What treadle's tables or keys there are named by, when it is not as the app says."""
    queues: tuple[tuple[str, int], ...] = (("default", 1),)
    """The queues to serve, each with its weight."""
    named_queues: bool = False
    """Also serve, with the weight 1, each queue that a task of the app names."""
    strict: bool = False
    """Serve a queue only when those before it have nothing to give."""
    processes: int = 1
    """Worker processes under the supervisor; the fewest, where there may be more."""
    most_processes: int | None = None
    """The most worker processes: between the two, the supervisor starts and stops them as the load wants it."""
    async_slots: int = 100
    """`async def` bodies at once, per process."""
    threads: int = field(default_factory=_threads)
    """`def` bodies at once, per process."""
    children: int = field(default_factory=cores)
    """Bodies in child processes at once, per process."""
    lease: float = 30.0
    """How long the store waits for a sign of life before it takes the jobs back."""
    grace: float = 30.0
    """How long running jobs may go on after the first signal to stop."""
    kill_grace: float = 5.0
    """How long a body asked to stop has to clean up before it is killed."""
    loop_stall: float = 60.0
    """How long the event loop may stand still before the process is replaced."""
    blocked_after: float = 1.0
    """How long the event loop may stand still before a warning names the job."""
    crash_delay: float = 0.5
    """How long a job waits after the process under it died."""
    poll: float = 0.5
    """How often an idle worker looks for work that nobody announced."""
    child_max_jobs: int | None = None
    """Replace a child after so many jobs."""
    child_max_age: float | None = None
    """Replace a child after so many seconds."""
    child_max_rss: int | None = None
    """Replace a child that occupies more memory than this."""
    json_logs: bool = False
    """One JSON object per log line."""
    log_level: str = "INFO"
    """The least severe log line that is written."""
    uvloop: bool = True
    """Use uvloop when it is installed."""

    def __post_init__(self) -> None:
        if not self.target.strip():
            raise InvalidOption(f"target={self.target!r}", "there is nothing to serve", "Name a module, as in `worker tasks`.")
        for name, least in _WHOLE.items():
            _whole(name, getattr(self, name), least)
        for name, least in _WHOLE_OR_NONE.items():
            if getattr(self, name) is not None:
                _whole(name, getattr(self, name), least)
        if self.most_processes is not None and self.most_processes < self.processes:
            raise InvalidOption(
                f"{self.processes}:{self.most_processes}",
                "the most processes are fewer than the fewest",
                "Write for example 1:8.",
            )
        for name, shortest in _SECONDS.items():
            _seconds(name, getattr(self, name), shortest)
        if self.child_max_age is not None:
            _seconds("child_max_age", self.child_max_age, 1.0)
        if self.async_slots + self.threads + self.children == 0:
            raise InvalidOption("async_slots=0, threads=0, children=0", "no job could ever run", "Give at least one slot.")
        if self.log_level not in LOG_LEVELS:
            raise InvalidOption(f"log_level={self.log_level!r}", "is not a level", f"Use one of {', '.join(LOG_LEVELS)}.")
        _queues(self.queues)

    def to_json(self) -> bytes:
        """The same settings as text for another process."""
        return msgspec.json.encode({each.name: getattr(self, each.name) for each in fields(self)})

    @classmethod
    def from_json(cls, text: bytes | str) -> "WorkerOptions":
        """What `to_json` wrote. Raises `InvalidOption` for anything else."""
        try:
            return msgspec.json.decode(text, type=cls)
        except msgspec.MsgspecError as error:
            if isinstance(error.__cause__, InvalidOption):
                raise error.__cause__ from None
            # The text itself stays out of the message: a store's URL may hold a password.
            raise InvalidOption("settings", f"are not a worker's: {error}", "Pass what `to_json` wrote.") from None


def unserved(app: Treadle, options: WorkerOptions) -> tuple[str, ...]:
    """The queues that tasks of the app name and that `options.queues` leaves out, by name."""
    served = {name for name, _ in options.queues}
    return tuple(sorted({task.settings.queue for task in app.registry.tasks()} - served))


def _whole(name: str, value: object, least: int) -> None:
    if not is_whole(value, least, sys.maxsize):
        raise InvalidOption(f"{name}={value!r}", f"must be a whole number, at least {least}", f"Set {name} to {least} or more.")


def _seconds(name: str, value: object, shortest: float) -> None:
    if not is_number(value) or not shortest <= value <= _LONGEST:
        rule = f"must be a number of seconds between {shortest:g} and {_LONGEST:.0f}"
        raise InvalidOption(f"{name}={value!r}", rule, f"Set {name} to a value in that range.")


def _queues(queues: tuple[tuple[str, int], ...]) -> None:
    if not queues:
        raise InvalidOption("queues=()", "a worker needs at least one queue", "Name one, as in `--queue default`.")
    seen: set[str] = set()
    for name, weight in queues:
        check_queue(name)
        if name in seen:
            raise InvalidOption(f"queue {name!r}", "is named twice", "Name each queue once, with its whole weight.")
        if not is_whole(weight, 1, 1_000_000):
            rule = "its weight must be a whole number from 1 to 1000000"
            raise InvalidOption(f"queue {name}:{weight}", rule, "Write `--queue name:weight`, as in `--queue critical:60`.")
        seen.add(name)
