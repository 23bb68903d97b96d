"""A task: a function that can be called now, as itself, or enqueued to be called later."""

import inspect
from collections.abc import Callable, Coroutine, Mapping
from functools import cached_property
from typing import Any, Generic, ParamSpec, TypeVar, Unpack

import msgspec

from treadle.app.call import Call
from treadle.app.codec import Arguments, Prepared, Returned, Unbound
from treadle.app.handle import JobHandle
from treadle.app.ids import new_id
from treadle.app.options import UNSAID, Options, OptionWords, read_options
from treadle.app.outbox import Outbox
from treadle.app.settings import Defaults, TaskSettings, override, settle_settings
from treadle.app.signature import Signature, examine
from treadle.app.upgrading import Upgrader, upgraded
from treadle.model.errors import BadInput, DefinitionError, InvalidArguments
from treadle.model.kind import is_whole

Own = ParamSpec("Own")
P = ParamSpec("P")
R = TypeVar("R")

_REMEMBERED = 256


class Task(Generic[Own, P, R]):
    """One declared function. `enqueue` has its signature without the leading context; calling it runs it here and now.

    `Own` is the function's own signature, `P` the producer's, `R` what the body returns (awaited, for an `async def`).
    """

    def __init__(self, fn: Callable[..., Any], words: Mapping[str, Any], outbox: Outbox | None, defaults: Defaults) -> None:
        self.fn: Any = fn
        self._signature: Signature = examine(fn, words.get("name"))
        self._words = words
        self._outbox = outbox
        self.settings: TaskSettings = settle_settings(self._signature, words, defaults)
        """How its jobs are stored and run."""
        self.is_async: bool = self._signature.is_async
        """True for an `async def`."""
        self.wants_context: bool = self._signature.wants_context
        """True when the body takes a `Context` in front."""
        self._overridden: dict[str, TaskSettings] = {}
        self._upgraders: dict[int, Upgrader] = {}
        for name in ("__module__", "__name__", "__qualname__", "__doc__"):
            setattr(self, name, getattr(fn, name))
        self.__wrapped__ = fn

    def __repr__(self) -> str:
        return f"<Task {self.name}>"

    @property
    def name(self) -> str:
        """The name under which its jobs are stored."""
        return self.settings.name

    @property
    def required(self) -> tuple[str, ...]:
        """The parameters that every call must give a value."""
        return self._signature.required()

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> JobHandle[R]:
        """Store a job that makes this call. Raises `InvalidArguments` or `PayloadTooLarge`, and then stores nothing."""
        return self._call(args, kwargs, UNSAID, "enqueue").enqueue()

    async def aenqueue(self, *args: P.args, **kwargs: P.kwargs) -> JobHandle[R]:
        """The awaitable twin of `enqueue`."""
        return await self._call(args, kwargs, UNSAID, "aenqueue").aenqueue()

    def enqueue_in(self, connection: Any, /, *args: P.args, **kwargs: P.kwargs) -> JobHandle[R]:
        """Store a job inside the transaction that is open on `connection`: it exists if and only if that commits.

        The connection must be to the store's own database, and stays the caller's. Its id is known at once; nobody is woken,
        so a worker finds the job at its next poll. Raises `NotTransactional` when the store cannot take part.
        """
        return self._call(args, kwargs, UNSAID, "enqueue_in").enqueue_in(connection)

    async def aenqueue_in(self, connection: Any, /, *args: P.args, **kwargs: P.kwargs) -> JobHandle[R]:
        """The awaitable twin of `enqueue_in`."""
        return await self._call(args, kwargs, UNSAID, "aenqueue_in").aenqueue_in(connection)

    def call(self, *args: P.args, **kwargs: P.kwargs) -> Call[R]:
        """This call as a value, checked but not stored: for bulk enqueue and for edges."""
        return self._call(args, kwargs, UNSAID, "call")

    def options(self, **words: Unpack[OptionWords]) -> "Step[P, R]":
        """The task with options for its next calls: `task.options(delay="10m").enqueue(...)`.

        Raises `InvalidOption`, `InvalidTime` or `InvalidDuration` at once.
        """
        return Step(self._call, read_options(words))

    def call_named(self, values: Mapping[str, Any], said: Options) -> Call[R]:
        """A call with arguments by name: `*args` as a list under its name, `**kwargs` as an object under its."""
        return self._wrap(self._arguments.encode_named(dict(values), self.settings.payload_cap), said)

    def upgrade(self, *, to: int) -> Callable[[Upgrader], Upgrader]:
        """Turn the stored arguments of one version into those of the next: `@charge.upgrade(to=3)` above a function.

        It is given the arguments by name, as JSON has them, of a job that was stored at version `to - 1`, and returns those
        of version `to`. It runs each time such a job starts, and changes nothing in the store, so it must be pure. A version
        without one is taken as it is. Raises `DefinitionError`.
        """

        def keep(upgrader: Upgrader) -> Upgrader:
            if not is_whole(to, 2, self.settings.version):
                raise DefinitionError(
                    f"{self.name}: upgrade(to={to!r}) leads nowhere, for the task has version {self.settings.version}. "
                    f"Name a version from 2 to that, or give the task version={to!r}."
                )
            if to in self._upgraders:
                raise DefinitionError(f"{self.name}: two functions upgrade to version {to}. Make them one.")
            if not callable(upgrader) or inspect.iscoroutinefunction(upgrader):
                raise DefinitionError(f"{self.name}: an upgrade is a plain function from arguments to arguments.")
            self._upgraders[to] = upgrader
            return upgrader

        return keep

    def check_args(self, text: str, version: int | None = None) -> None:
        """Raise `InvalidArguments` unless this JSON text would do as stored arguments: what an edited replay must pass."""
        self.prepare(text, version)

    def prepare(self, payload: str, version: int | None = None) -> Prepared:
        """The arguments of a stored call as (args, kwargs), without the context. Raises `InvalidArguments`.

        `version` is that of the task when they were stored; what is older is upgraded.
        """
        if version is not None and version != self.settings.version:
            payload = upgraded(self.name, payload, version, self.settings.version, self._upgraders)
        arguments = self._arguments
        if payload == "{}" and arguments.empty is not None:
            return arguments.empty
        return arguments.prepare(payload)

    def encode_result(self, value: object) -> str | None:
        """The JSON text of what the body returned, None for None. Raises `InvalidResult`."""
        returned = self._returned
        if value is None and returned.may_be_none:
            return None
        return returned.encode(value, self.settings.result_cap)

    def decode_result(self, text: str | None) -> R:
        """What the body returned, from its JSON text. Raises `InvalidResult` when it no longer fits the annotation."""
        result: R = self._returned.decode(text)
        return result

    def settings_for(self, options: str | None) -> TaskSettings:
        """The settings of one job, given the options stored with it."""
        if options is None:
            return self.settings
        found = self._overridden.get(options)
        if found is None:
            try:
                found = override(self.settings, options)
            except (msgspec.MsgspecError, BadInput) as error:
                raise InvalidArguments(
                    f"stored options of {self.name}", str(error), "They were stored by a newer version."
                ) from error
            if len(self._overridden) >= _REMEMBERED:
                self._overridden.clear()
            self._overridden[options] = found
        return found

    def check(self) -> None:
        """Raise `DefinitionError` if the types cannot travel as JSON: what a worker asks of every task before it starts."""
        _ = self._arguments, self._returned

    def bind(self, outbox: Outbox, defaults: Defaults) -> None:
        """Give the task to an app. Raises `DefinitionError` if it belongs to another already."""
        if self._outbox is not None and self._outbox is not outbox:
            raise DefinitionError(f"{self.name} belongs to another app already. A collection of tasks is attached once.")
        self._outbox = outbox
        self.settings = settle_settings(self._signature, self._words, defaults)
        self._overridden.clear()

    @cached_property
    def _arguments(self) -> Arguments:
        return Arguments(self._signature)

    @cached_property
    def _returned(self) -> Returned:
        return Returned(self._signature)

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any], said: Options, how: str) -> Call[R]:
        """A call that was asked for by the method `how`."""
        try:
            text = self._arguments.encode(args, kwargs, self.settings.payload_cap)
        except Unbound as error:
            raise InvalidArguments(error.value, error.rule, self._mended(kwargs, how) or error.cure) from None
        return self._wrap(text, said)

    def _mended(self, kwargs: Mapping[str, Any], how: str) -> str | None:
        """What to write where an option stands among the arguments, or the connection was forgotten."""
        front = "connection, " if how.endswith("enqueue_in") else ""
        mine = {each.name for each in self._signature.parameters}
        options = [f"{each}=..." for each in kwargs if each in OptionWords.__annotations__ and each not in mine]
        if options:
            return f"An option is no argument: write {self.fn.__name__}.options({', '.join(options)}).{how}({front}...)."
        if front:
            cure = "Pass the connection, and then the arguments that the task's function takes"
            return f"{cure}: {self.fn.__name__}.{how}({front}...)."
        return None

    def _wrap(self, text: str, said: Options) -> Call[R]:
        if self._outbox is None:
            raise DefinitionError(
                f"{self.name} belongs to no app yet, so there is nowhere to store its jobs. Attach it: app.attach(...)."
            )
        return Call(said.job_id or new_id(), self, text, self._outbox, said)


