"""One attempt: decode, call, encode, and turn whatever comes out into an outcome."""

import os
import random
from time import monotonic
from typing import Any

from treadle.app.connection import Connection
from treadle.app.context import Context, Ending
from treadle.app.failure import capture, plain
from treadle.app.settings import TaskSettings
from treadle.app.task import AnyTask
from treadle.engine.contract import Now
from treadle.model.errors import InvalidDuration
from treadle.model.job import Claimed, LeaseId
from treadle.model.outcome import (
    Cancelled,
    Cause,
    Completed,
    Crashed,
    Died,
    NoteKind,
    Outcome,
    Released,
    Retrying,
    Settlement,
    Snoozed,
)
from treadle.model.raised import CancelJob, GiveUp, Retry, Snooze
from treadle.policy.duration import seconds
from treadle.policy.retry import Over, decide
from treadle.worker.executors.port import Bench
from treadle.worker.logs import in_job
from treadle.worker.run import Run, Stop

NO_RESULT = Completed()
"""The outcome of a body that returned None: always the same value, so it is made once."""


_copies: list[None] = []
"""One entry for each fork between the process that imported this and the one that reads it."""
os.register_at_fork(after_in_child=lambda: _copies.append(None))


class JobTimeout(Exception):
    """The body ran longer than its timeout allows."""


class JobExit(Exception):
    """Stands in for `SystemExit` and its kin when the retry rule is asked: leaving is a failure like any other."""


class RunReporter:
    """What a context may ask of the worker, for one run."""

    __slots__ = ("_bench", "_run")

    def __init__(self, run: Run, bench: Bench) -> None:
        self._run = run
        self._bench = bench

    def report(self, kind: NoteKind, name: str, value: str) -> None:
        """Hand a note to the worker; never blocks."""
        self._bench.report(self._run, kind, name, value)

    def cancelled(self) -> bool:
        """Whether the body has been asked to stop."""
        return self._run.stop is not None

    def completing(self, connection: Any, result: object) -> Ending:
        """The end of this attempt inside the user's transaction."""
        return self._bench.completing(self._run, connection, result)


async def run_async(run: Run, bench: Bench) -> Outcome:
    """Run an `async def` task to its outcome. Never raises, whatever the body does."""
    task, claimed = run.task, run.claimed
    in_job(claimed)
    try:
        args, kwargs = task.prepare(claimed.args, claimed.version)
    except Exception as error:
        return invalid(error)
    copies = len(_copies)
    try:
        if task.wants_context:
            value = await task.fn(Context(claimed, RunReporter(run, bench)), *args, **kwargs)
        else:
            value = await task.fn(*args, **kwargs)
    except BaseException as error:
        # A body that cancelled its own task has failed; whether the worker is being torn down, the executor knows.
        _no_copy(copies)
        return stopped(run) if run.stop is not None else failed(run.settings, claimed, error, _spent(run))
    _no_copy(copies)
    # Past its timeout an attempt has timed out, in every executor, whatever its body made of the request to stop.
    return stopped(run) if run.stop is Stop.TIMEOUT else returned(task, value)


def _no_copy(before: int) -> None:
    """End this process if the body forked it and came back here in the copy: the original tells how the job ended."""
    if len(_copies) != before:
        os._exit(0)


def run_in_thread(run: Run, bench: Bench) -> Outcome:
    """Run a `def` task to its outcome in the calling thread. Never raises."""
    context = Context(run.claimed, RunReporter(run, bench)) if run.task.wants_context else None
    outcome = run_sync(run.task, run.settings, run.claimed, context)
    if run.stop is Stop.TIMEOUT or (run.stop is not None and not isinstance(outcome, Completed)):
        return stopped(run)
    return outcome


def run_sync(task: AnyTask, settings: TaskSettings, claimed: Claimed, context: Context | None) -> Outcome:
    """Run a `def` task to its outcome. Never raises, whatever the body does."""
    began = monotonic()
    in_job(claimed)
    try:
        args, kwargs = task.prepare(claimed.args, claimed.version)
    except Exception as error:
        return invalid(error)
    copies = len(_copies)
    try:
        value = task.fn(*args, **kwargs) if context is None else task.fn(context, *args, **kwargs)
    except BaseException as error:
        _no_copy(copies)
        return failed(settings, claimed, error, monotonic() - began)
    _no_copy(copies)
    return returned(task, value)


