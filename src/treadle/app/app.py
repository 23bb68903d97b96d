"""The app: one store, the tasks declared for it, and the ways to enqueue their calls."""

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, TypeVar, Unpack

from treadle.app.call import Call, check_calls, handles
from treadle.app.client import Client
from treadle.app.connection import Connection
from treadle.app.declare import Declares, Tasks, make_task
from treadle.app.handle import JobHandle, JobHandles
from treadle.app.limit import Limit
from treadle.app.options import OptionWords, check_queue, check_retry, read_options
from treadle.app.outbox import Outbox
from treadle.app.pressure import OnFull
from treadle.app.queue import Queue
from treadle.app.registry import Registry
from treadle.app.schedule import Schedule
from treadle.app.schedules import Schedules
from treadle.app.settings import DEFAULT_RETRY, PAYLOAD_CAP, RESULT_CAP, Defaults
from treadle.app.task import AnyTask
from treadle.engine.session import Session, Store
from treadle.model.errors import BadInput, DefinitionError, InvalidArguments, InvalidOption, told_of
from treadle.model.filter import Retention
from treadle.model.kind import is_a
from treadle.policy.pressure import Cap
from treadle.policy.retry import Retries
from treadle.policy.window import read_window

R = TypeVar("R")

DEFAULT_URL = "sqlite:///treadle.db"


