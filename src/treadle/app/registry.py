"""Which name means which task."""

from typing import Any, cast

from treadle.app.near import near
from treadle.app.task import AnyTask, Task
from treadle.model.errors import DefinitionError, UnknownTask
from treadle.model.kind import is_a


class Registry:
    """The tasks of one app by name. Nothing is registered but by `add` and `alias`."""

    def __init__(self) -> None:
        self._tasks: dict[str, AnyTask] = {}

    def get(self, name: str) -> AnyTask | None:
        """The task of this name or alias, None when there is none."""
        return self._tasks.get(name)

    def names(self) -> tuple[str, ...]:
        """Every name and alias, in the order of declaration."""
        return tuple(self._tasks)

    def tasks(self) -> tuple[AnyTask, ...]:
        """Every task once, in the order of declaration."""
        return tuple(dict.fromkeys(self._tasks.values()))

    def add(self, task: AnyTask) -> None:
        """Make a task known by its name. Raises `DefinitionError` if the name means another function."""
        self._put(task.name, task)

    def alias(self, name: str, task: AnyTask) -> None:
        """Make a task known by one more name, such as the one it had before. Raises `DefinitionError`."""
        if not is_a(task, Task):
            raise DefinitionError(
                f"alias({name!r}, {task!r}): the second is not a task. Hand over the task itself, not its name."
            )
        if self._tasks.get(task.name) is not task:
            raise DefinitionError(f"{task.name} is not a task of this app, so {name!r} cannot be its alias. Attach it first.")
        self._put(name, cast(AnyTask, task))

    def expect(self, name: str) -> AnyTask:
        """The task of this name. Raises `UnknownTask`, which lists names that look alike."""
        if not is_a(name, str):
            raise UnknownTask(name, "a task is named by a text", "Write its name, such as module.function.")
        task = self._tasks.get(name)
        if task is None:
            meant = near(name, self._tasks)
            meant = meant or [each for each in self._tasks if each.rpartition(".")[2] == name.rpartition(".")[2]][:3]
            cure = f"This app knows: {', '.join(self._tasks) or 'no task at all'}."
            if meant:
                cure = f"Did you mean {', '.join(meant)}?"
            raise UnknownTask(name, "this app has no task of this name", cure)
        return task

    def _put(self, name: str, task: AnyTask) -> None:
        known = self._tasks.get(name)
        if known is not None and not _same(known, task):
            raise DefinitionError(
                f"two tasks are called {name}: {_place(known)} and {_place(task)}. Give one of them another name=."
            )
        self._tasks[name] = task


def _same(one: AnyTask, other: AnyTask) -> bool:
    """True for one function, also when its module was executed twice (as `__main__`, then by import)."""
    if one.fn is other.fn:
        return True
    mine, theirs = one.fn.__code__, other.fn.__code__
    # A module executed again compiles its code anew; functions made by one factory share theirs and differ.
    return mine is not theirs and mine == theirs and mine.co_filename == theirs.co_filename


def _place(task: AnyTask) -> str:
    code: Any = task.fn.__code__
    return f"{task.fn.__qualname__} in {code.co_filename}:{code.co_firstlineno}"
