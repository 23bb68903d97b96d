"""treadle: a job queue for Python that starts as one file with no server."""

from treadle.app.app import Treadle
from treadle.app.call import Call
from treadle.app.client import Client
from treadle.app.context import Context
from treadle.app.declare import Tasks
from treadle.app.handle import JobHandle, JobHandles
from treadle.app.ids import new_id
from treadle.app.retry_after import retry_after
from treadle.app.signature import Redacted, Secret
from treadle.app.task import Task
from treadle.engine.session import Durability
from treadle.model.errors import (
    BadInput,
    CannotOpen,
    DefinitionError,
    InvalidArguments,
    InvalidDuration,
    InvalidOption,
    InvalidResult,
    InvalidTime,
    InvalidURL,
    JobCancelled,
    JobDead,
    JobExpired,
    LeaseLost,
    MixedSQLite,
    NetworkFileSystem,
    NoResult,
    NotPermitted,
    NotTransactional,
    PayloadTooLarge,
    ResultTimeout,
    SchemaMismatch,
    StoreBusy,
    StoreError,
    TreadleError,
    UnknownJob,
    UnknownParent,
    UnknownTask,
    VolatileStore,
    VulnerableSQLite,
    WouldBlock,
)
from treadle.model.filter import Filter, Order, Page, Retention
from treadle.model.job import Job, OnDead
from treadle.model.priority import CRITICAL, HIGH, LOW, NORMAL
from treadle.model.raised import CancelJob, GiveUp, Retry, Snooze
from treadle.model.state import State
from treadle.policy.retry import NO_RETRY, Retries

__all__ = [
    "CRITICAL",
    "HIGH",
    "LOW",
    "NORMAL",
    "NO_RETRY",
    "BadInput",
    "Call",
    "CancelJob",
    "CannotOpen",
    "Client",
    "Context",
    "DefinitionError",
    "Durability",
    "Filter",
    "GiveUp",
    "InvalidArguments",
    "InvalidDuration",
    "InvalidOption",
    "InvalidResult",
    "InvalidTime",
    "InvalidURL",
    "Job",
    "JobCancelled",
    "JobDead",
    "JobExpired",
    "JobHandle",
    "JobHandles",
    "LeaseLost",
    "MixedSQLite",
    "NetworkFileSystem",
    "NoResult",
    "NotPermitted",
    "NotTransactional",
    "OnDead",
    "Order",
    "Page",
    "PayloadTooLarge",
    "Redacted",
    "ResultTimeout",
    "Retention",
    "Retries",
    "Retry",
    "SchemaMismatch",
    "Secret",
    "Snooze",
    "State",
    "StoreBusy",
    "StoreError",
    "Task",
    "Tasks",
    "Treadle",
    "TreadleError",
    "UnknownJob",
    "UnknownParent",
    "UnknownTask",
    "VolatileStore",
    "VulnerableSQLite",
    "WouldBlock",
    "new_id",
    "retry_after",
]
