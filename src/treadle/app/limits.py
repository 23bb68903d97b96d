"""What an operator may ask of limits and do to them, without a deploy."""

import builtins
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import msgspec

from treadle.app.connection import Connection
from treadle.app.limit import Limit, check_count, check_limit_name
from treadle.app.limitbook import EVER, LimitBook, Terms, read_limit, untold
from treadle.app.pausing import Pause, paused_keys
from treadle.app.storetime import ask_time, here, own_time
from treadle.app.view import moment
from treadle.engine.plan import Plan, Steps
from treadle.model.errors import InvalidOption, UnknownLimit
from treadle.model.filter import check_remark
from treadle.model.flow import Gate
from treadle.model.job import Micros, micros
from treadle.model.record import Space, Write, paused_key
from treadle.policy.duration import Duration, seconds
from treadle.policy.rate import Rate, read_rate

R = TypeVar("R")

UNLIMITED = "unlimited"


@dataclass(slots=True, frozen=True, kw_only=True)
class LimitView:
    """A limit as it holds now.

    `rate` is text such as `"100/min"`, None for none; `breaker` is `closed`, `open` or `half open`, with what opened it,
    and until when (None: until somebody closes it). `set_by` is the operator who changed it, `declared` what code says.
    `running` and `waiting` count the jobs that run and that wait here, over the first thousand keys of the store. `paused`
    are the keys that an operator paused, the empty one where the limit has no key, with who did it and why.
    """

    name: str
    rate: str | None
    burst: int
    strict: bool
    concurrency: int | None
    breaker: str
    open_until: datetime | None
    why: str
    opened_by: str | None
    set_by: str | None
    declared: str | None
    running: int
    waiting: int
    paused: Mapping[str, Pause]


@dataclass(slots=True, frozen=True, kw_only=True)
class KeyView:
    """One key of a limit at which jobs run or wait, or which is paused.

    `key` None is the limit as a whole: what waits there waits for its breaker. `looked_at` is when the first of those that wait
    may be let on, None where only the end of another job can help. `paused` says by whom, and why.
    """

    key: str | None
    running: int
    waiting: int
    looked_at: datetime | None
    paused: Pause | None


