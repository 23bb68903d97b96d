"""Writes an operator's change."""

from collections.abc import Sequence
from typing import Any

from treadle.engine.alteration import Alteration, Found, Keys, Places, Values
from treadle.engine.keying import Holding, Returning
from treadle.engine.moving import Ended, Finish, Freed, Leaver
from treadle.engine.plan import Steps
from treadle.engine.postgres.aftermath import take_on
from treadle.engine.postgres.edges import count_down, finish
from treadle.engine.postgres.keeping import forget
from treadle.engine.postgres.leaving import call_next
from treadle.engine.postgres.statements import Statements
from treadle.engine.postgres.steps import Ask, Do, columns, numbers
from treadle.engine.rows import to_states
from treadle.model.filter import Altered, Change, Erase
from treadle.model.job import JobId, Micros
from treadle.model.state import State


class PostgresAlteration(Alteration):
    """`keyed`: some of the jobs may want a unique key back, which is held."""

    def __init__(self, sql: Statements, change: Change, actor: str | None, now: Micros, *, keyed: bool) -> None:
        super().__init__(change, actor, now)
        self.sql = sql
        self.keyed = keyed

    def apply(self, rows: Sequence[Sequence[Any]]) -> Steps[list[Altered]]:
        """As elsewhere; but first what has been left by those that are to be erased: their children had been cancelled."""
        ended = [n for n, _, state, *_ in rows if state == State.COMPLETED]
        if isinstance(self.change, Erase) and ended:
            yield from take_on(self.sql, ended, self.now, last=True)
        return (yield from super().apply(rows))

    def mark(self, part: str, jobs: Sequence[Found], values: Values) -> Steps[None]:
        """Run a part of `alter` over these jobs."""
        yield Do(self.sql("alter", part), {"ns": _ns(jobs), **values})

    def place(self, part: str, places: Places, values: Values) -> Steps[None]:
        """Run a part of `alter` over jobs and their seqs."""
        yield Do(self.sql("alter", part), {**columns(("n", "seq"), places), **values})

    def revive(self, places: Places, values: Values) -> Steps[None]:
        """Make finished jobs live again."""
        yield from self.place("revive", places, values)

    def audit(self, values: Values) -> Steps[None]:
        """Write the audit line."""
        yield Do(self.sql("alter", "audit"), values)

    def enter(self, jobs: Sequence[Found]) -> Steps[dict[int, int]]:
        """The seqs of jobs that come to their queue now."""
        if any(job.flow for job in jobs):
            yield Do(self.sql("flows", "queue-up"), {"ns": _ns(jobs)})
        return dict((yield Ask(self.sql("alter", "entered"), {"ns": _ns(jobs)})))

    def enter_anew(self, jobs: Sequence[Found]) -> Steps[dict[int, int]]:
        """The seqs of jobs that wait in their queue already, parked or not, and whose rows say another priority now."""
        seqs: dict[int, int] = dict((yield Ask(self.sql("alter", "entered"), {"ns": _ns(jobs)})))
        yield Do(self.sql("flows", "unpark"), {"ns": numbers(seqs)})
        return seqs

    def set_aside(self, jobs: Sequence[Found]) -> Steps[dict[int, int]]:
        """The seqs of jobs that come to their queue later."""
        taken = yield Ask(self.sql("shared", "numbers"), {"count": len(jobs)})
        return {job.n: seq for job, (seq,) in zip(jobs, taken, strict=True)}

    def returning(self, jobs: Sequence[Found]) -> Steps[Keys]:
        """The unique keys that jobs want back."""
        found: Keys = ([], {}, {})
        if not self.keyed:
            return found
        returning, held, states = found
        for job, key, during, since, holder, *holding, state in (yield Ask(self.sql("alter", "returning"), {"ns": _ns(jobs)})):
            returning.append(Returning(job, key, to_states(during), since))
            if holder:
                held[key] = Holding(holder, *holding)
            if state is not None:
                states[JobId(holder)] = State(state)
        return found

    def put_keys(self, taken: Sequence[tuple[Any, ...]]) -> Steps[None]:
        """Store who has which key."""
        yield Do(self.sql("flows", "put-keys"), columns(("kind", "key", "id", *Holding._fields[1:]), taken))

    def finish(self, rows: Sequence[Finish]) -> Steps[None]:
        """Move live jobs to the finished ones."""
        yield from finish(self.sql, rows, self.now)

    def count_down(self, ended: Sequence[Ended]) -> Steps[Freed]:
        """Settle the edges below jobs that ended."""
        return (yield from count_down(self.sql, ended, self.now))

    def call_next(self, leavers: Sequence[Leaver]) -> Steps[None]:
        """Call whom the ends of jobs that did not run made room for."""
        yield from call_next(self.sql, leavers, self.now, ran=False)

    def erase(self, ns: Sequence[int]) -> Steps[None]:
        """Remove every trace of jobs."""
        yield from forget(self.sql, ns, self.now, erase=True)


def _ns(jobs: Sequence[Found]) -> str:
    return numbers([job.n for job in jobs])
