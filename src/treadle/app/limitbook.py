"""What the store keeps of a limit, in one record: the rule that holds, what code declared, and who changed it.

The engine reads the fields of `Rule` and passes by the rest.
"""

from collections.abc import Iterable
from dataclasses import asdict

import msgspec

from treadle.app.limit import Limit
from treadle.engine.contract import Engine
from treadle.engine.plan import Plan, Steps
from treadle.model.errors import UnknownLimit
from treadle.model.flow import Rule
from treadle.model.job import Micros
from treadle.model.record import Record, Space, Write

EVER: Micros = 2**53 - 1
"""Until an operator says otherwise: the last moment that a rule can name."""


class Terms(msgspec.Struct, frozen=True, omit_defaults=True):
    """How much a limit lets through."""

    rate: int | None = None
    period: Micros | None = None
    burst: int = 1
    strict: bool = False
    concurrency: int | None = None

    @classmethod
    def of(cls, rule: Rule) -> "Terms":
        """What a rule says of that."""
        return cls(**{name: getattr(rule, name) for name in cls.__struct_fields__})


class LimitBook(Terms, frozen=True, omit_defaults=True):
    """The record's value: the terms that hold, and the breaker.

    `closed_until` is set while the breaker is open or half open, `openings` counts how often in a row it opened, `why` and
    `opened_by` say what opened it. `set_by` is the operator who changed the terms; while it is set, code does not. `by` names
    the parameters that make its keys, as code declares it: None where that has not been told.
    """

    closed_until: Micros | None = None
    probes: int = 1
    openings: int = 0
    why: str = ""
    opened_by: str | None = None
    declared: Terms | None = None
    set_by: str | None = None
    by: tuple[str, ...] | None = None

    @classmethod
    def of_code(cls, limit: Limit) -> "LimitBook":
        """The book of a limit as code declares it."""
        rule = limit.rule()
        return cls(**asdict(rule), declared=Terms.of(rule), by=limit.by)

    def with_terms(self, terms: Terms, set_by: str | None) -> "LimitBook":
        """The book once these terms hold."""
        return msgspec.structs.replace(self, **msgspec.structs.asdict(terms), set_by=set_by)

    def opened(self, until: Micros, openings: int, why: str, by: str | None) -> "LimitBook":
        """The book once the breaker is open."""
        return msgspec.structs.replace(self, closed_until=until, openings=openings, why=why, opened_by=by)

    def closed(self) -> "LimitBook":
        """The book once the breaker is closed."""
        return msgspec.structs.replace(self, closed_until=None, openings=0, why="", opened_by=None)

    def write(self, name: str, expect: int | None) -> Write:
        """The compare-and-set that stores this book."""
        return Write(Space.LIMIT, name, msgspec.json.encode(self).decode(), expect)


_decoder = msgspec.json.Decoder(LimitBook)


def read_limit(record: Record) -> LimitBook:
    """The book in a record. Raises `UnknownLimit` for one that no version known here wrote."""
    try:
        return _decoder.decode(record.value)
    except msgspec.MsgspecError as error:
        cure = "It was written by another version of treadle."
        raise UnknownLimit(record.key, f"what the store keeps of this limit cannot be read ({error})", cure) from None


def declare_limits(engine: Engine, limits: Iterable[Limit]) -> Plan[list[str]]:
    """Write what code declares where the store knows it otherwise; the names of those that changed.

    Of programs that declare a limit differently the one that started last has the say, but none against an operator.
    """
    declared = {limit.name: LimitBook.of_code(limit) for limit in limits}

    def begin() -> Steps[list[str]]:
        if not declared:
            return []
        records = {each.key: each for each in (yield from engine.read(Space.LIMIT, sorted(declared)).begin())}
        writes: list[Write] = []
        for name, new in sorted(declared.items()):
            record = records.get(name)
            if record is None:
                writes.append(new.write(name, 0))
                continue
            book = read_limit(record)
            fresh = msgspec.structs.replace(book, declared=new.declared, probes=new.probes, by=new.by)
            if book.set_by is None and new.declared is not None:
                fresh = fresh.with_terms(new.declared, None)
            if fresh != book:
                writes.append(fresh.write(name, record.version))
        if writes:
            yield from engine.write(writes).begin()
        return [each.key for each in writes]

    return Plan("declare", begin)


def untold(name: str) -> UnknownLimit:
    """The error for a limit that neither the store nor the app at hand knows."""
    cure = (
        "Look for its name in `treadle limits list`. A worker whose code declares it makes it known when it starts; "
        "before that, only the client of the app that declares it can change it."
    )
    return UnknownLimit(name, "no worker has told this store of a limit of this name", cure)
