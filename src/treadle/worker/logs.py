"""What a worker's log lines carry: which job they belong to, never what it was called with.

Only a worker's own processes call `configure`. In every other process the names `treadle.worker` and `treadle.job` are
ordinary loggers, and nothing here touches the root logger.
"""

import logging
import re
import sys
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, TextIO

import msgspec

from treadle.model.job import Claimed

_running: ContextVar[Claimed | None] = ContextVar("treadle_running_job", default=None)

FIELDS = ("job", "task", "queue", "attempt", "worker")
"""The fields added to each record: the first four inside a job, the last one always."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


in_job: Callable[[Claimed | None], object] = _running.set
"""From here on, what this task or thread logs carries the job; None ends it.

A bare assignment, not a context manager: it is paid for every job, and a runner logs nothing between two of them.
"""


def job_fields(claimed: Claimed) -> dict[str, str | int]:
    """The fields of one job, as `extra`: for lines about it that are written outside of its task or thread."""
    return {"job": claimed.id, "task": claimed.task, "queue": claimed.queue, "attempt": claimed.attempt}


class JobFilter(logging.Filter):
    """Lets every record pass, and names the job it was written in. What a caller's `extra` set is left alone."""

    def __init__(self, worker: str = "") -> None:
        super().__init__()
        self._worker = worker

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the fields; always true."""
        claimed = _running.get()
        mine = record.__dict__
        if claimed is not None:
            for name, value in job_fields(claimed).items():
                mine.setdefault(name, value)
        mine.setdefault("worker", self._worker)
        return True


class PlainFormatter(logging.Formatter):
    """One readable line per record: time, level, logger, message, then `name=value` for each field.

    A message of several lines, and a traceback, go on indented, so that no message can pass for a record of its own.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The record as text without control characters."""
        fields = "".join(f" {name}={_inline(value)}" for name, value in _fields(record))
        head, _, more = clean(record.getMessage()).partition("\n")
        line = f"{_time(record)} {record.levelname:<8} {clean(record.name)}: {head}{fields}"
        trace = _trace(self, record)
        rest = "\n".join(part for part in (more, trace) if part)
        return line + "".join(f"\n    {each}" for each in rest.splitlines())


class JsonFormatter(logging.Formatter):
    """One JSON object per line: `time`, `level`, `logger`, `message`, the job's fields, and `exception` when there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line of JSON."""
        line: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname,
            "logger": clean(record.name),
            "message": clean(record.getMessage()),
        }
        for name, value in _fields(record):
            line[name] = value if isinstance(value, int) else clean(str(value))
        trace = _trace(self, record)
        if trace:
            line["exception"] = trace
        return msgspec.json.encode(line).decode()


def configure(*, json: bool = False, level: str = "INFO", worker: str = "", stream: TextIO | None = None) -> logging.Handler:
    """Send this process's log records to `stream` (default: stderr), from `level` up, each with its job's fields.

    For a worker's own processes, before the app's modules are imported: an app that configures logging itself then has
    the last word. Calling it again replaces what the last call set up.
    """
    root = logging.getLogger()
    for old in list(root.handlers):
        if isinstance(old.formatter, PlainFormatter | JsonFormatter):
            root.removeHandler(old)
    handler = logging.StreamHandler(stream if stream is not None else sys.stderr)
    handler.setFormatter(JsonFormatter() if json else PlainFormatter())
    handler.addFilter(JobFilter(worker))
    root.addHandler(handler)
    root.setLevel(level)
    return handler


def clean(text: str) -> str:
    """The text without what could drive a terminal or disguise a line; tabs and line ends stay."""
    tame = _CONTROL.sub("", text.replace("\r\n", "\n"))
    return tame.encode("utf-8", "backslashreplace").decode()


def _fields(record: logging.LogRecord) -> list[tuple[str, object]]:
    found = record.__dict__
    return [(name, found[name]) for name in FIELDS if found.get(name) not in (None, "")]


def _inline(value: object) -> str:
    return clean(str(value)).replace("\n", " ")


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _trace(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    parts: list[str] = []
    if record.exc_info and record.exc_info[0] is not None:
        parts.append(formatter.formatException(record.exc_info))
    elif record.exc_text:
        parts.append(record.exc_text)
    if record.stack_info:
        parts.append(record.stack_info)
    return clean("\n".join(parts))
