"""What a job may raise to say how its attempt ends. Everything else it raises is a failure."""

from datetime import timedelta


class Retry(Exception):
    """Try again: counts a failure, whatever the task's `on` and `give_up_on` say.

    `after` is when (seconds, a timedelta or text such as `"5m"`); None leaves the delay to the task's rule.
    """

    def __init__(self, after: float | timedelta | str | None = None, reason: str = "") -> None:
        super().__init__(reason or "the job asked to be tried again")
        self.after = after
        self.reason = reason


class GiveUp(Exception):
    """Do not try again: the job becomes a dead letter at once."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason or "the job gave up")
        self.reason = reason


class Snooze(Exception):
    """Come back later: the attempt ends without counting a failure."""

    def __init__(self, duration: float | timedelta | str) -> None:
        super().__init__(f"the job asked for a later turn, in {duration}")
        self.duration = duration


class CancelJob(Exception):
    """Stop for good: the job ends cancelled."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason or "the job cancelled itself")
        self.reason = reason
