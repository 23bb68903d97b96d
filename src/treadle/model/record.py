"""Small shared facts: a space, a key, a JSON value and a version, changed only by compare-and-set."""

from enum import StrEnum
from typing import NamedTuple


class Space(StrEnum):
    """What a record is about."""

    PAUSED = "paused"
    """Key: a queue, `paused_task(...)` or `paused_key(...)`. While the record exists, `claim` takes nothing from that queue,
    passes that task by, or parks what wants that key of a limit. Value: who paused it and why."""
    SCHEDULE = "schedule"
    """Key: a schedule's name. Value: how far it has fired."""
    SERVED = "served"
    """Key: a worker's entry module. Present once any worker has served this store."""
    LIMIT = "limit"
    """Key: a limit. Value: its `Rule`; what else stands beside it in the JSON object is not looked at."""
    FAIR = "fair"
    """Key: a queue. Value: the weights of its tenants, a JSON object of numbers above 0; who is not named has weight 1."""
    CAP = "cap"
    """Key: a queue. Value: how many jobs may wait in it, or how long, and what becomes of those beyond."""
    WINDOW = "window"
    """Key: a queue. Value: the hours in which its jobs are handed out."""
    WEIGHT = "weight"
    """Key: a queue. Value: its share of a worker, instead of what the worker was started with."""
    AGE = "age"
    """Key: a queue. Value: after how long its waiting jobs gain priority."""
    AGED = "aged"
    """Key: a queue. Value: how far those jobs have been gone through."""


def paused_task(task: str) -> str:
    """The key under which `Space.PAUSED` pauses a task in all queues."""
    return f"task\n{task}"


def paused_key(limit: str, key: str = "") -> str:
    """The key under which `Space.PAUSED` pauses one key of a limit."""
    return f"key\n{limit}\n{key}"


class Record(NamedTuple):
    """One fact as stored. `version` starts at 1 and grows by one with each write."""

    space: Space
    key: str
    value: str
    version: int


class Write(NamedTuple):
    """A compare-and-set: store `value` (None deletes) if the record's version is `expect`.

    `expect` 0 means absent, None means whatever it is.
    """

    space: Space
    key: str
    value: str | None
    expect: int | None = None


class Written(NamedTuple):
    """The answer to one write: whether it was done, and the version that now stands (0: absent)."""

    done: bool
    version: int


class Guard(NamedTuple):
    """A compare-and-set carried by a new job: both happen, or neither."""

    write: Write
