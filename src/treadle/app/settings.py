"""What a task says about its jobs, once every layer of configuration has spoken."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypedDict

import msgspec

from treadle.app.flow import FREE, READERS, Flow, Ordered
from treadle.app.keys import By, Parameters
from treadle.app.limit import Limit
from treadle.app.options import (
    Options,
    check_durability,
    check_priority,
    check_queue,
    check_retry,
    check_tags,
    check_timeout,
)
from treadle.app.signature import Signature
from treadle.app.unique import Unique
from treadle.engine.session import Durability
from treadle.model.errors import BadInput, DefinitionError
from treadle.model.kind import is_whole
from treadle.policy.duration import Duration, seconds
from treadle.policy.retry import NO_RETRY, Retries

Executor = Literal["loop", "thread", "process"]
OnStuck = Literal["recycle", "leave"]

DEFAULT_RETRY = Retries()
PAYLOAD_CAP = 65_536
RESULT_CAP = 262_144


class TaskWords(TypedDict, total=False):
    """What a user may write in `@app.task(...)`."""

    name: str | None
    queue: str
    priority: int
    executor: Executor | None
    retry: Retries | None
    timeout: Duration | None
    hard_timeout: Duration | None
    start_within: Duration | None
    at_most_once: bool
    max_crashes: int
    durability: Durability | str
    on_stuck: OnStuck
    tags: Sequence[str]
    version: int
    payload_cap: int | None
    result_cap: int | None
    limits: Sequence[Limit]
    costs: Mapping[str, int]
    ordered_by: By | Ordered | None
    unique: Unique | None
    fair_by: By | None


@dataclass(slots=True, frozen=True, kw_only=True)
class Defaults:
    """What holds for every task of an app that says nothing itself."""

    retry: Retries = DEFAULT_RETRY
    payload_cap: int = PAYLOAD_CAP
    result_cap: int = RESULT_CAP


@dataclass(slots=True, frozen=True, kw_only=True)
class TaskSettings:
    """How jobs of one task are stored and run. Durations are seconds, caps are bytes.

    `timeout` is how long one attempt may run, `start_within` how long after it is due a job may still start,
    `max_crashes` how often the process under it may die, `redacted` the parameters whose values no view shows, and `return`
    where it is the result. `flow` is what holds its jobs back, `governed` says that something does; `held` names the limits
    of one job, and the claim of a `gated` job counts as its start.
    """

    name: str
    executor: Executor
    flow: Flow = FREE
    governed: bool = False
    held: tuple[str, ...] = ()
    gated: bool = False
    queue: str = "default"
    priority: int = 0
    retry: Retries = DEFAULT_RETRY
    timeout: float | None = None
    start_within: float | None = None
    at_most_once: bool = False
    max_crashes: int = 3
    durability: Durability = Durability.DEFAULT
    on_stuck: OnStuck = "recycle"
    tags: tuple[str, ...] = ()
    version: int = 1
    payload_cap: int = PAYLOAD_CAP
    result_cap: int = RESULT_CAP
    redacted: tuple[str, ...] = ()


def settle_settings(signature: Signature, words: Mapping[str, Any], defaults: Defaults) -> TaskSettings:
    """The settings of a task from its own words and its app's defaults. Raises `DefinitionError`."""
    unknown = words.keys() - TaskWords.__annotations__.keys()
    if unknown:
        raise DefinitionError(
            f"{signature.name}: a task has no setting {min(unknown)!r}. Use one of: {', '.join(TaskWords.__annotations__)}."
        )
    given = {name: value for name, value in words.items() if value is not None}
    executor = _executor(signature, given)
    try:
        checked = {name: read(given[name]) for name, read in _READERS.items() if name in given}
    except BadInput as error:
        raise DefinitionError(f"{signature.name}: {error}") from error
    checked.update(_timeout(signature, given, executor))
    once = checked.get("at_most_once", False)
    if once and ("retry" in given or "max_crashes" in given):
        raise DefinitionError(
            f"{signature.name}: at_most_once means no second start. Leave retry and max_crashes out, or drop it."
        )
    if once:
        checked.update(retry=NO_RETRY, max_crashes=1)
    checked.setdefault("retry", defaults.retry)
    checked.setdefault("payload_cap", defaults.payload_cap)
    checked.setdefault("result_cap", defaults.result_cap)
    redacted = signature.redacted()
    flow = _flow(signature, redacted, given)
    return TaskSettings(
        name=signature.name,
        executor=executor,
        flow=flow,
        governed=not flow.plain,
        held=tuple(limit.name for limit in flow.limits),
        gated=flow.gated,
        redacted=redacted,
        **checked,
    )


def _flow(signature: Signature, redacted: tuple[str, ...], given: Mapping[str, Any]) -> Flow:
    defaults = {each.name: each.default for each in signature.parameters if each.default is not each.empty}
    parameters = Parameters(signature.name, tuple(each.name for each in signature.parameters), defaults, redacted)
    try:
        said = {name: read(given[word]) for word, (name, read) in READERS.items() if word in given}
        return Flow(parameters=parameters, **said)
    except BadInput as error:
        raise DefinitionError(f"{signature.name}: {error}") from error


