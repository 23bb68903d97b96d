"""One attempt in a worker's hands, from claim to outcome."""

from enum import StrEnum

from treadle.app.settings import TaskSettings
from treadle.app.task import AnyTask
from treadle.model.job import Claimed


class Stop(StrEnum):
    """Why a running body was asked to stop before it ended by itself."""

    TIMEOUT = "timeout"
    CANCEL = "cancel"
    RELEASE = "release"
    LOST = "lost"


class Run:
    """One claimed job and where it stands here.

    `started` and `deadline` are monotonic seconds; `started` is None while the run waits in a buffer. `stop` is set once,
    by the first reason to stop it. Only the worker's loop thread writes here, but `stop` is read, and
    `throttled` written, by the job's own thread.
    """

    __slots__ = ("claimed", "deadline", "place", "settings", "started", "stop", "task", "throttled")

    def __init__(self, claimed: Claimed, task: AnyTask, settings: TaskSettings) -> None:
        self.claimed: Claimed = claimed
        self.task: AnyTask = task
        self.settings: TaskSettings = settings
        self.started: float | None = None
        self.deadline: float | None = None
        self.stop: Stop | None = None
        self.throttled: bool = False
        """Whether the body said that a service wants it slower."""
        self.place: object = None
        """Where its executor keeps it: a task, a thread, a child. Nobody else looks inside."""

    def __repr__(self) -> str:
        claimed = self.claimed
        return f"<Run {claimed.task} {claimed.id} attempt {claimed.attempt}>"
