"""The newer twins of dead letters that stop their order: each waits behind the letter whose unique key it has by now."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

import msgspec

from treadle.engine.contract import Engine
from treadle.engine.plan import Plan, Steps
from treadle.model.filter import Filter, Order, Page
from treadle.model.job import Job, JobId, NewJob
from treadle.model.state import State

HEADER = "unique"
"""By this name a job that may stop its order carries its unique key."""
_BEHIND = frozenset((State.SCHEDULED, State.QUEUED, State.BLOCKED))
"""Where a twin may be: it is blocked once a claim has seen that it is not its turn."""
_PAGE = 1000
_PAGES = 10
"""How many pages of waiting jobs are looked through for twins."""


class _Headers(msgspec.Struct):
    unique: str | None = None


def kept_key(job: NewJob) -> str | None:
    """The unique key that a job is to carry, so that its twin is known; None where no twin can refuse its replay."""
    if job.unique is None or job.ordering is None or not job.ordering.stop:
        return None
    return job.unique.key if _BEHIND.issubset(job.unique.during) else None


def see_twins(engine: Engine, letters: Iterable[Job]) -> Plan[dict[JobId, JobId]]:
    """Of these dead letters, read with details, those that a job behind them keeps from being replayed, and that job."""
    stuck: dict[tuple[str, str], list[Job]] = {}
    for each in letters:
        key = _key(each)
        if key is not None and each.dead is not None and each.dead.status == "open":
            stuck.setdefault((each.task, key), []).append(each)

    def begin() -> Steps[dict[JobId, JobId]]:
        if not stuck:
            return {}
        candidates = yield from _see_candidates(engine, stuck).begin()
        if not candidates:
            return {}
        detailed = yield from engine.find(Filter(ids=list(candidates)), Page(limit=len(candidates), details=True)).begin()
        return {letter.id: job.id for job in detailed for letter in candidates[job.id] if _order(job) == _order(letter)}

    return Plan("find", begin)


def _see_candidates(engine: Engine, stuck: Mapping[tuple[str, str], list[Job]]) -> Plan[dict[JobId, list[Job]]]:
    """The waiting jobs that have a unique key of these letters, and which letters': one walk for all of them."""
    # Until it died each had its key itself: no twin is older than the first of these deaths.
    died = min(each.dead.died_at for same in stuck.values() for each in same if each.dead is not None) - 1
    where = Filter(tasks=sorted({task for task, _ in stuck}), states=sorted(_BEHIND), enqueued_after=died)

    def begin() -> Steps[dict[JobId, list[Job]]]:
        found: dict[JobId, list[Job]] = {}
        page = Page(limit=_PAGE, order=Order.OLDEST)
        for _ in range(_PAGES):
            jobs = yield from engine.find(where, page).begin()
            for job in jobs:
                key = _key(job)
                if key is not None and (job.task, key) in stuck:
                    found[job.id] = stuck[job.task, key]
            if len(jobs) < _PAGE:
                break
            page = replace(page, after=jobs[-1].id)
        return found

    return Plan("find", begin)


def _order(job: Job) -> str | None:
    return None if job.ordering is None else job.ordering.key


def _key(job: Job) -> str | None:
    if job.headers is None:
        return None
    try:
        return msgspec.json.decode(job.headers, type=_Headers).unique
    except msgspec.MsgspecError:
        return None  # some other hand stored it