def _executor(signature: Signature, given: Mapping[str, Any]) -> Executor:
    executor: Executor | None = given.get("executor")
    if executor is None:
        return "loop" if signature.is_async else "thread"
    if executor not in ("loop", "thread", "process"):
        raise DefinitionError(f'{signature.name}: there is no executor {executor!r}. Use "loop", "thread" or "process".')
    if signature.is_async and executor != "loop":
        raise DefinitionError(f'{signature.name} is an async def and runs on the loop. Write a def for executor="{executor}".')
    if not signature.is_async and executor == "loop":
        raise DefinitionError(
            f'{signature.name} is a def and would block the loop. Write an async def, or use executor="thread".'
        )
    return executor


def _timeout(signature: Signature, given: Mapping[str, Any], executor: Executor) -> dict[str, float]:
    if "hard_timeout" in given and executor != "process":
        raise DefinitionError(
            f"{signature.name}: a {executor} task cannot be stopped by force, so it takes no hard_timeout. "
            'Use executor="process", or timeout= for a request to stop.'
        )
    if "hard_timeout" in given and "timeout" in given:
        raise DefinitionError(f"{signature.name}: in a process, timeout and hard_timeout are the same. Give one of them.")
    value = given.get("hard_timeout", given.get("timeout"))
    if value is None:
        return {}
    try:
        return {"timeout": check_timeout(value)}
    except BadInput as error:
        raise DefinitionError(f"{signature.name}: {error}") from error


def _whole(name: str, low: int, high: int) -> Any:
    def read(value: Any) -> int:
        if not is_whole(value, low, high):
            raise BadInput(repr(value), f"{name} is a whole number from {low:,} to {high:,}", "Correct the number.")
        return value

    return read


def _yes_or_no(value: Any) -> bool:
    if not isinstance(value, bool):
        raise BadInput(value, "True or False is needed here", "Correct the value.")
    return value


def _on_stuck(value: Any) -> OnStuck:
    if value not in ("recycle", "leave"):
        raise BadInput(value, "on_stuck does not know this", 'Use "recycle" or "leave".')
    found: OnStuck = value
    return found


_READERS: dict[str, Any] = {
    "queue": check_queue,
    "priority": check_priority,
    "retry": check_retry,
    "start_within": seconds,
    "at_most_once": _yes_or_no,
    "max_crashes": _whole("max_crashes", 1, 1000),
    "durability": check_durability,
    "on_stuck": _on_stuck,
    "tags": check_tags,
    "version": _whole("version", 1, 2**31 - 1),
    "payload_cap": _whole("payload_cap", 2, 2**30),
    "result_cap": _whole("result_cap", 2, 2**30),
}


class _RetryRule(msgspec.Struct, omit_defaults=True):
    """A retry rule as it travels with a job; the exception classes stay with the code."""

    delays: tuple[float, ...] | None = None
    max_failures: int = 5
    first: float = 1.0
    factor: float = 2.0
    cap: float = 600.0
    jitter: Literal["full", "none"] = "full"
    within: float | None = None


class _Overrides(msgspec.Struct, omit_defaults=True):
    """What one job says differently from its task, and a worker must know."""

    timeout: float | None = None
    retry: _RetryRule | None = None
    durability: Durability | None = None
    held: tuple[str, ...] | None = None
    gated: bool | None = None


_overrides = msgspec.json.Decoder(_Overrides)


def write_overrides(options: Options, flow: Flow) -> str | None:
    """The part of a call's options that its worker must know, as JSON; None when there is none. `flow` is the call's own."""
    if options.timeout is None and options.retry is None and options.durability is None and not options.flow:
        return None
    rule = None
    if options.retry is not None:
        rule = _RetryRule(**{name: getattr(options.retry, name) for name in _RetryRule.__struct_fields__})
    found = _Overrides(options.timeout, rule, options.durability)
    if "limits" in options.flow or "ordered" in options.flow:
        found.held, found.gated = tuple(limit.name for limit in flow.limits), flow.gated
    return None if found == _Overrides() else msgspec.json.encode(found).decode()


def override(settings: TaskSettings, text: str) -> TaskSettings:
    """The settings of one job, its own words laid over the task's. Raises `MsgspecError` or `BadInput` for foreign text."""
    found = _overrides.decode(text)
    retry = settings.retry
    if found.retry is not None and not settings.at_most_once:
        rule = found.retry
        retry = Retries(
            rule.delays,
            max_failures=None if rule.delays is not None else rule.max_failures,
            first=rule.first,
            factor=rule.factor,
            cap=rule.cap,
            jitter=rule.jitter,
            within=rule.within,
            on=settings.retry.on,
            give_up_on=settings.retry.give_up_on,
        )
    timeout = settings.timeout if found.timeout is None else found.timeout
    return replace(
        settings,
        retry=retry,
        timeout=timeout,
        durability=found.durability or settings.durability,
        held=settings.held if found.held is None else found.held,
        gated=settings.gated if found.gated is None else found.gated,
    )
