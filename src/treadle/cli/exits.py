"""The exit codes of every command. Scripts rely on them: a number once given keeps its meaning."""

from enum import IntEnum

from treadle.model.errors import (
    BadInput,
    DefinitionError,
    NoResult,
    ResultTimeout,
    StoreError,
    TreadleError,
    UnknownJob,
    UnknownLimit,
    UnknownSchedule,
)


class Exit(IntEnum):
    """What a command's exit code means."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    TIMEOUT = 4
    STORE = 5
    INTERRUPTED = 130


MEANINGS = {
    Exit.OK: "done",
    Exit.FAILED: "a job ended without a result, a check failed, or the store is unhealthy",
    Exit.USAGE: "bad input: nothing was changed",
    Exit.NOT_FOUND: "no such job, queue, schedule, limit or dead letter",
    Exit.TIMEOUT: "the job had not ended in time; it goes on",
    Exit.STORE: "the store is missing, busy or cannot be used",
    Exit.INTERRUPTED: "interrupted by Ctrl-C",
}


def code_for(error: TreadleError) -> Exit:
    """The exit code that says what kind of error this is."""
    if isinstance(error, (UnknownJob, UnknownLimit, UnknownSchedule)):
        return Exit.NOT_FOUND
    if isinstance(error, ResultTimeout):
        return Exit.TIMEOUT
    if isinstance(error, NoResult):
        return Exit.FAILED
    if isinstance(error, StoreError):
        return Exit.STORE
    if isinstance(error, (BadInput, DefinitionError)):
        return Exit.USAGE
    return Exit.FAILED


class Quit(Exception):
    """Ends the command with a code once its message is printed."""

    def __init__(self, message: str, code: Exit) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