class Treadle(Declares):
    """A job queue: tasks, and the store their jobs live in.

    Nothing is opened before the first use. What is left out comes from the environment (`TREADLE_URL`,
    `TREADLE_NAMESPACE`, `TREADLE_PAYLOAD_CAP`, `TREADLE_RESULT_CAP`, `TREADLE_ALLOW_VOLATILE`), then from the defaults:
    the SQLite file `treadle.db` in the working directory. Caps are bytes of JSON. Raises `InvalidOption`.

    `transactions` says what `enqueue_in` and `complete_in` do with a transaction that the store cannot take part in (Redis,
    another database): `"own"` raises `NotTransactional`; `"after_commit"` is a weaker promise, kept when the transaction has
    committed, and lost if the process dies between the two.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        namespace: str | None = None,
        payload_cap: int | None = None,
        result_cap: int | None = None,
        retention: Retention | None = None,
        retry: Retries | None = None,
        allow_volatile: bool | None = None,
        transactions: Literal["own", "after_commit"] = "own",
    ) -> None:
        if transactions not in ("own", "after_commit"):
            raise InvalidOption(transactions, "this is no kind of promise about transactions", 'Use "own" or "after_commit".')
        self._url = url
        self.retention: Retention = Retention() if retention is None else _retention(retention)
        """How long finished jobs are kept."""
        self.registry: Registry = Registry()
        """The tasks by name."""
        self._defaults = Defaults(
            retry=DEFAULT_RETRY if retry is None else check_retry(retry),
            payload_cap=_bytes("TREADLE_PAYLOAD_CAP", payload_cap, PAYLOAD_CAP),
            result_cap=_bytes("TREADLE_RESULT_CAP", result_cap, RESULT_CAP),
        )
        self.connection: Connection = Connection(
            self._find_url,
            namespace=namespace or os.environ.get("TREADLE_NAMESPACE") or "treadle",
            allow_volatile=_yes("TREADLE_ALLOW_VOLATILE") if allow_volatile is None else allow_volatile,
            after_commit=transactions == "after_commit",
        )
        """The way to the store, for workers and tests; everyday code has no need of it."""
        self.limits: dict[str, Limit] = {}
        """The limits that code declares, by name."""
        self.client: Client = Client(self.connection, self.registry, declared=self.limits)
        """What an operator may ask and change."""
        self.schedules: Schedules = Schedules(self.connection, self.registry, self.client)
        """What is enqueued by the clock, and what an operator may ask and change about it."""
        self.queues: dict[str, Queue] = {}
        """What code says of queues, by name."""
        self._outbox = Outbox(self.connection, self.queues)

    def __repr__(self) -> str:
        return f"<Treadle with {len(self.registry.names())} tasks>"

    @property
    def url(self) -> str:
        """Where the jobs are stored: the constructor's word, else `TREADLE_URL`, else `sqlite:///treadle.db`."""
        return self.connection.url

    @property
    def store(self) -> Store:
        """The store, opened at first use."""
        return self.connection.store

    @property
    def session(self) -> Session:
        """The session on the app's own connection, opened at first use."""
        return self.connection.session

    def attach(self, tasks: Tasks) -> None:
        """Take over the tasks of a library, their limits and their schedules.

        Raises `DefinitionError` if a name is taken or they belong to another app.
        """
        for limit in tasks.limits:
            self._keep(limit)
        for task in tasks:
            self._add(task)
        for schedule in tasks.schedules:
            self._put(schedule)

    def queue(self, name: str, *, cap: Cap | None = None, window: str | None = None, tz: str = "UTC") -> Queue:
        """Say how much may wait in a queue, and in which hours it is served: `app.queue("bulk", window="22:00-06:00")`.

        A cap is heeded by producers that declare it, a window by workers that do; what an operator says goes before both.
        Raises `DefinitionError`.
        """
        try:
            found = Queue(check_queue(name), _cap(cap), None if window is None else read_window(window, tz))
        except BadInput as error:
            raise DefinitionError(told_of("queue", name, error)) from error
        if self.queues.setdefault(name, found) != found:
            raise DefinitionError(f"queue {name} is described twice, and differently. Describe it once.")
        return found

    def on_full(self, told: OnFull) -> OnFull:
        """Have a function told of each queue that is over a cap whose action is `signal`: `@app.on_full`.

        It is called by whoever enqueues, with the queue's name and why, at most every ten seconds for each queue.
        """
        self._outbox.pressure.on_full.append(told)
        return told

    def alias(self, name: str, task: AnyTask) -> None:
        """Let jobs stored under another name, such as a task's former one, run as this task. Raises `DefinitionError`."""
        self.registry.alias(name, task)

    def enqueue(self, name: str, args: Mapping[str, Any] | None = None, /, **words: Unpack[OptionWords]) -> JobHandle[Any]:
        """Store a job of the task of this name, with arguments by name. Raises `UnknownTask` and what `Task.enqueue` raises."""
        return self.call(name, args, **words).enqueue()

    async def aenqueue(
        self, name: str, args: Mapping[str, Any] | None = None, /, **words: Unpack[OptionWords]
    ) -> JobHandle[Any]:
        """The awaitable twin of `enqueue`."""
        return await self.call(name, args, **words).aenqueue()

    def call(self, name: str, args: Mapping[str, Any] | None = None, /, **words: Unpack[OptionWords]) -> Call[Any]:
        """A call of the task of this name, with arguments by name, checked but not stored."""
        task = self.registry.expect(name)
        if args is not None and not isinstance(args, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidArguments(args, "arguments are given by name", 'Write an object such as {"name": "Ada"}.')
        return task.call_named(args or {}, read_options(words))

    def enqueue_many(self, calls: Iterable[Call[R]]) -> JobHandles[R]:
        """Store many calls, of any tasks, in one step: all of them or none. Raises what `Task.enqueue` raises."""
        listed = check_calls(calls)
        return handles(listed, self._outbox.send(listed))

    async def aenqueue_many(self, calls: Iterable[Call[R]]) -> JobHandles[R]:
        """The awaitable twin of `enqueue_many`."""
        listed = check_calls(calls)
        return handles(listed, await self._outbox.asend(listed))

    def enqueue_many_in(self, connection: Any, calls: Iterable[Call[R]]) -> JobHandles[R]:
        """Store many calls inside the transaction that is open on `connection`, as `Task.enqueue_in` does one."""
        listed = check_calls(calls)
        return handles(listed, self._outbox.send_in(connection, listed))

    async def aenqueue_many_in(self, connection: Any, calls: Iterable[Call[R]]) -> JobHandles[R]:
        """The awaitable twin of `enqueue_many_in`."""
        listed = check_calls(calls)
        return handles(listed, await self._outbox.asend_in(connection, listed))

    def close(self) -> None:
        """Close the store. The app stays usable and opens it again when needed."""
        self.connection.close()

    def _declare(self, fn: Callable[..., Any], words: Mapping[str, Any]) -> AnyTask:
        return self._add(make_task(fn, words))

    def _keep(self, limit: Limit) -> None:
        if self.limits.setdefault(limit.name, limit) != limit:
            raise DefinitionError(f"two limits are called {limit.name} and differ. Declare it once, and hand it to both.")

    def _put(self, schedule: Schedule) -> None:
        if self.registry.get(schedule.task.name) is not schedule.task:
            raise DefinitionError(f"{schedule.task.name} is not a task of this app, so it cannot be scheduled here. Attach it.")
        self.schedules.add(schedule)

    def _add(self, task: AnyTask) -> AnyTask:
        self.registry.add(task)
        for limit in task.settings.flow.limits:
            self._keep(limit)
        task.bind(self._outbox, self._defaults)
        return task

    def _find_url(self) -> str:
        return self._url or os.environ.get("TREADLE_URL") or DEFAULT_URL


def _retention(given: Retention) -> Retention:
    if is_a(given, Retention):
        return given
    raise InvalidOption(given, "this is not a Retention", "Write Retention(completed=3600): seconds for each kind of end.")


def _cap(given: Cap | None) -> Cap | None:
    if given is None or is_a(given, Cap):
        return given
    raise InvalidOption(given, "this is not a cap", 'Write cap=Cap(10_000, action="reject").')


def _bytes(variable: str, given: int | None, default: int) -> int:
    text: object = given if given is not None else os.environ.get(variable) or default
    try:
        found = int(str(text))
    except ValueError:
        found = 0
    if found < 2:
        raise InvalidOption(
            text, f"{variable.removeprefix('TREADLE_').lower()} is a number of bytes, at least 2", "Give a whole number."
        )
    return found


def _yes(variable: str) -> bool:
    text = os.environ.get(variable, "").strip().lower()
    if text in ("", "0", "no", "false"):
        return False
    if text in ("1", "yes", "true"):
        return True
    raise InvalidOption(f"{variable}={text}", "this is neither yes nor no", "Use 1 or 0.")
