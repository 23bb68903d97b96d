"""Jobs as they are shown: as JSON values for scripts, as lines for people."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from treadle.cli.output import ago, clean, moment, say, show_table, tint
from treadle.model.job import AttemptRecord, DeadLetter, Job, JobId

_NONE: Mapping[JobId, str] = {}


def value(text: str | None) -> Any:
    """Stored JSON text as a value; None when there is none."""
    return None if text is None else json.loads(text)


def job_json(job: Job, obstacles: Mapping[JobId, str] = _NONE, *, details: bool = False) -> dict[str, Any]:
    """A job for `--json`; times are ISO 8601 in UTC, durations seconds. `details` adds attempts and relatives."""
    found: dict[str, Any] = {
        "id": job.id,
        "task": job.task,
        "queue": job.queue,
        "priority": job.priority,
        "state": job.state.value,
        "blocked_on": job.blocked_on,
        "reason": job.reason,
        "obstacle": obstacles.get(job.id),
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
        "args": value(job.args),
        "result": value(job.result),
        "progress": value(job.progress),
        "dead": _dead_json(job.dead),
    }
    if details:
        found["attempts"] = [_attempt_json(each) for each in job.attempts]
        found["parents"] = [{"id": id_, "on_dead": rule.value, "state": state.value} for id_, rule, state in job.parents]
        found["children"] = [{"id": id_, "on_dead": rule.value, "state": state.value} for id_, rule, state in job.children]
    return found


def _dead_json(dead: DeadLetter | None) -> dict[str, Any] | None:
    if dead is None:
        return None
    return dead._asdict() | {"died_at": moment(dead.died_at), "changed_at": moment(dead.changed_at)}


def _attempt_json(attempt: AttemptRecord) -> dict[str, Any]:
    return attempt._asdict() | {
        "started_at": moment(attempt.started_at),
        "ended_at": moment(attempt.ended_at),
        "error": value(attempt.error),
    }


def show_jobs(jobs: Sequence[Job], obstacles: Mapping[JobId, str], empty: str) -> None:
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
            obstacles.get(job.id) or _remark(job, now),
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
    if job.dead is not None:
        return f"{job.dead.cause}: {job.dead.reason}"
    if job.cancel_requested and not job.state.final:
        return "asked to stop"
    if job.stuck:
        return "stuck: past its timeout"
    if job.blocked_on:
        return f"waits for {job.blocked_on}"
    if job.due_at is not None and job.state.value in {"scheduled", "retrying"}:
        return f"due {ago(job.due_at, now)}"
    return job.reason or ""


def show_job(job: Job, obstacles: Mapping[JobId, str] = _NONE) -> None:
    """One job in full: what it is, what keeps it, what happened, and its last error."""
    for name, text in _facts(job):
        say(f"{name:<10} {text}")
    if job.id in obstacles:
        say(f"{'obstacle':<10} {clean(obstacles[job.id])}")
    if job.attempts:
        say("\nattempts that did not complete:")
        rows = [
            (each.attempt, each.outcome, moment(each.started_at), each.worker, _summary(each.error)) for each in job.attempts
        ]
        show_table(("att", "outcome", "started", "worker", "error"), rows)
        trace = next((found for each in reversed(job.attempts) if (found := _traceback(each.error))), None)
        if trace:
            say("\nlast traceback:")
            say(clean(trace, lines=True).rstrip())


def _facts(job: Job) -> Iterator[tuple[str, str]]:
    yield "id", clean(job.id)
    yield "state", tint(job.state.value) + (f" on {clean(job.blocked_on)}" if job.blocked_on else "")
    yield "task", clean(job.task)
    yield "queue", f"{clean(job.queue)}, priority {job.priority}"
    yield "args", clean(job.args)
    for name, at in (("enqueued", job.enqueued_at), ("due", job.due_at), ("start by", job.start_by)):
        if at is not None:
            yield name, str(moment(at))
    for name, at in (("claimed", job.claimed_at), ("finished", job.finished_at)):
        if at is not None:
            yield name, str(moment(at))
    counts = f"{job.attempt} (failures {job.failures}, crashes {job.crashes}, snoozes {job.snoozes}, releases {job.releases})"
    yield "attempts", counts
    optional = {"worker": job.worker, "key": job.key, "tags": ", ".join(job.tags), "reason": job.reason}
    optional |= {"progress": job.progress, "result": job.result}
    for name, text in optional.items():
        if text:
            yield name, clean(text)
    flags = [name for name in ("cancel_requested", "stuck", "suspect") if getattr(job, name)]
    if flags:
        yield "flags", ", ".join(flags)
    for name, relatives in (("parent", job.parents), ("child", job.children)):
        for id_, rule, state in relatives:
            yield name, f"{clean(id_)} {tint(state.value)} (on dead: {rule.value})"
    if job.dead is not None:
        yield "dead", f"{clean(job.dead.cause)}: {clean(job.dead.reason)}"
        changed = f" by {clean(job.dead.changed_by)} at {moment(job.dead.changed_at)}" if job.dead.changed_by else ""
        yield "letter", f"{job.dead.status}{changed}, fingerprint {clean(job.dead.fingerprint)}"
        if job.dead.note:
            yield "note", clean(job.dead.note)


def _error(text: str | None) -> dict[str, Any]:
    found = value(text)
    return cast(dict[str, Any], found) if isinstance(found, dict) else {}


def _summary(text: str | None) -> str:
    error = _error(text)
    return f"{error.get('error', '')}: {error.get('message', '')}".strip(": ")


def _traceback(text: str | None) -> str:
    """The stored frames as Python would print them, the exception it came from first."""
    error: dict[str, Any] | None = _error(text)
    parts: list[str] = []
    while error:
        lines = [f'  File "{each["file"]}", line {each["line"]}, in {each["function"]}' for each in error.get("frames", ())]
        if error.get("skipped"):
            lines.insert(len(lines) // 2, f"  ... {error['skipped']} frames left out ...")
        lines.append(f"{error.get('error', '')}: {error.get('message', '')}")
        lines += [str(note) for note in error.get("notes", ())]
        parts.append("\n".join(lines))
        error = error.get("next")
    return "\n\n".join(reversed(parts))
