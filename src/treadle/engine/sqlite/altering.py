"""Writes an operator's change."""

from collections.abc import Sequence
from typing import Any

from treadle.engine.alteration import Alteration, Found, Keys, Places, Values
from treadle.engine.keying import Holding, Kind, Returning
from treadle.engine.moving import Ended, Finish, Freed, Leaver
from treadle.engine.plan import Steps
from treadle.engine.rows import to_states, to_text
from treadle.engine.source import Source
from treadle.engine.sqlite.edges import count_down, finish
from treadle.engine.sqlite.entering import Entry, enter
from treadle.engine.sqlite.keeping import forget
from treadle.engine.sqlite.leaving import call_next
from treadle.engine.sqlite.steps import Ask, Do
from treadle.model.filter import Change
from treadle.model.job import Micros
from treadle.model.state import State


class SqliteAlteration(Alteration):
    """One change, written in sets."""

    def __init__(self, sql: Source, change: Change, actor: str | None, now: Micros) -> None:
        super().__init__(change, actor, now)
        self.sql = sql

    def mark(self, part: str, jobs: Sequence[Found], values: Values) -> Steps[None]:
        """Run a part of `alter` over these jobs."""
        yield Do(self.sql("alter", part), {"ns": to_text([job.n for job in jobs]), **values})

    def place(self, part: str, places: Places, values: Values) -> Steps[None]:
        """Run a part of `alter` over jobs and their seqs."""
        yield Do(self.sql("alter", part), {"rows": to_text(places), **values})

    def revive(self, places: Places, values: Values) -> Steps[None]:
        """Make finished jobs live again."""
        yield from self.place("revive", places, values)
        yield Do(self.sql("shared", "forget-finished"), {"ns": to_text([n for n, _ in places])})

    def audit(self, values: Values) -> Steps[None]:
        """Write the audit line."""
        yield Do(self.sql("alter", "audit"), values)

    def enter(self, jobs: Sequence[Found]) -> Steps[dict[int, int]]:
        """The seqs of jobs that come to their queue now."""
        seqs = yield from enter(self.sql, [Entry(job.n, job.queue, job.priority, job.flow) for job in jobs])
        return dict(zip((job.n for job in jobs), seqs, strict=True))

    def enter_anew(self, jobs: Sequence[Found]) -> Steps[dict[int, int]]:
        """The seqs of jobs that wait in their queue already, parked or not, and do so at another priority from now on."""
        seqs = yield from self.enter(jobs)
        yield Do(self.sql("flows", "unpark"), {"ns": to_text(list(seqs))})
        return seqs

    def set_aside(self, jobs: Sequence[Found]) -> Steps[dict[int, int]]:
        """Those that are not in their queue need no seq."""
        yield from ()
        return dict.fromkeys((job.n for job in jobs), 0)

    def returning(self, jobs: Sequence[Found]) -> Steps[Keys]:
        """The unique keys that jobs want back."""
        asked = (yield Ask(self.sql("alter", "returning"), {"ns": to_text([job.n for job in jobs])})) if jobs else ()
        if not asked:
            return [], {}, {}
        returning = [Returning(job, key, to_states(during), since) for _, job, key, during, since in asked]
        names = to_text([(Kind.UNIQUE, each.key) for each in returning])
        rows = yield Ask(self.sql("flows", "held-keys"), {"names": names})
        held = {key: Holding(*holding) for _, key, *holding in rows}
        known = yield Ask(self.sql("enqueue", "known"), {"ids": to_text([each.job for each in held.values()])})
        return returning, held, {job: State(state) for job, _, state, _ in known}

    def put_keys(self, taken: Sequence[tuple[Any, ...]]) -> Steps[None]:
        """Store who has which key."""
        yield Do(self.sql("flows", "put-keys"), {"rows": to_text(taken)})

    def finish(self, rows: Sequence[Finish]) -> Steps[None]:
        """Move live jobs to the finished ones."""
        yield from finish(self.sql, rows, self.now)

    def count_down(self, ended: Sequence[Ended]) -> Steps[Freed]:
        """Settle the edges below jobs that ended."""
        return (yield from count_down(self.sql, ended, self.now))

    def call_next(self, leavers: Sequence[Leaver]) -> Steps[None]:
        """Call whom the ends of jobs that did not run made room for."""
        yield from call_next(self.sql, leavers, self.now)

    def erase(self, ns: Sequence[int]) -> Steps[None]:
        """Remove every trace of jobs."""
        yield from forget(self.sql, list(ns), self.now, erase=True)
