"""The small shared facts: read and write."""

from collections.abc import Sequence

from treadle.engine.admission import check_write
from treadle.engine.contract import Now
from treadle.engine.ledger import Ledger
from treadle.engine.plan import Steps, plan
from treadle.engine.rows import to_text
from treadle.engine.session import Wake, topics
from treadle.engine.source import Source
from treadle.engine.sqlite.rooms import look_soon
from treadle.engine.sqlite.steps import Ask, Clock, Do
from treadle.model.job import Micros
from treadle.model.record import Record, Space, Write, Written


def ledger(sql: Source, writes: Sequence[Write]) -> Steps[Ledger]:
    """Read the versions that `writes` are about."""
    if not writes:
        return Ledger({})
    rows = yield Ask(sql("records", "versions"), {"pairs": to_text([(write.space, write.key) for write in writes])})
    return Ledger({(space, key): version for space, key, version in rows})


def store_ledger(sql: Source, facts: Ledger, now: Micros) -> Steps[None]:
    """Write down what has changed; what is parked because of it is looked at soon."""
    if puts := facts.puts():
        yield Do(sql("records", "put"), {"rows": to_text(puts)})
    if removals := facts.removals():
        yield Do(sql("records", "remove"), {"pairs": to_text(removals)})
    yield from look_soon(sql, (Write(Space(space), key, value) for (space, key), value in facts.changed.items()), now)


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
        yield from store_ledger(self.sql, facts, clock.wall)
        resumed = {
            write.key
            for write, answer in zip(writes, answers, strict=True)
            if answer.done and write.value is None and write.space is Space.PAUSED
        }
        if resumed:
            yield Wake(topics(resumed))
        return answers
