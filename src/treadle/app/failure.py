"""An exception as text: what a dead letter shows, made so that no exception can break it."""

import hashlib
import sys
from pathlib import Path
from traceback import walk_tb
from types import FrameType, TracebackType
from typing import NamedTuple

import msgspec

_MESSAGE = 2000
_NOTE = 500
_NOTES = 10
_FRAMES = 40
_CHAIN = 5
_OURS = f"{__name__.partition('.')[0]}.worker"


class Frame(msgspec.Struct):
    """One line of a trace: the module and the function, and where in which file."""

    module: str
    function: str
    file: str
    line: int


class ErrorRecord(msgspec.Struct, omit_defaults=True):
    """One exception: class path, message, frames (outermost first), notes, and the one it came from.

    `link` says how the next one is related: `cause` (raised from it) or `context` (raised while handling it). Everything
    is capped: `skipped` counts the frames left out of the middle.
    """

    error: str
    message: str
    frames: list[Frame] = []
    notes: list[str] = []
    skipped: int = 0
    link: str = ""
    next: "ErrorRecord | None" = None


class Failure(NamedTuple):
    """An exception as stored: the JSON text of an `ErrorRecord`, a fingerprint to group by, and one line to show."""

    json: str
    fingerprint: str
    summary: str


def capture(exc: BaseException, task: str = "") -> Failure:
    """Write an exception down. Never raises, whatever the exception's own methods do.

    The fingerprint is made of the class and of each frame's module and function, so that it survives edits and other
    values: the same mistake has the same fingerprint. What has no frames, as a timeout, is told apart by its task.
    """
    record = _record(exc, _CHAIN, set())
    places = [f"{each.module}:{each.function}" for each in record.frames] or ([task] if task else [])
    mark = "\n".join([record.error, *places])
    fingerprint = hashlib.blake2b(mark.encode(), digest_size=8).hexdigest()
    return Failure(msgspec.json.encode(record).decode(), fingerprint, summary(record))


def summary(record: ErrorRecord) -> str:
    """The class and the first line of what it said, in at most 300 characters."""
    kind, first_line = record.error.rpartition(".")[2], record.message.partition("\n")[0]
    return _cut(f"{kind}: {first_line}" if first_line else kind, 300)


def plain(text: object) -> str:
    """What a body said in its own words, as text that every store takes: no lone surrogates, capped, whatever it is."""
    try:
        return _cut(_clean(str(text)), _MESSAGE)
    except BaseException as broken:  # noqa: BLE001 - the user's __str__ may raise anything
        return f"<its __str__ raised {_clean(type(broken).__qualname__)}>"


def read_record(text: str) -> ErrorRecord:
    """The record behind its JSON text."""
    return msgspec.json.decode(text, type=ErrorRecord)


def _record(exc: BaseException, depth: int, seen: set[int]) -> ErrorRecord:
    seen.add(id(exc))
    frames, skipped = _frames(exc.__traceback__)
    record = ErrorRecord(_class_path(exc), plain(exc), frames, _notes(exc), skipped)
    link, following = ("cause", exc.__cause__) if exc.__cause__ is not None else ("context", exc.__context__)
    if following is None or (link == "context" and exc.__suppress_context__) or id(following) in seen or depth <= 1:
        return record
    record.link = link
    record.next = _record(following, depth - 1, seen)
    return record


def _class_path(exc: BaseException) -> str:
    kind = type(exc)
    path = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return _cut(_clean(path), 300)


def _notes(exc: BaseException) -> list[str]:
    try:
        return [_cut(_clean(str(each)), _NOTE) for each in list(getattr(exc, "__notes__", ()))[:_NOTES]]
    except BaseException as broken:  # noqa: BLE001 - as above
        return [f"<its notes raised {_clean(type(broken).__qualname__)}>"]


def _frames(trace: TracebackType | None) -> tuple[list[Frame], int]:
    found = [_frame(frame, line) for frame, line in walk_tb(trace)]
    # The worker's own frames come first in every trace and say nothing about the job.
    while len(found) > 1 and (found[0].module == _OURS or found[0].module.startswith(_OURS + ".")):
        del found[0]
    skipped = max(0, len(found) - _FRAMES)
    if skipped:
        del found[_FRAMES // 2 : _FRAMES // 2 + skipped]
    return found, skipped


def _frame(frame: FrameType, line: int) -> Frame:
    code = frame.f_code
    module = frame.f_globals.get("__name__")
    name = module if isinstance(module, str) else "?"
    return Frame(_clean(name), _clean(code.co_qualname), _place(_clean(code.co_filename)), line)


def _place(filename: str) -> str:
    """The file as it is imported, without what differs from machine to machine."""
    for folder in sys.path:
        if folder and filename.startswith(folder.rstrip("/") + "/"):
            return filename[len(folder.rstrip("/")) + 1 :]
    return Path(filename).name


def _clean(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 3] + "..."
