"""Small shared facts: a space, a key, a JSON value and a version, changed only by compare-and-set."""

from enum import StrEnum
from typing import NamedTuple


class Space(StrEnum):
    """What a record is about."""

    PAUSED = "paused"
    """Key: a queue. While the record exists, `claim` takes nothing from that queue. Value: who paused it and why."""
    SCHEDULE = "schedule"
    """Key: a schedule's name. Value: how far it has fired."""
    SERVED = "served"
    """Key: a worker's entry module. Present once any worker has served this store."""


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