class Limits:
    """The limits of a store. Every call has an awaitable twin; each change is one step, and workers heed it at once."""

    def __init__(self, connection: Connection, declared: Mapping[str, Limit], actor: Callable[[], str]) -> None:
        self._connection = connection
        self._declared = declared
        self._actor = actor

    def list(self) -> list[LimitView]:
        """Every limit that the store knows, by name."""
        return self._run(self._see)

    async def alist(self) -> Sequence[LimitView]:
        """The awaitable twin of `list`."""
        return await self._arun(self._see)

    def keys(self, name: str) -> Sequence[KeyView]:
        """The keys of a limit at which jobs run or wait now, a thousand at most, and those that are paused."""
        return self._connection.run(self._see_keys(check_limit_name(name)))

    async def akeys(self, name: str) -> Sequence[KeyView]:
        """The awaitable twin of `keys`."""
        return await self._connection.arun(self._see_keys(check_limit_name(name)))

    def set(
        self,
        name: str,
        *,
        rate: str | None = None,
        burst: int | None = None,
        strict: bool | None = None,
        concurrency: int | str | None = None,
    ) -> None:
        """Change what a limit lets through, from the next start on, until it is `reset`; deploys do not undo it.

        What is left out stays as it is; `"unlimited"` takes a rate or a concurrency away. Raises `UnknownLimit` and
        `InvalidOption`.
        """
        self._run(self._changing(name, _change(rate, burst, strict, concurrency)))

    async def aset(
        self,
        name: str,
        *,
        rate: str | None = None,
        burst: int | None = None,
        strict: bool | None = None,
        concurrency: int | str | None = None,
    ) -> None:
        """The awaitable twin of `set`."""
        await self._arun(self._changing(name, _change(rate, burst, strict, concurrency)))

    def reset(self, name: str) -> bool:
        """Let a limit be what code declares again; False if nobody had changed it. Raises `UnknownLimit`."""
        return self._run(self._changing(name, _reset))

    async def areset(self, name: str) -> bool:
        """The awaitable twin of `reset`."""
        return await self._arun(self._changing(name, _reset))

    def open(self, name: str, *, duration: Duration | None = None, reason: str = "") -> None:
        """Open a limit's breaker: no job that holds it starts for `duration`, or until it is closed. Those that run go on.

        When the time is over, jobs are let through again one by one, as after any opening. Raises `UnknownLimit`.
        """
        self._run(self._opening(name, duration, reason))

    async def aopen(self, name: str, *, duration: Duration | None = None, reason: str = "") -> None:
        """The awaitable twin of `open`."""
        await self._arun(self._opening(name, duration, reason))

    def close(self, name: str) -> bool:
        """Close a limit's breaker: jobs start again, as its terms allow. False if it was closed. Raises `UnknownLimit`."""
        return self._run(self._changing(name, _close))

    async def aclose(self, name: str) -> bool:
        """The awaitable twin of `close`."""
        return await self._arun(self._changing(name, _close))

    def forget(self, name: str, *, dry_run: bool = False) -> int:
        """Remove what the store keeps of a limit and the pauses of its keys; how many jobs waited there.

        They go on without it, as far as their other limits allow; nobody cancels a throttle, which ends by itself. For a limit
        that no code declares any more: a worker that starts and still does makes it known again, and a job that names it runs
        without a bound until then. With `dry_run=True` it changes nothing. Raises `UnknownLimit`.
        """
        return self._connection.run(self._forgetting(name, dry_run))

    async def aforget(self, name: str, *, dry_run: bool = False) -> int:
        """The awaitable twin of `forget`."""
        return await self._connection.arun(self._forgetting(name, dry_run))

    def _forgetting(self, name: str, dry_run: bool) -> Plan[int]:
        check_limit_name(name)
        engine = self._connection.engine

        def begin() -> Steps[int]:
            known = yield from engine.read(Space.LIMIT, [name]).begin()
            paused = paused_keys((yield from engine.read(Space.PAUSED).begin()))
            gates = yield from engine.gates([name]).begin()
            keys = [key for limit, key in paused if limit == name]
            if not known and not keys:
                raise UnknownLimit(name, "the store knows no limit of this name", "See `treadle limits list`.")
            if not dry_run:
                writes = [Write(Space.PAUSED, paused_key(name, key), None) for key in keys]
                yield from engine.write([*writes, Write(Space.LIMIT, name, None)]).begin()
            return sum(each.parked for each in gates)

        return Plan("write", begin)

    def _see_keys(self, name: str) -> "Plan[builtins.list[KeyView]]":
        engine = self._connection.engine

        def begin() -> "Steps[builtins.list[KeyView]]":
            gates = {each.key: each for each in (yield from engine.gates([name]).begin())}
            records = yield from engine.read(Space.PAUSED).begin()
            paused = {key: pause for (limit, key), pause in paused_keys(records).items() if limit == name}
            idle = [Gate(name, key, 0, 0, None) for key in paused if key not in gates]
            return [
                KeyView(
                    key=each.key,
                    running=each.running,
                    waiting=each.parked,
                    looked_at=moment(each.wakes_at),
                    paused=None if each.key is None else paused.get(each.key),
                )
                for each in sorted([*gates.values(), *idle], key=lambda each: (each.key is not None, each.key or ""))
            ]

        return Plan("read", begin)

    def _see(self, now: Micros) -> "Plan[builtins.list[LimitView]]":
        engine = self._connection.engine

        def begin() -> "Steps[builtins.list[LimitView]]":
            records = yield from engine.read(Space.LIMIT).begin()
            gates = yield from engine.gates().begin()
            paused = paused_keys((yield from engine.read(Space.PAUSED).begin()))
            books = {each.key: read_limit(each) for each in records}
            # A key may be paused whose limit the store does not know: its app declares it, and no worker has told of it yet.
            names = sorted(books.keys() | {limit for limit, _ in paused})
            return [
                _view(
                    name,
                    books.get(name, LimitBook()),
                    [gate for gate in gates if gate.limit == name],
                    {key: pause for (limit, key), pause in paused.items() if limit == name},
                    now,
                )
                for name in names
            ]

        return Plan("read", begin)

    def _opening(self, name: str, duration: Duration | None, reason: str) -> "Callable[[Micros], Plan[bool]]":
        check_remark("reason", reason)
        wait = None if duration is None else seconds(duration)
        actor = self._actor()

        def make(now: Micros) -> Plan[bool]:
            until = EVER if wait is None else now + micros(wait)
            return self._changing(name, lambda book, _: book.opened(until, 1, reason, actor))(now)

        return make

    def _changing(self, name: str, change: "Callable[[LimitBook, str], LimitBook | None]") -> "Callable[[Micros], Plan[bool]]":
        """Change one book in one step; False when there was nothing to change."""
        check_limit_name(name)
        engine, actor = self._connection.engine, self._actor()

        def begin() -> Steps[bool]:
            records = yield from engine.read(Space.LIMIT, [name]).begin()
            if records:
                book, version = read_limit(records[0]), records[0].version
            else:
                book, version = self._unwritten(name), 0
            changed = change(book, actor)
            if changed is None:
                return False
            # Nobody else writes between the two: a plan is one transaction. Where an engine cannot promise that, the
            # version does, and the plan is begun again.
            written = yield from engine.write([changed.write(name, version)]).begin()
            return written[0].done

        return lambda _: Plan("limits", begin)

    def _unwritten(self, name: str) -> LimitBook:
        limit = self._declared.get(name)
        if limit is None:
            raise untold(name)
        return LimitBook.of_code(limit)

    def _run(self, make: Callable[[Micros], Plan[R]]) -> R:
        own = own_time(self._connection.store)
        return self._connection.run(self._timed(make) if own is None else make(own))

    async def _arun(self, make: Callable[[Micros], Plan[R]]) -> R:
        own = own_time(self._connection.store)
        return await self._connection.arun(self._timed(make) if own is None else make(own))

    def _timed(self, make: Callable[[Micros], Plan[R]]) -> Plan[R]:
        def begin() -> Steps[R]:
            now = yield from ask_time(self._connection.engine).begin()
            return (yield from make(here() if now is None else now).begin())

        return Plan("limits", begin)


