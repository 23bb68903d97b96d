"""Declaring tasks: the decorator, and collections of tasks that a library makes and an app attaches."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, Unpack, cast, overload

from treadle.app.context import Context
from treadle.app.limit import Limit, LimitWords, make_limit
from treadle.app.schedule import Schedule, ScheduleWords, make_schedule
from treadle.app.settings import Defaults, TaskWords
from treadle.app.task import AnyTask, CoroutineTask, FunctionTask, Task
from treadle.model.errors import BadInput, DefinitionError, told_of

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T", bound=AnyTask)


class Declaration(Protocol):
    """What `@app.task(...)` gives: something that makes a function a task."""

    # A coroutine is also an R, so the first overloads overlap the last ones on purpose: the first that fits is meant.
    @overload
    def __call__(  # type: ignore[overload-overlap]  # pyright: ignore[reportOverlappingOverload]
        self, fn: Callable[Concatenate[Context, P], Coroutine[Any, Any, R]], /
    ) -> CoroutineTask[Concatenate[Context, P], P, R]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, fn: Callable[P, Coroutine[Any, Any, R]], /
    ) -> CoroutineTask[P, P, R]: ...
    @overload
    def __call__(self, fn: Callable[Concatenate[Context, P], R], /) -> FunctionTask[Concatenate[Context, P], P, R]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> FunctionTask[P, P, R]: ...


class Scheduling(Protocol):
    """What `@app.schedule(...)` gives: something that puts a task on a schedule, or makes a function a task for that."""

    @overload
    def __call__(self, task: T, /) -> T: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]  # pyright: ignore[reportOverlappingOverload]
        self, fn: Callable[Concatenate[Context, P], Coroutine[Any, Any, R]], /
    ) -> CoroutineTask[Concatenate[Context, P], P, R]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, fn: Callable[P, Coroutine[Any, Any, R]], /
    ) -> CoroutineTask[P, P, R]: ...
    @overload
    def __call__(self, fn: Callable[Concatenate[Context, P], R], /) -> FunctionTask[Concatenate[Context, P], P, R]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> FunctionTask[P, P, R]: ...


class Declares(ABC):
    """Whatever tasks can be declared on: an app, or a library's collection."""

    @abstractmethod
    def _put(self, schedule: Schedule) -> None:
        """Keep a schedule."""

    @abstractmethod
    def _declare(self, fn: Callable[..., Any], words: Mapping[str, Any]) -> AnyTask:
        """Make a function a task and keep it."""

    @abstractmethod
    def _keep(self, limit: Limit) -> None:
        """Keep a limit."""

    def limit(self, name: str, **words: Unpack[LimitWords]) -> Limit:
        """Declare a limit for tasks to hold: `stripe = app.limit("stripe", rate="100/min", burst=20, by="account")`.

        `rate` is how many jobs start in which time, over all workers, evenly spread; `burst` how many may start at once after
        a quiet while; with `strict` no stretch of that time ever sees more than the rate. `concurrency` is how many run at
        once. `by` names parameters of the task: each of their values has a limit of its own. `breaker` stops the whole limit
        when jobs keep failing. What is declared goes to the store when a worker starts, unless an operator has changed it
        there. Raises `DefinitionError`.
        """
        try:
            made = make_limit(name, words)
        except BadInput as error:
            raise DefinitionError(told_of("limit", name, error)) from error
        self._keep(made)
        return made

    @overload
    def task(  # type: ignore[overload-overlap]  # pyright: ignore[reportOverlappingOverload]
        self, fn: Callable[Concatenate[Context, P], Coroutine[Any, Any, R]], /
    ) -> CoroutineTask[Concatenate[Context, P], P, R]: ...
    @overload
    def task(  # type: ignore[overload-overlap]
        self, fn: Callable[P, Coroutine[Any, Any, R]], /
    ) -> CoroutineTask[P, P, R]: ...
    @overload
    def task(self, fn: Callable[Concatenate[Context, P], R], /) -> FunctionTask[Concatenate[Context, P], P, R]: ...
    @overload
    def task(self, fn: Callable[P, R], /) -> FunctionTask[P, P, R]: ...
    @overload
    def task(self, **words: Unpack[TaskWords]) -> Declaration: ...
    def task(self, fn: Callable[..., Any] | None = None, **words: Any) -> Any:
        """Make a function a task: `@app.task`, or `@app.task(queue="mail", retry=Retries(["1m", "5m"]))`.

        Raises `DefinitionError` for a function or a setting that cannot work, and says how to put it right.
        """
        if fn is not None:
            return self._declare(fn, words)

        def declare(later: Callable[..., Any]) -> AnyTask:
            return self._declare(later, words)

        return declare

    def schedule(self, cron: str | None = None, /, **words: Unpack[ScheduleWords]) -> Scheduling:
        """Enqueue a task by the clock: `@app.schedule("30 2 * * *", tz="Europe/Paris")`, `@app.schedule(every="5m")`.

        Above a function it makes it a task; above `@app.task(...)` it schedules that task; it may stand there several
        times, each with a `name`. `catch_up` says what becomes of slots that nobody was there to fire, if they came within
        `window`: `once`, `skip` or `all`. `overlap` says what becomes of a slot when the job of the one before has not
        ended: `skip`, `queue_one` or `allow`. `jitter` spreads the jobs over some time after their slots. Raises
        `DefinitionError`.
        """

        def schedule(fn: Any) -> Any:
            task = cast(AnyTask, fn) if isinstance(fn, Task) else self._declare(fn, {})
            try:
                made = make_schedule(task, cron, words)
            except BadInput as error:
                raise DefinitionError(f"the schedule of {task.name}: {error}") from error
            self._put(made)
            return task

        return schedule


class Tasks(Declares):
    """Tasks declared away from any app, under a common prefix: `lib = Tasks(prefix="mail")`, then `app.attach(lib)`."""

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix
        self.schedules: list[Schedule] = []
        """Their schedules."""
        self.limits: list[Limit] = []
        """Their limits."""
        self._tasks: dict[str, AnyTask] = {}

    def __repr__(self) -> str:
        return f"<Tasks {self.prefix or '(no prefix)'}: {', '.join(self._tasks) or 'none'}>"

    def __iter__(self) -> Iterator[AnyTask]:
        return iter(self._tasks.values())

    def __len__(self) -> int:
        return len(self._tasks)

    def _declare(self, fn: Callable[..., Any], words: Mapping[str, Any]) -> AnyTask:
        if self.prefix:
            own = words.get("name") or getattr(fn, "__name__", "")
            words = {**words, "name": f"{self.prefix}.{own}"}
        task = make_task(fn, words)
        if task.name in self._tasks:
            raise DefinitionError(f"two tasks of this collection are called {task.name}. Give one of them another name=.")
        self._tasks[task.name] = task
        return task

    def _keep(self, limit: Limit) -> None:
        self.limits.append(limit)

    def _put(self, schedule: Schedule) -> None:
        self.schedules.append(schedule)


def make_task(fn: Callable[..., Any], words: Mapping[str, Any]) -> AnyTask:
    """A task that belongs to no app yet. Raises `DefinitionError`."""
    kind: type[CoroutineTask[..., ..., Any]] | type[FunctionTask[..., ..., Any]]
    kind = CoroutineTask if inspect.iscoroutinefunction(fn) else FunctionTask
    return kind(fn, words, None, Defaults())
