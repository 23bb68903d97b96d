"""Inversion: an urgent job would wait for the least urgent of its parents, so those that wait are made as urgent as it is."""

from collections.abc import Mapping, Sequence

from treadle.engine.contract import Engine
from treadle.engine.plan import Plan, Steps
from treadle.model.filter import Filter, Page, Prioritise
from treadle.model.job import Enqueued, JobId, NewJob, Stored
from treadle.model.priority import NORMAL
from treadle.model.state import LIVE, State

DEEP = 10
"""Generations above the new jobs that are lifted."""
MANY = 1000
"""Jobs of one generation that are looked at."""
_WAITING = tuple(state for state in State if state in LIVE and state is not State.RUNNING)


def urged(jobs: Sequence[NewJob], answers: Sequence[Enqueued]) -> dict[JobId, int]:
    """The parents outside a batch that jobs stored in it wait for, where those are urgent: how urgent, by parent."""
    wanted: dict[JobId, int] = {}
    own: set[JobId] | None = None
    for job, answer in zip(jobs, answers, strict=True):
        if job.priority <= NORMAL or not job.edges or answer.verdict is not Stored.STORED:
            continue
        own = {each.id for each in jobs} if own is None else own
        for edge in job.edges:
            if edge.parent not in own:
                wanted[edge.parent] = max(wanted.get(edge.parent, job.priority), job.priority)
    return wanted


def lift(engine: Engine, wanted: Mapping[JobId, int]) -> Plan[int]:
    """Make these jobs and their ancestors as urgent as is wanted of them, those that wait and are less so; how many were."""

    def begin() -> Steps[int]:
        left, lifted = dict(wanted), 0
        for _ in range(DEEP):
            if not left:
                break
            where = Filter(ids=tuple(left), states=_WAITING)
            found = yield from engine.find(where, Page(limit=MANY, details=True)).begin()
            raised: dict[int, list[JobId]] = {}
            above: dict[JobId, int] = {}
            for job in found:
                urgency = left[job.id]
                if job.priority < urgency:
                    raised.setdefault(urgency, []).append(job.id)
                for parent, _, state in job.parents:
                    if not state.final:
                        above[parent] = max(above.get(parent, urgency), urgency)
            for urgency, ids in sorted(raised.items()):
                meant = Filter(ids=ids, states=_WAITING)
                altered = yield from engine.alter(meant, Prioritise(urgency), actor=None, limit=len(ids)).begin()
                lifted += sum(each.done for each in altered)
            left = above
        return lifted

    return Plan("lift", begin)
