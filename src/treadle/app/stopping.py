"""What an operator pauses and resumes: a queue, a task in all queues, or one key of a limit."""

from collections.abc import Mapping
from typing import Any

from treadle.app.hours import pause_queue, resume_queue
from treadle.app.keys import KEY_CAP
from treadle.app.limit import Limit
from treadle.app.limitbook import read_limit, untold
from treadle.app.options import check_queue
from treadle.app.pausing import pause_write, resume
from treadle.engine.contract import Engine
from treadle.engine.plan import Plan, Steps, together
from treadle.model.errors import InvalidOption
from treadle.model.filter import check_text
from treadle.model.job import Micros
from treadle.model.kind import is_a
from treadle.model.record import Space, paused_key, paused_task


class NoKey(str):
    """The key of a call that names none: the empty one, but nobody has said so."""

    __slots__ = ()


NO_KEY: str = NoKey()


def pausing(
    engine: Engine,
    declared: Mapping[str, Limit],
    actor: str,
    reason: str,
    *,
    queue: str | None,
    task: str | None,
    limit: str | None,
    key: str,
) -> Plan[Any]:
    """Stop handing out what is meant. Raises `InvalidOption`, and `UnknownLimit`."""
    what = _named(queue, task, limit, key)
    if queue is not None:
        return pause_queue(engine, queue, actor, reason)
    write = engine.write([pause_write(what, actor, reason)])
    return write if limit is None else together(_check_key(engine, declared, limit, key), write)


def resuming(engine: Engine, now: Micros, *, queue: str | None, task: str | None, limit: str | None, key: str) -> Plan[bool]:
    """Hand out again what is meant; whether it was paused. Raises `InvalidOption`, and `NotPermitted` for its hours."""
    what = _named(queue, task, limit, key)
    return resume(engine, what) if queue is None else resume_queue(engine, queue, now)


def _named(queue: str | None, task: str | None, limit: str | None, key: str) -> str:
    """The name under which what is meant is paused. Raises `InvalidOption` unless it is exactly one thing."""
    if sum(each is not None for each in (queue, task, limit)) != 1:
        raise InvalidOption("pause", "one thing is paused at a time", "Name a queue, a task, or a key of a limit.")
    if queue is not None:
        return check_queue(queue)
    if not is_a(key, str):
        raise InvalidOption(key, "key must be text", 'Write key="...", or leave it out.')
    for name, value in (("task", task), ("limit", limit), ("key", key)):
        check_text(name, value)
        if value is not None and not value.isprintable():
            raise InvalidOption(value, f"this is not a {name}", "Name it as it is listed.")
    return paused_key(limit, key) if limit is not None else paused_task(task or "")


def _check_key(engine: Engine, declared: Mapping[str, Limit], limit: str, key: str) -> Plan[None]:
    """Raise `UnknownLimit` for a limit that nobody knows, and `InvalidOption` for a key that it does not have."""

    def begin() -> Steps[None]:
        records = yield from engine.read(Space.LIMIT, [limit]).begin()
        if not records and limit not in declared:
            raise untold(limit)
        by = read_limit(records[0]).by if records else declared[limit].by
        if key and by == ():
            cure = f"Leave the key out to pause all of it, or stop it with `treadle limits open {limit}`."
            raise InvalidOption(key, f"limit {limit} was declared without by=, so it has no keys", cure)
        if len(key.encode()) > KEY_CAP:
            said = f"a key of {len(key.encode()):,} bytes"
            raise InvalidOption(said, f"a key has at most {KEY_CAP}", "Name it as `treadle limits keys` lists it.")
        if by and isinstance(key, NoKey):
            cure = (
                f"Name the key to pause (`treadle limits pause {limit} KEY`), or stop all of it with "
                f"`treadle limits open {limit}`. An empty key is said as ''."
            )
            raise InvalidOption(limit, f"this limit has a key for each {' and '.join(by)}, and none was named", cure)

    return Plan("read", begin)
