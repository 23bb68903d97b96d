"""Jobs as they are shown: as JSON values for scripts, as lines for people."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import msgspec

from treadle.app.failure import ErrorRecord
from treadle.app.obstacles import Obstacle
from treadle.app.view import Attempt, DeadLetter, Job, Relative
from treadle.cli.output import ago, clean, moment, say, show_table, tint
from treadle.model.job import JobId
from treadle.model.state import State

_NONE: Mapping[JobId, Obstacle] = {}


def job_json(job: Job, obstacles: Mapping[JobId, Obstacle] = _NONE, *, details: bool = False) -> dict[str, Any]:
    """A job for `--json`; times are ISO 8601 in UTC, durations seconds. `details` adds the lists and what it is held by."""
    obstacle = obstacles.get(job.id)
    found: dict[str, Any] = {
        "id": job.id,
        "task": job.task,
        "queue": job.queue,
        "priority": job.priority,
        "state": job.state.value,
        "blocked_on": job.blocked_on,
        "reason": job.reason,
        "obstacle": None if obstacle is None else obstacle.why,
        "waits_for": None if obstacle is None else _obstacle_json(obstacle),
        "attempt": job.attempt,
        "failures": job.failures,
        "crashes": job.crashes,
        "snoozes": job.snoozes,
        "releases": job.releases,
        "enqueued_at": moment(job.enqueued_at),
        "due_at": moment(job.due_at),
        "start_by": moment(job.start_by),
        "claimed_at": moment(job.claimed_at),
        "finished_at": moment(job.finished_at),
        "worker": job.worker,
        "lease": job.lease,
        "cancel_requested": job.cancel_requested,
        "stuck": job.stuck,
        "suspect": job.suspect,
        "key": job.key,
        "tags": list(job.tags),
        "args": job.args,
        "result": job.result,
        "progress": msgspec.to_builtins(job.progress),
        "dead": _dead_json(job.dead),
    }
    if details:
        found["attempts"] = [_attempt_json(each) for each in job.attempts]
        found["parents"] = [_relative_json(each) for each in job.parents]
        found["children"] = [_relative_json(each) for each in job.children]
        found["limits"] = [each._asdict() for each in job.limits]
        found["ordering"] = job.ordering
        found["stops"] = job.stops
    return found


def _obstacle_json(obstacle: Obstacle) -> dict[str, Any]:
    found = asdict(obstacle)
    del found["why"]
    return found


def _dead_json(dead: DeadLetter | None) -> dict[str, Any] | None:
    if dead is None:
        return None
    return asdict(dead) | {"died_at": moment(dead.died_at), "changed_at": moment(dead.changed_at)}


def _attempt_json(attempt: Attempt) -> dict[str, Any]:
    return {
        "attempt": attempt.number,
        "outcome": attempt.outcome,
        "worker": attempt.worker,
        "started_at": moment(attempt.started_at),
        "ended_at": moment(attempt.ended_at),
        "delay": attempt.delay,
        "error": msgspec.to_builtins(attempt.error),
        "exit": attempt.exit,
    }


def _relative_json(relative: Relative) -> dict[str, Any]:
    return {"id": relative.id, "on_dead": relative.on_dead.value, "state": relative.state.value}


def _json(value: object) -> str:
    """A value as JSON on one line, empty for None."""
    return "" if value is None else msgspec.json.encode(value).decode()


def show_jobs(jobs: Sequence[Job], obstacles: Mapping[JobId, Obstacle], empty: str) -> None:
    """Jobs as a table, one line each."""
    now = time.time()
    rows = [
        (
            job.id,
            job.state.value,
            job.task,
            job.queue,
            job.priority,
            job.attempt,
            ago(job.enqueued_at, now),
            obstacles[job.id].why if job.id in obstacles else _remark(job, now),
        )
        for job in jobs
    ]
    show_table(("id", "state", "task", "queue", "pri", "att", "age", "remark"), rows, empty=empty)


def show_dead(jobs: Sequence[Job], empty: str) -> None:
    """Dead letters as a table, one line each."""
    now = time.time()
    rows = [
        (job.id, job.task, dead.status, dead.cause, dead.fingerprint[:8], ago(dead.died_at, now), dead.reason)
        for job in jobs
        if (dead := job.dead) is not None
    ]
    show_table(("id", "task", "status", "cause", "print", "died", "reason"), rows, empty=empty)


def _remark(job: Job, now: float) -> str:
    if job.dead is not None and job.state is State.DEAD:
        return str(job.dead)
    if job.cancel_requested and not job.state.final:
        return "asked to stop"
    if job.stuck:
        return "stuck: past its timeout"
    if job.blocked_on:
        return f"waits for {job.blocked_on}"
    if job.due_at is not None and job.state.value in {"scheduled", "retrying"}:
        return f"due {ago(job.due_at, now)}"
    return job.reason or ""


def show_job(job: Job, obstacles: Mapping[JobId, Obstacle] = _NONE) -> None:
    """One job in full: what it is, what keeps it, what happened, and its last error."""
    for name, text in _facts(job, obstacles.get(job.id)):
        say(f"{name:<10} {text}")
    if job.id in obstacles:
        obstacle = obstacles[job.id]
        say(f"{'obstacle':<10} {clean(obstacle.why)}")
        if obstacle.cure:
            say(f"{'cure':<10} {clean(obstacle.cure)}")
    if job.attempts:
        say("\nattempts that did not complete:")
        rows = [
            (each.number, each.outcome, moment(each.started_at), each.worker, _summary(each.error)) for each in job.attempts
        ]
        show_table(("att", "outcome", "started", "worker", "error"), rows)
        error = next((each.error for each in reversed(job.attempts) if each.error), None)
        if error:
            say("\nlast traceback:")
            say(clean(_traceback(error), lines=True).rstrip())


def _facts(job: Job, obstacle: Obstacle | None) -> Iterator[tuple[str, str]]:
    yield "id", clean(job.id)
    yield "state", tint(job.state.value) + (f" on {clean(job.blocked_on)}" if job.blocked_on else "")
    yield "task", clean(job.task)
    yield "queue", f"{clean(job.queue)}, priority {job.priority}"
    yield "args", clean(_json(job.args))
    for name, at in (("enqueued", job.enqueued_at), ("due", job.due_at), ("start by", job.start_by)):
        if at is not None:
            yield name, str(moment(at))
    for name, at in (("claimed", job.claimed_at), ("finished", job.finished_at)):
        if at is not None:
            yield name, str(moment(at))
    counts = f"{job.attempt} (failures {job.failures}, crashes {job.crashes}, snoozes {job.snoozes}, releases {job.releases})"
    yield "attempts", counts
    optional = {"worker": job.worker, "key": job.key, "tags": ", ".join(job.tags), "reason": job.reason}
    optional |= {"progress": _json(job.progress), "result": _json(job.result)}
    for name, text in optional.items():
        if text:
            yield name, clean(text)
    flags = [name for name in ("cancel_requested", "stuck", "suspect") if getattr(job, name)]
    if flags:
        yield "flags", ", ".join(flags)
    yield from _flow(job, obstacle)
    for name, relatives in (("parent", job.parents), ("child", job.children)):
        for id_, rule, state in relatives:
            yield name, f"{clean(id_)} {tint(state.value)} (on dead: {rule.value})"
    if job.dead is not None:
        yield "dead", clean(job.dead)
        changed = f" by {clean(job.dead.changed_by)} at {moment(job.dead.changed_at)}" if job.dead.changed_by else ""
        yield "letter", f"{job.dead.status}{changed}, fingerprint {clean(job.dead.fingerprint)}"
        if job.dead.note:
            yield "note", clean(job.dead.note)


def _flow(job: Job, obstacle: Obstacle | None) -> Iterator[tuple[str, str]]:
    """The keys of limits that it asks for, and the order it stands in."""
    for hold in job.limits:
        yield "limit", clean(f"{hold.limit}, key {hold.key}" if hold.key else hold.limit) + _cost(hold.cost)
    if job.ordering is not None:
        ends = "replayed or resolved" if obstacle is None else "resolved"
        yield "order", clean(job.ordering) + (f", which it stops until it is {ends}" if job.stops else "")


def _cost(cost: int) -> str:
    return "" if cost == 1 else f", cost {cost:,}"


def _summary(error: ErrorRecord | None) -> str:
    return "" if error is None else f"{error.error}: {error.message}".strip(": ")


def _traceback(error: ErrorRecord) -> str:
    """The stored frames as Python would print them, the exception it came from first."""
    parts: list[str] = []
    found: ErrorRecord | None = error
    while found:
        lines = [f'  File "{each.file}", line {each.line}, in {each.function}' for each in found.frames]
        if found.skipped:
            lines.insert(len(lines) // 2, f"  ... {found.skipped} frames left out ...")
        lines.append(f"{found.error}: {found.message}")
        lines += found.notes
        parts.append("\n".join(lines))
        found = found.next
    return "\n\n".join(reversed(parts))
