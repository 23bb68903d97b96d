"""The newer twins of dead letters that stop their order: each waits behind the letter whose unique key it has by now."""

from collections.abc import Iterable
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
"""How many pages of waiting jobs are looked through for one twin."""


class _Headers(msgspec.Struct):
    unique: str | None = None


def kept_key(job: NewJob) -> str | None:
    """The unique key that a job is to carry, so that its twin is known; None where no twin can refuse its replay."""
    if job.unique is None or job.ordering is None or not job.ordering.stop:
        return None
    return job.unique.key if _BEHIND.issubset(job.unique.during) else None


def see_twins(engine: Engine, letters: Iterable[Job]) -> Plan[dict[JobId, JobId]]:
    """Of these dead letters, read with details, those that a job behind them keeps from being replayed, and that job."""
    open_letters = [each for each in letters if each.dead is not None and each.dead.status == "open"]
    keys = {each.id: key for each in open_letters if (key := _key(each)) is not None}

    def begin() -> Steps[dict[JobId, JobId]]:
        found: dict[JobId, JobId] = {}
        for letter in open_letters:
            if letter.id in keys:
                twin = yield from _see_twin(engine, letter, keys[letter.id]).begin()
                if twin is not None:
                    found[letter.id] = twin
        return found

    return Plan("find", begin)


def _see_twin(engine: Engine, letter: Job, key: str) -> Plan[JobId | None]:
    # Until it died it had its key itself: no twin is older than its death.
    died = None if letter.dead is None else letter.dead.died_at - 1
    where = Filter(tasks=[letter.task], states=sorted(_BEHIND), enqueued_after=died)

    def begin() -> Steps[JobId | None]:
        page = Page(limit=_PAGE, order=Order.OLDEST)
        for _ in range(_PAGES):
            jobs = yield from engine.find(where, page).begin()
            for job in jobs:
                if _key(job) == key:
                    (twin,) = yield from engine.find(Filter(ids=[job.id]), Page(limit=1, details=True)).begin()
                    return twin.id if _order(twin) == _order(letter) else None
            if len(jobs) < _PAGE:
                break
            page = replace(page, after=jobs[-1].id)
        return None

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
