"""treadle: a job queue for Python that starts as one file with no server.

The public names, nothing else. Each is imported when it is first asked for, so that commands which need little (`treadle
health`, `treadle --version`) answer at once, and so that the pytest plugin costs a test run nothing.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from treadle.app.app import Treadle
    from treadle.app.call import Call
    from treadle.app.client import Client
    from treadle.app.context import Context
    from treadle.app.declare import Tasks
    from treadle.app.failure import ErrorRecord
    from treadle.app.flow import Ordered
    from treadle.app.handle import JobHandle, JobHandles
    from treadle.app.holdups import Holdup
    from treadle.app.ids import new_id
    from treadle.app.limit import Limit
    from treadle.app.limits import KeyView, LimitView
    from treadle.app.obstacles import Obstacle
    from treadle.app.retry_after import retry_after
    from treadle.app.schedules import Schedules
    from treadle.app.signature import Redacted, Secret
    from treadle.app.slot import Slot
    from treadle.app.task import Task
    from treadle.app.timetable import ScheduleView
    from treadle.app.unique import Unique, debounce, throttle
    from treadle.app.view import Attempt, Count, DeadLetter, Job, Progress, QueueView, Relative, Standstill, WorkerView
    from treadle.app.where import Filter
    from treadle.engine.session import Durability
    from treadle.model.errors import (
        BadInput,
        CannotOpen,
        DefinitionError,
        DuplicateJob,
        IdempotencyConflict,
        InvalidArguments,
        InvalidDuration,
        InvalidOption,
        InvalidResult,
        InvalidSchedule,
        InvalidTime,
        InvalidURL,
        JobCancelled,
        JobDead,
        JobExpired,
        LeaseLost,
        Misuse,
        MixedSQLite,
        NetworkFileSystem,
        NoResult,
        NotPermitted,
        NotTransactional,
        PayloadTooLarge,
        QueueFull,
        ResultTimeout,
        SchemaMismatch,
        StoreBusy,
        StoreError,
        TreadleError,
        UnknownJob,
        UnknownLimit,
        UnknownParent,
        UnknownSchedule,
        UnknownTask,
        VolatileStore,
        VulnerableSQLite,
        WouldBlock,
    )
    from treadle.model.filter import Altered, Axis, Order, Page, Retention
    from treadle.model.job import OnDead
    from treadle.model.priority import CRITICAL, HIGH, LOW, NORMAL
    from treadle.model.raised import CancelJob, GiveUp, Retry, Snooze
    from treadle.model.state import State
    from treadle.policy.breaker import Breaker
    from treadle.policy.catching_up import CatchUp, Overlap
    from treadle.policy.pressure import Cap
    from treadle.policy.retry import NO_RETRY, Retries

__all__ = [
    "CRITICAL",
    "HIGH",
    "LOW",
    "NORMAL",
    "NO_RETRY",
    "Altered",
    "Attempt",
    "Axis",
    "BadInput",
    "Breaker",
    "Call",
    "CancelJob",
    "CannotOpen",
    "Cap",
    "CatchUp",
    "Client",
    "Context",
    "Count",
    "DeadLetter",
    "DefinitionError",
    "DuplicateJob",
    "Durability",
    "ErrorRecord",
    "Filter",
    "GiveUp",
    "Holdup",
    "IdempotencyConflict",
    "InvalidArguments",
    "InvalidDuration",
    "InvalidOption",
    "InvalidResult",
    "InvalidSchedule",
    "InvalidTime",
    "InvalidURL",
    "Job",
    "JobCancelled",
    "JobDead",
    "JobExpired",
    "JobHandle",
    "JobHandles",
    "KeyView",
    "LeaseLost",
    "Limit",
    "LimitView",
    "Misuse",
    "MixedSQLite",
    "NetworkFileSystem",
    "NoResult",
    "NotPermitted",
    "NotTransactional",
    "Obstacle",
    "OnDead",
    "Order",
    "Ordered",
    "Overlap",
    "Page",
    "PayloadTooLarge",
    "Progress",
    "QueueFull",
    "QueueView",
    "Redacted",
    "Relative",
    "ResultTimeout",
    "Retention",
    "Retries",
    "Retry",
    "ScheduleView",
    "Schedules",
    "SchemaMismatch",
    "Secret",
    "Slot",
    "Snooze",
    "Standstill",
    "State",
    "StoreBusy",
    "StoreError",
    "Task",
    "Tasks",
    "Treadle",
    "TreadleError",
    "Unique",
    "UnknownJob",
    "UnknownLimit",
    "UnknownParent",
    "UnknownSchedule",
    "UnknownTask",
    "VolatileStore",
    "VulnerableSQLite",
    "WorkerView",
    "WouldBlock",
    "debounce",
    "new_id",
    "retry_after",
    "throttle",
]

_HOMES = {
    "treadle.policy.breaker": ("Breaker",),
    "treadle.policy.pressure": ("Cap",),
    "treadle.app.unique": (
        "Unique",
        "debounce",
        "throttle",
    ),
    "treadle.app.limits": ("KeyView", "LimitView"),
    "treadle.app.holdups": ("Holdup",),
    "treadle.app.obstacles": ("Obstacle",),
    "treadle.app.limit": ("Limit",),
    "treadle.app.flow": ("Ordered",),
    "treadle.app.app": ("Treadle",),
    "treadle.app.call": ("Call",),
    "treadle.app.client": ("Client",),
    "treadle.app.context": ("Context",),
    "treadle.app.declare": ("Tasks",),
    "treadle.app.failure": ("ErrorRecord",),
    "treadle.app.handle": ("JobHandle", "JobHandles"),
    "treadle.app.ids": ("new_id",),
    "treadle.app.retry_after": ("retry_after",),
    "treadle.app.schedules": ("Schedules",),
    "treadle.app.signature": ("Redacted", "Secret"),
    "treadle.app.slot": ("Slot",),
    "treadle.app.task": ("Task",),
    "treadle.app.timetable": ("ScheduleView",),
    "treadle.app.view": (
        "Attempt",
        "Count",
        "DeadLetter",
        "Job",
        "Progress",
        "QueueView",
        "Relative",
        "Standstill",
        "WorkerView",
    ),
    "treadle.app.where": ("Filter",),
    "treadle.engine.session": ("Durability",),
    "treadle.model.errors": (
        "BadInput",
        "CannotOpen",
        "DefinitionError",
        "DuplicateJob",
        "IdempotencyConflict",
        "InvalidArguments",
        "InvalidDuration",
        "InvalidOption",
        "InvalidResult",
        "InvalidSchedule",
        "InvalidTime",
        "InvalidURL",
        "JobCancelled",
        "JobDead",
        "JobExpired",
        "LeaseLost",
        "Misuse",
        "MixedSQLite",
        "NetworkFileSystem",
        "NoResult",
        "NotPermitted",
        "NotTransactional",
        "PayloadTooLarge",
        "QueueFull",
        "ResultTimeout",
        "SchemaMismatch",
        "StoreBusy",
        "StoreError",
        "TreadleError",
        "UnknownJob",
        "UnknownLimit",
        "UnknownParent",
        "UnknownSchedule",
        "UnknownTask",
        "VolatileStore",
        "VulnerableSQLite",
        "WouldBlock",
    ),
    "treadle.model.filter": ("Altered", "Axis", "Order", "Page", "Retention"),
    "treadle.model.job": ("OnDead",),
    "treadle.model.priority": ("CRITICAL", "HIGH", "LOW", "NORMAL"),
    "treadle.model.raised": ("CancelJob", "GiveUp", "Retry", "Snooze"),
    "treadle.model.state": ("State",),
    "treadle.policy.catching_up": ("CatchUp", "Overlap"),
    "treadle.policy.retry": ("NO_RETRY", "Retries"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    """Import a public name from its home."""
    module = _HOME.get(name)
    if module is None:
        raise AttributeError(f"module 'treadle' has no attribute {name!r}")
    value: object = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names."""
    return sorted({*globals(), *__all__})
