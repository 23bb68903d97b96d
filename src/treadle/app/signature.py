"""What a task's function looks like: its parameters, its context, its types, and whether it may be a task at all."""

import inspect
import sys
import typing
from collections.abc import Callable
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, TypeVar

from treadle.app.context import Context
from treadle.model.errors import DefinitionError

T = TypeVar("T")


class _Mark:
    """A word written into an annotation."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


SECRET = _Mark("Secret")
REDACTED = _Mark("Redacted")

Secret = Annotated[T, SECRET]
"""A value that must not be stored: a parameter annotated `Secret[str]` is refused when the task is declared."""

Redacted = Annotated[T, REDACTED]
"""A value that is stored but not shown: `Redacted[str]` hides it in views, logs and representations."""


@dataclass(slots=True, frozen=True)
class Signature:
    """A task's own parameters, without the leading context."""

    name: str
    fn: Callable[..., Any]
    is_async: bool
    wants_context: bool
    parameters: tuple[inspect.Parameter, ...]

    def required(self) -> tuple[str, ...]:
        """The parameters without a default."""
        given = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        return tuple(each.name for each in self.parameters if each.default is each.empty and each.kind not in given)

    def types(self) -> tuple[dict[str, Any], Any]:
        """The type of each parameter and of the result; `Any` where nothing is written.

        Raises `DefinitionError` for a name that cannot be resolved, a `Secret`, or a context that is not in front.
        """
        try:
            hints = _hints(self.fn, self.parameters)
        except (NameError, AttributeError, TypeError, SyntaxError) as error:
            raise DefinitionError(
                f"{self.name}: its annotations cannot be resolved ({error}). "
                "Import the types it names at run time, not only for the type checker."
            ) from error
        found = {each.name: hints.get(each.name, Any) for each in self.parameters}
        for parameter, hint in found.items():
            if _is_context(hint):
                raise DefinitionError(
                    f"{self.name}: the Context must be the first parameter, not {parameter!r}. Move it to the front."
                )
            if mentions(hint, SECRET):
                raise DefinitionError(
                    f"{self.name}: {parameter!r} is a Secret, and arguments are stored as readable JSON. Pass the name under "
                    "which the worker can look the secret up, or use Redacted[...] if it may be stored but not shown."
                )
        return found, hints.get("return", Any)

    def redacted(self) -> tuple[str, ...]:
        """The parameters whose values no view may show, and `return` for the result; the unresolved is taken as written."""
        if _unresolved(self.fn, self.parameters):
            written = [(each.name, each.annotation) for each in self.parameters]
            written.append(("return", self.fn.__annotations__.get("return")))
            return tuple(name for name, hint in written if "Redacted[" in str(hint))
        found, result = self.types()
        return tuple(name for name, hint in (*found.items(), ("return", result)) if mentions(hint, REDACTED))


def examine(fn: Callable[..., Any], name: str | None) -> Signature:
    """The signature of a function that can be a task. Raises `DefinitionError` for one that cannot."""
    if not inspect.isfunction(fn):
        raise DefinitionError(f"{fn!r} is not a function. Declare a task on a def or an async def at the top of a module.")
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        raise DefinitionError(
            f"{fn.__qualname__} is a generator, which a worker cannot run. Return a value instead of yielding."
        )
    named = _named(fn, name)
    parameters = tuple(inspect.signature(fn).parameters.values())
    wants_context = bool(parameters) and _leads_with_context(fn, parameters[0])
    own = parameters[1:] if wants_context else parameters
    signature = Signature(named, fn, inspect.iscoroutinefunction(fn), wants_context, own)
    if not _unresolved(fn, own):
        signature.types()
    return signature


def mentions(hint: Any, mark: _Mark, seen: frozenset[int] = frozenset()) -> bool:
    """True when the mark stands anywhere inside a type: in its arguments, or in the fields of a dataclass or the like."""
    if id(hint) in seen:
        return False
    seen |= {id(hint)}
    if mark in getattr(hint, "__metadata__", ()):
        return True
    inner = list(typing.get_args(hint))
    if hasattr(hint, "__origin__") and hasattr(hint, "__metadata__"):
        inner = [hint.__origin__]
    if isinstance(hint, type):
        inner += _field_types(hint)
    return any(mentions(each, mark, seen) for each in inner)


def _field_types(kind: Any) -> list[Any]:
    if not (is_dataclass(kind) or typing.is_typeddict(kind) or hasattr(kind, "__struct_fields__")):
        return []
    try:
        return list(typing.get_type_hints(kind, include_extras=True).values())
    except NameError:
        return []


def _is_context(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, Context)


def _leads_with_context(fn: Callable[..., Any], first: inspect.Parameter) -> bool:
    hint = first.annotation
    if isinstance(hint, str):
        text = hint
        try:
            hint = eval(text, _names_around(fn))  # noqa: S307 - the user's own annotation, as typing does it
        except (NameError, AttributeError, SyntaxError, TypeError):
            # A name imported for the type checker only: what it is called is all that can be known.
            return text.rpartition(".")[2] == "Context"
    return _is_context(hint)


def _hints(fn: Callable[..., Any], parameters: tuple[inspect.Parameter, ...]) -> dict[str, Any]:
    """The resolved annotations of these parameters and of the result. The context's may be for the type checker only."""
    wanted = {each.name for each in parameters} | {"return"}
    annotations = {name: hint for name, hint in fn.__annotations__.items() if name in wanted}
    return typing.get_type_hints(SimpleNamespace(__annotations__=annotations), _names_around(fn), include_extras=True)


def _names_around(fn: Callable[..., Any]) -> dict[str, Any]:
    """The names that a function's annotations may use: those of the module it was written in, under any decorator."""
    names: dict[str, Any] = getattr(inspect.unwrap(fn), "__globals__", {})
    return names


def _unresolved(fn: Callable[..., Any], parameters: tuple[inspect.Parameter, ...]) -> bool:
    """True when some annotation names something that does not exist yet: the types are then examined at first use."""
    try:
        _hints(fn, parameters)
    except NameError:
        return True
    except (AttributeError, TypeError, SyntaxError):
        return False
    return False


def _named(fn: Callable[..., Any], name: str | None) -> str:
    if name is not None:
        if not name or len(name) > 200 or not name.isprintable() or any(each.isspace() for each in name):
            raise DefinitionError(f"{name!r} is not a task name. Use up to 200 visible characters without spaces.")
        return name
    qualname = fn.__qualname__
    if "<" in qualname:
        raise DefinitionError(
            f"{qualname} has no name under which a worker could find it. Move it to the top of its module, or give name=."
        )
    return f"{_module_name(fn)}.{qualname}"


def _module_name(fn: Callable[..., Any]) -> str:
    if fn.__module__ != "__main__":
        return fn.__module__
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        name: str = spec.name
        return name.removesuffix(".__main__")
    path = getattr(main, "__file__", None)
    if path is None:
        raise DefinitionError(
            f"{fn.__qualname__} is defined in an interactive session, where no worker can find it. Give name=."
        )
    return Path(path).stem
