"""The small shared facts: read and write."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from treadle.engine.admission import check_write
from treadle.engine.contract import Now
from treadle.engine.plan import Steps, plan
from treadle.engine.rows import to_text
from treadle.engine.session import Wake
from treadle.engine.source import Source
from treadle.engine.sqlite.edges import topics
from treadle.engine.sqlite.rooms import look_soon
from treadle.engine.sqlite.steps import Ask, Clock, Do
from treadle.model.job import Micros
from treadle.model.record import Record, Space, Write, Written

Name = tuple[str, str]


@dataclass(slots=True)
class Ledger:
    """Compare-and-set over a few records in memory: tried one after the other, stored in one go."""

    versions: dict[Name, int]
    changed: dict[Name, str | None] = field(default_factory=dict[Name, "str | None"])

    def apply(self, write: Write) -> Written:
        """Try one write; later ones see it."""
        name = (str(write.space), write.key)
        version = self.versions.get(name, 0)
        if write.expect is not None and write.expect != version:
            return Written(False, version)
        version = 0 if write.value is None else version + 1
        self.versions[name] = version
        self.changed[name] = write.value
        return Written(True, version)

    def store(self, sql: Source, now: Micros) -> Steps[None]:
        """Write down what has changed; what is parked because of it is looked at soon."""
        puts = [(*name, value, self.versions[name]) for name, value in self.changed.items() if value is not None]
        removals = [name for name, value in self.changed.items() if value is None]
        if puts:
            yield Do(sql("records", "put"), {"rows": to_text(puts)})
        if removals:
            yield Do(sql("records", "remove"), {"pairs": to_text(removals)})
        yield from look_soon(sql, (Write(Space(space), key, value) for (space, key), value in self.changed.items()), now)


def ledger(sql: Source, writes: Sequence[Write]) -> Steps[Ledger]:
    """Read the versions that `writes` are about."""
    if not writes:
        return Ledger({})
    rows = yield Ask(sql("records", "versions"), {"pairs": to_text([(write.space, write.key) for write in writes])})
    return Ledger({(space, key): version for space, key, version in rows})


class Facts:
    """`read` and `write`."""

    sql: Source

    @plan
    def read(self, space: Space, keys: Sequence[str] | None = None) -> Steps[list[Record]]:
        """Records of a space, sorted by key: those named that exist, or all."""
        if keys is None:
            rows = yield Ask(self.sql("records", "all"), {"space": str(space)})
        else:
            rows = yield Ask(self.sql("records", "named"), {"space": str(space), "keys": to_text(list(keys))})
        return [Record(space, key, value, version) for key, value, version in rows]

    @plan
    def write(self, writes: Sequence[Write], *, now: Now = None) -> Steps[list[Written]]:
        """Compare-and-set each record on its own, in order. Deleting `PAUSED` of a queue wakes it."""
        for each in writes:
            check_write(each)
        clock = yield Clock(now)
        facts = yield from ledger(self.sql, writes)
        answers = [facts.apply(each) for each in writes]
        yield from facts.store(self.sql, clock.wall)
        resumed = {
            write.key
            for write, answer in zip(writes, answers, strict=True)
            if answer.done and write.value is None and write.space is Space.PAUSED
        }
        if resumed:
            yield Wake(topics(resumed))
        return answers
