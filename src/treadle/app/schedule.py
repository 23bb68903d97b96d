"""A schedule as code declares it: which task, with which arguments, at which slots, and what if one is missed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypedDict, TypeVar, cast

from treadle.app.book import Declared, Template
from treadle.app.options import UNSAID
from treadle.app.task import AnyTask
from treadle.model.errors import InvalidArguments, InvalidOption, InvalidSchedule
from treadle.model.job import Micros, micros
from treadle.policy.catching_up import CatchUp, Overlap
from treadle.policy.cron import read_cron
from treadle.policy.duration import Duration, seconds
from treadle.policy.slots import Interval, Rule, WallTime, find_zone

E = TypeVar("E", bound=StrEnum)

_NAME_BYTES = 180
_SHORTEST, _LONGEST = 1.0, 366 * 86_400.0
_MOST_JITTER = 86_400.0


class ScheduleWords(TypedDict, total=False):
    """What a user may write in `@app.schedule(...)` beside the cron expression."""

    every: Duration | None
    tz: str
    name: str | None
    args: Mapping[str, Any] | None
    catch_up: CatchUp | str
    window: Duration
    overlap: Overlap | str | None
    jitter: Duration


@dataclass(slots=True, frozen=True, kw_only=True)
class Schedule:
    """One declared schedule. `window` and `jitter` are seconds, `args` the task's arguments by name."""

    name: str
    task: AnyTask
    rule: Rule
    catch_up: CatchUp
    window: float
    overlap: Overlap
    jitter: float
    args: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def zone(self) -> str:
        """The name of its zone; UTC for an interval."""
        return self.rule.zone.key if isinstance(self.rule, WallTime) else "UTC"

    def declared(self) -> Declared:
        """The schedule as the store keeps it. Raises `InvalidArguments` if the arguments do not fit the task."""
        rule = self.rule
        return Declared(
            rule=rule.text if isinstance(rule, WallTime) else "",
            period=rule.period if isinstance(rule, Interval) else 0,
            zone=self.zone,
            catch_up=self.catch_up.value,
            window=self.window,
            overlap=self.overlap.value,
            jitter=self.jitter,
            template=Template.of(self.task.call_named(self.args, UNSAID).to_job()),
        )


def read_rule(cron: str | None, every: Duration | None = None, tz: str | None = None) -> Rule:
    """The rule that was said. Raises `InvalidSchedule` or `InvalidDuration`."""
    if (cron is None) == (every is None):
        raise InvalidSchedule(
            cron if cron is not None else "nothing",
            "a schedule has either a cron expression or an interval",
            'Write @app.schedule("30 2 * * *") or @app.schedule(every="5m").',
        )
    if cron is not None:
        return WallTime(read_cron(cron), find_zone("UTC" if tz is None else tz))
    if tz is not None:
        cure = 'Leave tz out, or write a cron expression: "0 * * * *".'
        raise InvalidSchedule(tz, "an interval is elapsed time and knows no zones", cure)
    period = seconds(every or 0.0)
    if not _SHORTEST <= period <= _LONGEST:
        raise InvalidSchedule(every, "an interval is from one second to 366 days long", 'Write for example every="5m".')
    return Interval(micros(period))


def stored_rule(declared: Declared) -> Rule:
    """The rule of a schedule as the store keeps it."""
    if declared.period:
        return Interval(declared.period)
    return WallTime(read_cron(declared.rule), find_zone(declared.zone))


def make_schedule(task: AnyTask, cron: str | None, words: Mapping[str, Any]) -> Schedule:
    """The schedule that was said of a task. Raises what is wrong with it as `BadInput`."""
    unknown = words.keys() - ScheduleWords.__annotations__.keys()
    if unknown:
        cure = f"Use one of: {', '.join(ScheduleWords.__annotations__)}."
        raise InvalidOption(min(unknown), "a schedule has no such setting", cure)
    catch_up = _one_of(CatchUp, "catch_up", words.get("catch_up", CatchUp.ONCE))
    schedule = Schedule(
        name=_name(words.get("name"), task),
        task=task,
        rule=read_rule(cron, words.get("every"), words.get("tz")),
        catch_up=catch_up,
        window=seconds(words.get("window", 86_400.0)),
        overlap=_overlap(words.get("overlap"), catch_up),
        jitter=seconds(words.get("jitter", 0.0)),
        args=_args(words.get("args"), task),
    )
    most = schedule.rule.period / 1e6 if isinstance(schedule.rule, Interval) else _MOST_JITTER
    if schedule.jitter > most:
        rule = "a slot is spread over a day at most, and over no more than its interval"
        raise InvalidOption(f"jitter={words['jitter']!r}", rule, "Give a shorter jitter.")
    return schedule


def _overlap(said: object, catch_up: CatchUp) -> Overlap:
    if said is None:
        return Overlap.ALLOW if catch_up is CatchUp.ALL else Overlap.SKIP
    overlap = _one_of(Overlap, "overlap", said)
    if catch_up is CatchUp.ALL and overlap is not Overlap.ALLOW:
        raise InvalidOption(
            f'overlap="{overlap}"',
            'with catch_up="all" it would drop most of the slots to catch up with, since they come at once',
            'Leave overlap out, or use catch_up="once".',
        )
    return overlap


def _one_of(kind: type[E], name: str, said: object) -> E:
    try:
        return kind(str(said))
    except ValueError:
        rule = f"{name} does not know this"
        raise InvalidOption(said, rule, f"Use one of {', '.join(f'{each!r}' for each in map(str, kind))}.") from None


def _name(said: object, task: AnyTask) -> str:
    name = task.name if said is None else said
    visible = isinstance(name, str) and name and name.isprintable() and not any(each.isspace() for each in name)
    if not isinstance(name, str) or not visible or len(name.encode()) > _NAME_BYTES or name.startswith("@"):
        rule = f"a schedule's name is up to {_NAME_BYTES} bytes of visible text without spaces, and does not begin with @"
        raise InvalidOption(name, rule, 'Give it one: name="nightly".')
    return name


def _args(said: object, task: AnyTask) -> Mapping[str, Any]:
    if said is not None and not isinstance(said, Mapping):
        raise InvalidArguments(said, "arguments are given by name", 'Write args={"day": 1}.')
    given: dict[str, Any] = dict(cast(Mapping[str, Any], said or {}))
    missing = [each for each in task.required if each not in given]
    if missing:
        cure = f'Write args={{"{missing[0]}": ...}}, or give the parameter a default.'
        raise InvalidArguments(", ".join(missing), "nobody gives these parameters a value when a slot comes", cure)
    return given


def stored_catch_up(declared: Declared) -> tuple[CatchUp, Micros]:
    """What is done about missed slots, and within which time."""
    return CatchUp(declared.catch_up), micros(declared.window)
