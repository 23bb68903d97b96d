"""Reads what new jobs that look at others are judged by: parents, guards, keys.

Everything is read before anything is written, but for the jobs that others replace: their end comes first.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from treadle.engine import judging
from treadle.engine.admission import check_write
from treadle.engine.judging import Known, Place, place_together
from treadle.engine.keying import Holding, Keyring, names_of
from treadle.engine.ledger import Ledger
from treadle.engine.moving import Ended, Finish, Leaver
from treadle.engine.plan import Steps
from treadle.engine.rows import to_text
from treadle.engine.session import Wake, topics
from treadle.engine.source import Source
from treadle.engine.sqlite.edges import finish, wake_children
from treadle.engine.sqlite.facts import ledger, store_ledger
from treadle.engine.sqlite.leaving import call_next
from treadle.engine.sqlite.steps import Ask, Do
from treadle.model.job import Enqueued, JobId, Micros, NewJob
from treadle.model.state import State


@dataclass(slots=True)
class Judged:
    """The answers for a whole batch, and what is to be written: the chosen jobs, in batch order, and their guards' facts."""

    answers: list[Enqueued]
    chosen: list[NewJob]
    places: dict[JobId, Place]
    numbers: dict[JobId, int]
    facts: Ledger
    ring: Keyring

    def write(self, sql: Source, now: Micros) -> Steps[None]:
        """Store what the guards of the chosen jobs write, and who has which key."""
        yield from store_ledger(sql, self.facts, now)
        keys = [(*name, *holding) for name, holding in self.ring.taken.items()]
        if keys:
            yield Do(sql("flows", "put-keys"), {"rows": to_text(keys)})


def judge(sql: Source, jobs: Sequence[NewJob], now: Micros) -> Steps[Judged]:
    """Judge a batch in which some job carries an edge, a guard or a key."""
    guards = [job.guard.write for job in jobs if job.guard is not None]
    for write in guards:
        check_write(write)
    held = yield from _held_keys(sql, jobs)
    ids = {job.id for job in jobs} | {edge.parent for job in jobs for edge in job.edges} | {each.job for each in held.values()}
    known = yield from _known(sql, ids)
    facts = yield from ledger(sql, guards)
    ring = Keyring(now, held, {job: each.state for job, each in known.items()})
    judgement = judging.judge(jobs, known, facts, ring)
    if judgement.replaced:
        yield from _replace(sql, judgement.replaced, now)
        known = yield from _known(sql, ids)
    chosen = [jobs[i] for i in judgement.chosen]
    places = place_together(chosen, known, ring, now)
    numbers = {job: each.n for job, each in known.items()}
    return Judged(judgement.answers(known, places), chosen, places, numbers, facts, ring)


def _held_keys(sql: Source, jobs: Sequence[NewJob]) -> Steps[dict[tuple[str, str], Holding]]:
    names = [name for job in jobs for name in names_of(job)]
    rows = (yield Ask(sql("flows", "held-keys"), {"names": to_text(names)})) if names else ()
    return {(kind, key): Holding(*holding) for kind, key, *holding in rows}


def _known(sql: Source, ids: set[JobId]) -> Steps[dict[JobId, Known]]:
    rows = yield Ask(sql("enqueue", "known"), {"ids": to_text(list(ids))})
    return {job: Known(n, State(state), letter == "open") for job, n, state, letter in rows}


def _replace(sql: Source, replaced: Sequence[tuple[int, JobId, str]], now: Micros) -> Steps[None]:
    """Cancel waiting jobs whose unique key others take: a new job may have one of their children as its parent."""
    yield from finish(sql, [Finish(n, State.CANCELLED, reason=reason) for n, _, reason in replaced], now)
    yield Wake(topics(jobs=(job for _, job, _ in replaced)))
    yield from wake_children(sql, [Ended(n, job, State.CANCELLED) for n, job, _ in replaced], now)
    yield from call_next(sql, [Leaver(n, State.CANCELLED) for n, _, _ in replaced], now)