def completing(
    store: Connection,
    lease: LeaseId,
    task: AnyTask,
    claimed: Claimed,
    took: float,
    given: Any,
    result: object,
    now: Now = None,
) -> Ending:
    """The completion of an attempt, inside the user's transaction."""
    end = Settlement(claimed.ref, claimed.id, claimed.attempt, Completed(task.encode_result(result)), took)
    return Ending(store.engine.settle(lease, [end], now=now), store.lent(given), store.session)


def returned(task: AnyTask, value: object) -> Outcome:
    """The outcome of an attempt whose body returned `value`."""
    try:
        result = task.encode_result(value)
    except Exception as error:
        return invalid(error)
    return NO_RESULT if result is None else Completed(result)


def invalid(error: Exception) -> Outcome:
    """The outcome of an attempt whose payload does not fit the task, or whose result does not serialise: permanent."""
    failure = capture(error)
    return Died(Cause.INVALID, failure.summary, failure.fingerprint, failure.json)


def failed(settings: TaskSettings, claimed: Claimed, error: BaseException, spent: float) -> Outcome:
    """The outcome of an attempt whose body raised `error` after `spent` seconds."""
    try:
        match error:
            case Snooze():
                return Snoozed(seconds(error.duration))
            case CancelJob():
                return Cancelled(plain(error.reason))
            case _:
                return _retry_or_die(settings, claimed, error, spent)
    except InvalidDuration as wrong:
        # `Snooze("soon")` or `Retry(after=-1)`: asking for a delay that is none is a failure like any other.
        return _retry_or_die(settings, claimed, wrong, spent)


def _retry_or_die(settings: TaskSettings, claimed: Claimed, error: BaseException, spent: float) -> Outcome:
    failure = capture(error, claimed.task)
    if settings.at_most_once:
        reason = f"{failure.summary} (at most once: no second start)"
        return Died(_exhausted(error), reason, failure.fingerprint, failure.json)
    since = None
    if claimed.first_failed_at is not None:
        # Both moments are the store's own, so the worker's clock does not matter.
        since = (claimed.claimed_at - claimed.first_failed_at) / 1e6 + spent
    after = seconds(error.after) if isinstance(error, Retry) and error.after is not None else None
    judged = error if isinstance(error, Exception) else JobExit(failure.summary)
    decision = decide(
        settings.retry,
        failures_before=claimed.failures,
        since_first_failure=since,
        error=judged,
        draw=random.random(),  # noqa: S311 - jitter, not a secret
        after=after,
        exhausted=_exhausted(error),
    )
    if isinstance(decision, Over):
        # A body that gave up has said why in its own words.
        reason = plain(decision.reason) if isinstance(error, GiveUp) else f"{decision.reason}; last error: {failure.summary}"
        return Died(decision.cause, reason, failure.fingerprint, failure.json)
    return Retrying(decision.delay, failure.json)


def _exhausted(error: BaseException) -> Cause:
    return Cause.TIMED_OUT if isinstance(error, JobTimeout) else Cause.FAILED


def stopped(run: Run) -> Outcome:
    """The outcome of a run that was made to end, by the reason it was."""
    match run.stop:
        case Stop.TIMEOUT:
            limit = run.settings.timeout
            error = JobTimeout(f"ran longer than its timeout of {limit:g} s" if limit else "timed out")
            return failed(run.settings, run.claimed, error, _spent(run))
        case Stop.CANCEL:
            # Whoever asked has said why, and the store has kept it.
            return Cancelled("")
        case _:
            return Released()


def crashed(how: str, delay: float) -> Outcome:
    """The outcome of a run whose own process died: `how` says so, `delay` is seconds until another try."""
    return Crashed(how, delay)


def _spent(run: Run) -> float:
    return 0.0 if run.started is None else monotonic() - run.started