def _change(
    rate: str | None, burst: int | None, strict: bool | None, concurrency: int | str | None
) -> Callable[[LimitBook, str], LimitBook | None]:
    found: dict[str, object] = {}
    if rate == UNLIMITED:
        found |= {"rate": None, "period": None}
    elif rate is not None:
        read = read_rate(rate)
        found |= {"rate": read.starts, "period": micros(read.period)}
    if concurrency == UNLIMITED:
        found["concurrency"] = None
    elif concurrency is not None:
        found["concurrency"] = check_count("concurrency", concurrency)
    if burst is not None:
        found["burst"] = check_count("burst", burst)
    if strict is not None:
        found["strict"] = strict
    if not found:
        raise InvalidOption("nothing", "no change was named", "Say rate=, burst=, strict= or concurrency=.")

    def change(book: LimitBook, actor: str) -> LimitBook:
        changed = msgspec.structs.replace(book, **found, set_by=actor)
        if changed.rate is None and (burst is not None or strict):
            said = "strict" if burst is None else f"burst {burst}"
            raise InvalidOption(said, "burst and strict speak of a rate, and this limit has none", "Say a rate as well.")
        if changed.strict and burst is not None:
            cure = "Leave the burst out, or let starts be spread evenly (strict=False, `--even`)."
            raise InvalidOption(f"burst {burst}", "a strict limit has no burst: its whole rate may come at once", cure)
        return changed

    return change


def _reset(book: LimitBook, _: str) -> LimitBook | None:
    if book.set_by is None:
        return None
    return book.with_terms(book.declared or Terms(), None)


def _close(book: LimitBook, _: str) -> LimitBook | None:
    return None if book.closed_until is None else book.closed()


def _view(name: str, book: LimitBook, gates: Sequence[Gate], paused: Mapping[str, Pause], now: Micros) -> LimitView:
    until = book.closed_until
    return LimitView(
        name=name,
        rate=_rate(book),
        burst=book.burst,
        strict=book.strict,
        concurrency=book.concurrency,
        breaker="closed" if until is None else "open" if now < until else "half open",
        open_until=None if until is None or until >= EVER else moment(until),
        why=book.why,
        opened_by=book.opened_by,
        set_by=book.set_by,
        declared=None if book.declared is None else describe(book.declared),
        running=sum(each.running for each in gates),
        waiting=sum(each.parked for each in gates),
        paused=paused,
    )


def _rate(terms: Terms) -> str | None:
    return None if terms.rate is None or terms.period is None else str(Rate(terms.rate, terms.period / 1_000_000))


def describe(terms: Terms) -> str:
    """What a limit lets through, in words."""
    words: list[str] = []
    rate = _rate(terms)
    if rate is not None:
        words.append(f"{rate}, strict" if terms.strict else f"{rate}, burst {terms.burst}")
    if terms.concurrency is not None:
        words.append(f"{terms.concurrency} at once")
    return "; ".join(words) or UNLIMITED
