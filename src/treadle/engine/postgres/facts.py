"""The small shared facts: read and write."""

from collections.abc import Sequence
from typing import Any

from treadle.engine.admission import check_write, rooms_woken_by
from treadle.engine.contract import Now
from treadle.engine.ledger import Ledger
from treadle.engine.plan import Steps
from treadle.engine.postgres.rooms import look_soon
from treadle.engine.postgres.statements import Statements
from treadle.engine.postgres.steps import Aside, Ask, Asks, Do, Later, Rows, columns, texts, verb
from treadle.engine.rows import Row
from treadle.engine.session import Wake, topics
from treadle.model.record import Record, Space, Write, Written


def ledger_asks(sql: Statements, writes: Sequence[Write]) -> list[Ask]:
    """What must be asked before `writes` can be tried: the records are locked first and read afterwards."""
    values = {"spaces": texts([write.space for write in writes]), "keys": texts([write.key for write in writes])}
    rules = {woken[0] for write in writes if (woken := rooms_woken_by(write)) is not None}
    asks = [Ask(sql("records", "lock"), values), Ask(sql("records", "versions"), values)]
    return [Ask(sql("flows", "lock-rules"), {"names": texts(rules)}), *asks] if rules else asks


def to_ledger(rows: Sequence[Row]) -> Ledger:
    """A ledger from the rows of the second of `ledger_asks`."""
    return Ledger({(space, key): version for space, key, version in rows})


def store_ledger(sql: Statements, facts: Ledger, now: Now) -> Steps[None]:
    """Write down what has changed; what is parked because of it is looked at soon."""
    if puts := facts.puts():
        yield Do(sql("records", "put"), columns(("space", "key", "value", "version"), puts))
    if removals := facts.removals():
        yield Do(sql("records", "remove"), columns(("space", "key"), removals))
    yield from look_soon(sql, (Write(Space(space), key, value) for (space, key), value in facts.changed.items()), now)


class Facts:
    """`read` and `write`."""

    sql: Statements

    @verb
    def read(self, space: Space, keys: Sequence[str] | None = None) -> Steps[list[Record]]:
        """Records of a space, sorted by key: those named that exist, or all."""
        values: dict[str, Any] = {"space": str(space)}
        part, firmly = "all", list[Ask]()
        if keys is not None:
            values["keys"] = texts(keys)
            part = "named"
            # A plan that reads and then writes means the same records: let nobody come in between.
            spaces = {"spaces": texts([space] * len(keys)), "keys": values["keys"]}
            firmly = [Ask(self.sql("records", "lock"), spaces)]

        def answer(rows: list[Rows], _aside: Aside) -> list[Record]:
            return [Record(space, key, value, version) for key, value, version in rows[0]]

        records: list[Record] = yield Later([Ask(self.sql("records", part), values)], answer, firmly)
        return records

    @verb
    def write(self, writes: Sequence[Write], *, now: Now = None) -> Steps[list[Written]]:
        """Compare-and-set each record on its own, in order. Deleting `PAUSED` of a queue wakes it."""
        for each in writes:
            check_write(each)
        if not writes:
            return []
        *_, versions = yield Asks(ledger_asks(self.sql, writes))
        facts = to_ledger(versions)
        answers = [facts.apply(each) for each in writes]
        yield from store_ledger(self.sql, facts, now)
        resumed = {
            write.key
            for write, answer in zip(writes, answers, strict=True)
            if answer.done and write.value is None and write.space is Space.PAUSED
        }
        if resumed:
            yield Wake(topics(resumed))
        return answers
