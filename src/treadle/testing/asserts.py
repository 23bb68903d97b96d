"""What a test says about the jobs that its code enqueued."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypedDict, Unpack, cast

import msgspec

from treadle.app.app import Treadle
from treadle.app.options import OptionWords, read_options
from treadle.app.task import AnyTask
from treadle.app.view import Job, view_job
from treadle.model import job as stored
from treadle.model.errors import InvalidOption
from treadle.model.filter import Filter, Page
from treadle.policy.duration import Duration

_SHOWN = 5
_MOST = 10_000


class Expected(TypedDict, total=False):
    """What an enqueued job may be expected to say, in the words of `task.options`."""

    queue: str
    priority: int
    tags: Sequence[str]
    key: str
    delay: Duration
    run_at: datetime
    start_within: Duration
    job_id: str


def assert_enqueued(
    app: Treadle,
    task: AnyTask | str,
    args: Mapping[str, Any] | None = None,
    *,
    count: int | None = None,
    **options: Unpack[Expected],
) -> list[Job]:
    """The jobs of a task that were enqueued with these arguments and options; fails when there is none, or not `count`.

    `args` names the arguments that matter; others are not looked at. `tags` must be among the job's.
    """
    name, jobs = _jobs(app, task)
    found = _matching(jobs, args, options)
    if found if count is None else len(found) == count:
        return [view_job(each) for each in found]
    wanted = f"{'a job' if count is None else f'{count} jobs'} of {name}{_words(args, options)}"
    raise AssertionError(f"expected {wanted}, found {len(found) or 'none'}.{_others(jobs)}")


def refute_enqueued(
    app: Treadle, task: AnyTask | str, args: Mapping[str, Any] | None = None, **options: Unpack[Expected]
) -> None:
    """Fails when a job of a task was enqueued with these arguments and options."""
    name, jobs = _jobs(app, task)
    found = _matching(jobs, args, options)
    if found:
        raise AssertionError(f"expected no job of {name}{_words(args, options)}, found {len(found)}.{_others(found)}")


def _jobs(app: Treadle, task: AnyTask | str) -> tuple[str, list[stored.Job]]:
    name = task if isinstance(task, str) else task.name
    return name, app.connection.run(app.connection.engine.find(Filter(tasks=(name,)), Page(limit=_MOST)))


def _matching(jobs: list[stored.Job], args: Mapping[str, Any] | None, options: Mapping[str, Any]) -> list[stored.Job]:
    words = cast("OptionWords", options)
    unknown = options.keys() - Expected.__annotations__.keys()
    if unknown:
        raise InvalidOption(
            min(unknown), "this cannot be expected of a job", f"Use one of: {', '.join(Expected.__annotations__)}."
        )
    read_options(words)
    return [each for each in jobs if _has_args(each, args) and _has_options(each, words)]


def _has_args(job: stored.Job, args: Mapping[str, Any] | None) -> bool:
    if not args:
        return True
    stored: dict[str, Any] = msgspec.json.decode(job.args)
    expected: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(dict(args)))
    return all(name in stored and stored[name] == value for name, value in expected.items())


def _has_options(job: stored.Job, words: OptionWords) -> bool:
    said = read_options(words)
    due = job.due_at if job.due_at is not None else job.enqueued_at
    wait = round((due - job.enqueued_at) / 1_000_000, 3)
    patience = None if job.start_by is None else round((job.start_by - due) / 1_000_000, 3)
    return (
        (said.queue is None or said.queue == job.queue)
        and (said.priority is None or said.priority == job.priority)
        and set(said.tags) <= set(job.tags)
        and (said.key is None or said.key == job.key)
        and (said.job_id is None or said.job_id == job.id)
        and (said.delay is None or round(said.delay, 3) == wait)
        and (said.run_at is None or said.run_at == due)
        and (said.start_within is None or round(said.start_within, 3) == patience)
    )


def _words(args: Mapping[str, Any] | None, options: Mapping[str, Any]) -> str:
    parts = [f"{name}={value!r}" for name, value in (args or {}).items()]
    said = [f"{name}={value!r}" for name, value in options.items()]
    return f"({', '.join(parts)})" + (f" with {', '.join(said)}" if said else "")


def _others(jobs: list[stored.Job]) -> str:
    if not jobs:
        return " No job of this task is stored."
    lines = [f"\n  {each.args} queue={each.queue} priority={each.priority} state={each.state}" for each in jobs[:_SHOWN]]
    more = f"\n  and {len(jobs) - _SHOWN} more" if len(jobs) > _SHOWN else ""
    return " Stored are:" + "".join(lines) + more
