"""The breakers of limits: what this worker's attempts say of them, told to the store, where all workers read it."""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from time import monotonic
from typing import NamedTuple

from treadle.app.failure import plain, read_record
from treadle.app.limit import Limit
from treadle.app.limitbook import read_limit
from treadle.engine.contract import Engine
from treadle.engine.plan import Plan, Steps
from treadle.engine.session import Session
from treadle.model.job import micros
from treadle.model.outcome import Cause, Completed, Died, Outcome, Retrying
from treadle.model.record import Space, Write
from treadle.policy.breaker import Breaker, Circuit, Seen, judge
from treadle.worker.outage import UNREACHED
from treadle.worker.run import Run

log: logging.Logger = logging.getLogger("treadle.worker")

LOOK = 1.0
"""Seconds within which a success is told to a breaker; failures are told before their attempts are settled."""
BY_HAND = Breaker(failures=1_000_000)
"""For limits whose code declares no breaker: nothing opens them but an operator, or the code of before. A success closes them
all the same: they let one job at a time through for ever.
"""
REMEMBERED = 1000
"""Attempts of one limit that are kept while the store cannot be reached."""


class Told(NamedTuple):
    """One attempt, and what it ended with where it failed."""

    seen: Seen
    why: str


class Turned(NamedTuple):
    """What telling came to: failures in a row by limit, and the breakers that opened (with why) or closed."""

    runs: dict[str, int]
    opened: dict[str, str]
    closed: list[str]


class Breakers:
    """Counts failures in a row here, opens a breaker for everybody, and closes it when a probe of this worker succeeded.

    A limit without a breaker may have been opened by hand: of it a success is told now and then, and nothing else.

    What is counted is what this worker sees: with several workers a breaker opens when one of them has seen enough.

    A failure is told before its attempt is settled. The settling frees the attempt's place, and of a breaker that is half
    open the next probe would take it: told afterwards, each probe that failed was followed by a second one at once.
    """

    name: str = "breakers"

    def __init__(self, engine: Engine, session: Session, limits: Mapping[str, Limit]) -> None:
        self._engine = engine
        self._session = session
        self._rules: dict[str, Breaker] = {name: limit.breaker or BY_HAND for name, limit in limits.items()}
        self._runs: dict[str, int] = {}
        self._told: dict[str, list[Told]] = {}
        self._failed = False
        self._telling = asyncio.Lock()

    def __bool__(self) -> bool:
        return bool(self._rules)

    def saw(self, run: Run, outcome: Outcome) -> None:
        """An attempt that held limits has ended."""
        well = _well(outcome, run.throttled)
        if well is None or run.started is None:
            return
        seen: Seen | None = None
        for name in run.settings.held:
            rule = self._rules.get(name)
            if rule is None or (rule is BY_HAND and (not well or name in self._told)):
                continue
            if seen is None:
                claimed = run.claimed.claimed_at
                seen = Seen(claimed, claimed + micros(monotonic() - run.started), well)
            told = self._told.setdefault(name, [])
            if well and told and told[-1].seen.well:
                told[-1] = Told(seen, "")
            elif len(told) < REMEMBERED:
                told.append(Told(seen, "" if well else _why(outcome, run.throttled)))
            self._failed = self._failed or not well

    async def run(self) -> None:
        """Tell every second what was seen and not yet told, until cancelled."""
        while True:
            await asyncio.sleep(LOOK)
            with suppress(*UNREACHED):
                await self._tell_all()

    async def before_settling(self) -> None:
        """Tell the failures among what was seen up to now. Raises what says that the store was not reached."""
        # Behind the lock even with nothing to tell: what is being told may be what is to be settled.
        if self._failed or self._telling.locked():
            await self._tell_all()

    async def _tell_all(self) -> None:
        async with self._telling:
            if not self._told:
                return
            (told, self._told), self._failed = (self._told, {}), False
            try:
                turned = await self._session.arun(_tell(self._engine, self._rules, dict(self._runs), told))
            except BaseException as error:
                self._told = {name: (told.get(name, []) + self._told.get(name, []))[:REMEMBERED] for name in told | self._told}
                if isinstance(error, UNREACHED) or not isinstance(error, Exception):
                    self._failed = True
                    raise
                log.exception("the breakers of limits could not be told; trying again")
                return
        self._runs = turned.runs
        for name, why in turned.opened.items():
            log.warning("the breaker of limit %s is open: %s", name, why)
        for name in turned.closed:
            log.info("the breaker of limit %s is closed", name)


def _tell(engine: Engine, rules: Mapping[str, Breaker], runs: dict[str, int], told: Mapping[str, list[Told]]) -> Plan[Turned]:
    """Judge what was seen by what the store knows, and write down what changed, in one step."""

    def begin() -> Steps[Turned]:
        counted, opened, closed = dict(runs), dict[str, str](), list[str]()
        records = yield from engine.read(Space.LIMIT, sorted(told)).begin()
        writes: list[Write] = []
        for record in records:
            book = read_limit(record)
            before = circuit = Circuit(book.closed_until, book.openings)
            why = ""
            for each in told[record.key]:
                after, counted[record.key] = judge(rules[record.key], circuit, counted.get(record.key, 0), each.seen)
                if after != circuit:
                    circuit, why = after, each.why
            if circuit == before:
                continue
            if circuit.until is None:
                closed.append(record.key)
                writes.append(book.closed().write(record.key, record.version))
            else:
                opened[record.key] = why
                writes.append(book.opened(circuit.until, circuit.openings, why, None).write(record.key, record.version))
        if writes:
            yield from engine.write(writes).begin()
        return Turned(counted, opened, closed)

    return Plan("breakers", begin)


def _well(outcome: Outcome, throttled: bool) -> bool | None:
    """Whether an attempt speaks for the service behind the limit, against it, or (None) neither."""
    if throttled:
        return False
    match outcome:
        case Completed():
            return True
        case Retrying() | Died(cause=Cause.FAILED | Cause.TIMED_OUT):
            return False
        case _:
            return None


def _why(outcome: Outcome, throttled: bool) -> str:
    if throttled:
        return "jobs were told to slow down"
    error = outcome.error if isinstance(outcome, (Retrying, Died)) else None
    if error is None:
        return "jobs failed"
    record = read_record(error)
    return f"jobs failed, the last with {record.error}: {plain(record.message)[:200]}"
