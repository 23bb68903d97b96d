"""The error tree. Every error a user can cause names the value, the rule and the cure.

TreadleError
  BadInput (ValueError)       InvalidArguments  InvalidResult  PayloadTooLarge  InvalidDuration  InvalidTime
                              InvalidOption (Misuse)  InvalidSchedule  InvalidURL  UnknownTask  UnknownJob  UnknownParent
                              UnknownSchedule  UnknownLimit  NotPermitted  DuplicateJob  IdempotencyConflict
  DefinitionError (TypeError) a task or schedule that cannot be declared like this
  StoreError                  CannotOpen  SchemaMismatch  VulnerableSQLite  MixedSQLite  NetworkFileSystem
                              VolatileStore  NotTransactional  StoreBusy
  LeaseLost                   the caller no longer owns the job
  QueueFull                   a queue is over its cap
  WouldBlock (RuntimeError)   a blocking call inside a running event loop
  NoResult                    JobDead  JobCancelled  JobExpired  ResultTimeout (TimeoutError)
"""

import re


class TreadleError(Exception):
    """The root of everything that treadle raises on purpose."""


class BadInput(TreadleError, ValueError):
    """Something handed in cannot be used. Nothing was changed.

    `value` is what was given (shortened), `rule` what it breaks, `cure` what to do instead.
    """

    def __init__(self, value: object, rule: str, cure: str) -> None:
        self.value = value
        self.rule = rule
        self.cure = cure
        super().__init__(f"{shown(value)}: {rule}. {cure}")


def shown(value: object) -> str:
    """A value as a message shows it: on one line, and shortened."""
    text = value if isinstance(value, str) and _speaks_for_itself(value) else _repr(value)
    return text if len(text) <= 200 else text[:197] + "..."


def told_of(what: str, name: object, error: BadInput) -> str:
    """An error as it is told of something that has a name, which is not said twice."""
    head, text = f"{shown(name)}: ", str(error)
    return f"{what} {text}" if text.startswith(head) else f"{what} {head}{text}"


def _speaks_for_itself(text: str) -> bool:
    """Whether a text needs no quotes: it is not empty and shows all of itself."""
    return text.isprintable() and text == text.strip() != ""


def _repr(value: object) -> str:
    try:
        return repr(value)
    except Exception:  # noqa: BLE001 - a broken __repr__ must not hide the mistake
        return f"<{type(value).__qualname__}>"


class InvalidArguments(BadInput):
    """Arguments that do not fit the task's signature; the rule names the path inside the value."""


class InvalidResult(BadInput):
    """A return value that does not serialise, or is larger than the cap."""


class PayloadTooLarge(BadInput):
    """Arguments larger than the cap."""


class InvalidDuration(BadInput):
    """A duration that does not parse, is negative, or is not finite."""


class InvalidTime(BadInput):
    """A moment without a time zone, or outside what the store can hold."""


class InvalidOption(BadInput):
    """An option that does not exist, or a value it does not take."""


class Misuse(InvalidOption):
    """A running job asked its context for what cannot be: a mistake in its code, so it becomes a dead letter at once."""


class InvalidSchedule(BadInput):
    """A cron expression, zone or interval that names no slots."""


_PASSWORD = re.compile(r"^([^:]*:/*[^:]*:|[^:]*:(?!//)).*@", re.DOTALL)
_PARAMETER = re.compile(r"([?&;].*?password[^=&]*?(?:=|%3D))[^&]*", re.IGNORECASE | re.DOTALL)
"""A parameter of this name, also behind a sign that does not end the one before it."""


def without_password(url: str) -> str:
    """A URL as it may be shown, however malformed: nothing between the user's colon and the last @, wherever that stands."""
    return _PASSWORD.sub(r"\1***@", _PARAMETER.sub(r"\1***", url))


class InvalidURL(BadInput):
    """A store URL with an unknown scheme or parameter. A password in it is not shown, however malformed the rest is."""

    def __init__(self, value: object, rule: str, cure: str) -> None:
        super().__init__(without_password(value) if isinstance(value, str) else value, rule, cure)


class UnknownTask(BadInput):
    """A task name that this app does not know."""


class UnknownJob(BadInput):
    """An id under which no job is stored: never enqueued, not committed (yet), or pruned since."""


class UnknownParent(BadInput):
    """An edge to a job that is neither stored nor part of the same call."""


class UnknownSchedule(BadInput):
    """A schedule that neither the app declares nor the store knows."""


class UnknownLimit(BadInput):
    """A limit that neither the app declares nor the store knows."""


class DuplicateJob(BadInput):
    """A job that counts as the same is there already, and the rule of uniqueness wants this error. `job` is its id."""

    def __init__(self, value: object, rule: str, cure: str, job: str) -> None:
        super().__init__(value, rule, cure)
        self.job = job


class IdempotencyConflict(BadInput):
    """An idempotency key under which another request, with other arguments, is known."""


class NotPermitted(BadInput):
    """A change that the state of the job does not allow."""


class DefinitionError(TreadleError, TypeError):
    """A task that cannot be declared like this; the message says where and how to put it right."""


class StoreError(TreadleError):
    """The store cannot be used as asked."""


class CannotOpen(StoreError):
    """The store cannot be opened: missing, unreadable, not a database, or not reachable."""


class SchemaMismatch(StoreError):
    """The store was made by a version of treadle that this one cannot work with."""


class VulnerableSQLite(StoreError):
    """The SQLite library has the WAL-reset bug (3.7.0 to 3.51.2) and several processes would share the file."""


class MixedSQLite(StoreError):
    """One process would open one file through two SQLite libraries, which drop each other's locks."""


class NetworkFileSystem(StoreError):
    """The database lies on a network file system, where SQLite's locks cannot be trusted."""


class VolatileStore(StoreError):
    """The store survives nothing, and nobody said that this is wanted."""


class NotTransactional(StoreError):
    """The store cannot take part in the transaction offered."""


class StoreBusy(StoreError):
    """The store did not become free, or gave no answer, within the deadline; the call can be repeated.

    Nothing was changed, unless the text says that this is unknown.
    """


class LeaseLost(TreadleError):
    """The job is no longer owned by the caller; what it wanted to write was refused."""


class QueueFull(TreadleError):
    """A queue is over its cap, and its cap says that nothing more is taken. Nothing was stored."""

    def __init__(self, message: str, queue: str) -> None:
        super().__init__(message)
        self.queue = queue


class WouldBlock(TreadleError, RuntimeError):
    """A blocking call was made inside a running event loop; the message names the awaitable twin."""


class NoResult(TreadleError):
    """The job has no result to give."""


class JobDead(NoResult):
    """The job gave up; the message carries its cause and its last error."""


class JobCancelled(NoResult):
    """The job was cancelled."""


class JobExpired(NoResult):
    """The job missed its start-by deadline."""


class ResultTimeout(NoResult, TimeoutError):
    """The job had not ended when the caller's patience did. The job goes on."""