class FunctionTask(Task[Own, P, R]):
    """A task made of a `def`."""

    def __call__(self, *args: Own.args, **kwargs: Own.kwargs) -> R:
        """Run the function itself, here and now."""
        result: R = self.fn(*args, **kwargs)
        return result


class CoroutineTask(Task[Own, P, R]):
    """A task made of an `async def`."""

    def __call__(self, *args: Own.args, **kwargs: Own.kwargs) -> Coroutine[Any, Any, R]:
        """The function's own coroutine."""
        coroutine: Coroutine[Any, Any, R] = self.fn(*args, **kwargs)
        return coroutine


AnyTask = Task[..., ..., Any]


class Step(Generic[P, R]):
    """A task with options for its next calls."""

    __slots__ = ("_make", "_said")

    def __init__(self, make: Callable[[tuple[Any, ...], dict[str, Any], Options, str], Call[R]], said: Options) -> None:
        self._make = make
        self._said = said

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> JobHandle[R]:
        """Store a job that makes this call, with these options."""
        return self._make(args, kwargs, self._said, "enqueue").enqueue()

    async def aenqueue(self, *args: P.args, **kwargs: P.kwargs) -> JobHandle[R]:
        """The awaitable twin of `enqueue`."""
        return await self._make(args, kwargs, self._said, "aenqueue").aenqueue()

    def enqueue_in(self, connection: Any, /, *args: P.args, **kwargs: P.kwargs) -> JobHandle[R]:
        """Store a job that makes this call, with these options, inside the transaction that is open on `connection`."""
        return self._make(args, kwargs, self._said, "enqueue_in").enqueue_in(connection)

    async def aenqueue_in(self, connection: Any, /, *args: P.args, **kwargs: P.kwargs) -> JobHandle[R]:
        """The awaitable twin of `enqueue_in`."""
        return await self._make(args, kwargs, self._said, "aenqueue_in").aenqueue_in(connection)

    def call(self, *args: P.args, **kwargs: P.kwargs) -> Call[R]:
        """This call as a value, checked but not stored, with these options."""
        return self._make(args, kwargs, self._said, "call")
