"""Caps on queues, as a producer heeds them: what waits is counted now and then, and what this process adds is added up.

Between two counts a producer does not see what others enqueue. So a cap may be passed by as much as they add meanwhile: half
a second, or twenty times as long as the count takes where that is more.
"""

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from time import monotonic
from typing import NamedTuple

from treadle.app.connection import Connection
from treadle.app.ids import new_id
from treadle.app.queue import Queue, read_cap
from treadle.app.storetime import here, own_time
from treadle.engine.contract import Engine
from treadle.engine.plan import Plan, Steps
from treadle.model.errors import QueueFull
from treadle.model.filter import Axis, Cancel, Filter, Page
from treadle.model.job import Edge, Enqueued, JobId, NewJob, Stored
from treadle.model.record import Record, Space
from treadle.model.state import LIVE, State
from treadle.policy.pressure import Cap, Excess, Level, judge

logger: logging.Logger = logging.getLogger("treadle")

OnFull = Callable[[str, str], None]
"""Told of a queue over its cap: its name, and why."""

FRESH = 0.5
"""Seconds for which a count is believed at least."""
SHARE = 20.0
"""A count is believed for so many times as long as it took: counting never takes more than a twentieth of the time."""
RECORDS = 10.0
"""Seconds after which a producer looks again for what operators said."""
ASKING = 1.0
"""Seconds for which others go by what was said before, while one of them looks again."""
SIGNALS = 10.0
"""Seconds between two signals of one queue."""
LOOKED_AT = 1000
"""Waiting jobs among which the least urgent are sought."""
WAITING = tuple(state for state in State if state in LIVE and state is not State.RUNNING)


class Reading(NamedTuple):
    """What a producer was told: operators' caps (None: not asked for), and what waits in the queues counted."""

    caps: Mapping[str, Cap | None] | None
    levels: Mapping[str, Level]


class Shed(NamedTuple):
    """How many jobs of a queue are to go, and why."""

    queue: str
    excess: Excess


class Pressure:
    """What one producer knows of the queues that have caps."""

    def __init__(self, connection: Connection, declared: Mapping[str, Queue]) -> None:
        self.on_full: list[OnFull] = []
        self._connection = connection
        self._declared = declared
        self._said: Mapping[str, Cap | None] = {}
        self._said_until = 0.0
        self._levels: dict[str, Level] = {}
        self._levels_until: dict[str, float] = {}
        self._coming: dict[object, Counter[str]] = {}
        self._signalled: dict[str, float] = {}

    @property
    def absent(self) -> bool:
        """True while no queue at all is known to have a cap, and nobody has to look whether one has got one."""
        return not self._said and not self._declared and monotonic() < self._said_until

    def look(self, jobs: Sequence[NewJob]) -> Plan[Reading] | None:
        """What has to be asked before these jobs are judged; None when what is known will do."""
        now = monotonic()
        records = now >= self._said_until and bool(jobs)
        if not records and not self._capped(jobs):
            return None
        stale = any(now >= self._levels_until.get(queue, 0.0) for queue in self._capped(jobs))
        if not records and not stale:
            return None
        if records and self._said_until:
            self._said_until = now + ASKING
        return self._asking(records, sorted({job.queue for job in jobs}))

    def learn(self, reading: Reading, since: float) -> None:
        """Take in what was asked for at `since`, in monotonic seconds."""
        now = monotonic()
        if reading.caps is not None:
            self._said, self._said_until = reading.caps, now + RECORDS
        self._levels.update(reading.levels)
        self._levels_until.update(dict.fromkeys(reading.levels, now + max(FRESH, SHARE * (now - since))))

    def over(self, jobs: Sequence[NewJob]) -> bool:
        """Whether some queue would be over its cap if all of these were new to it."""
        return any(self._excess(queue, cap, jobs) is not None for queue, cap in self._capped(jobs).items())

    def judge(self, jobs: Sequence[NewJob], waited: float | None) -> tuple[float, list[Shed]]:
        """Seconds to wait before asking again (0: none), and what is to be shed. Raises `QueueFull`.

        `waited` is how long this enqueue has waited already, None where it may not wait.
        """
        sheds: list[Shed] = []
        for queue, cap in self._capped(jobs).items():
            excess = self._excess(queue, cap, jobs)
            if excess is None:
                continue
            coming = _coming(queue, jobs)
            match cap.action:
                case "shed":
                    sheds.append(Shed(queue, excess))
                case "signal":
                    self._signal(queue, excess.why)
                case "block" if waited is not None and waited < cap.timeout and coming <= (cap.depth or coming):
                    return min(FRESH, cap.timeout - waited) or FRESH, []
                case _:
                    raise QueueFull(_refusal(queue, excess.why, cap, waited), queue)
        return 0.0, sheds

    def expect(self, jobs: Sequence[NewJob]) -> object:
        """These are on their way: until they have `arrived`, by what this returns, they count as if they stood there.

        Else whoever stores many side by side judged each by what was there before all of them.
        """
        if not self._capped(jobs):
            return None
        coming = object()
        self._coming[coming] = Counter(job.queue for job in jobs)
        return coming

    def arrived(self, coming: object) -> None:
        """What was expected was stored, or was not."""
        if coming is not None:
            del self._coming[coming]

    def added(self, jobs: Sequence[NewJob], answers: Sequence[Enqueued], sheds: Sequence[Shed]) -> None:
        """These were stored where the answers say so, and for some of them others went: so it counts until the next count."""
        if not self._levels:
            return
        pairs = zip(jobs, answers, strict=True)
        new = Counter(job.queue for job, answer in pairs if answer.verdict is Stored.STORED)
        for each in sheds:
            new[each.queue] -= min(each.excess.jobs, new[each.queue])
        for queue, number in new.items():
            if queue in self._levels:
                level = self._levels[queue]
                self._levels[queue] = level._replace(depth=level.depth + number)

    def _excess(self, queue: str, cap: Cap, jobs: Sequence[NewJob]) -> Excess | None:
        level = self._levels.get(queue, Level(0, 0.0))
        depth = level.depth + sum(each[queue] for each in list(self._coming.values()))
        return judge(cap, level._replace(depth=depth), _coming(queue, jobs))

    def _cap(self, queue: str) -> Cap | None:
        if queue in self._said:
            return self._said[queue]
        declared = self._declared.get(queue)
        return None if declared is None else declared.cap

    def _capped(self, jobs: Sequence[NewJob]) -> dict[str, Cap]:
        if not self._said and not self._declared:
            return {}
        caps = {queue: self._cap(queue) for queue in dict.fromkeys(job.queue for job in jobs)}
        return {queue: cap for queue, cap in caps.items() if cap is not None}

    def _asking(self, records: bool, queues: Sequence[str]) -> Plan[Reading]:
        engine, store = self._connection.engine, self._connection.store

        def begin() -> Steps[Reading]:
            caps = None
            if records:
                found: list[Record] = yield from engine.read(Space.CAP).begin()
                caps = {each.key: read_cap(each) for each in found}
            known = self._said if caps is None else caps
            counted = [queue for queue in queues if (known[queue] if queue in known else self._cap(queue)) is not None]
            if not counted:
                return Reading(caps, {})
            now = own_time(store) or here()
            counts = yield from engine.count(Filter(queues=counted, states=WAITING), (Axis.QUEUE, Axis.STATE)).begin()
            levels = dict.fromkeys(counted, Level(0, 0.0))
            for each in counts:
                queue = str(each.key[0])
                depth, age = levels[queue]
                due = each.oldest if each.key[1] == State.QUEUED else None
                levels[queue] = Level(depth + each.count, age if due is None else max(0.0, (now - due) / 1_000_000))
            return Reading(caps, levels)

        return Plan("read+count", begin)

    def _signal(self, queue: str, why: str) -> None:
        now = monotonic()
        if now < self._signalled.get(queue, 0.0):
            return
        self._signalled[queue] = now + SIGNALS
        logger.warning("queue %s is over its cap: %s", queue, why)
        for told in self.on_full:
            told(queue, why)


def strangers(engine: Engine, jobs: Sequence[NewJob]) -> Plan[Sequence[NewJob]]:
    """Those among jobs that would be stored; the others repeat what is there. Nothing is stored.

    A batch with an edge to nobody is refused whole, and still told which of its jobs are known: that is how one asks.
    """

    def begin() -> Steps[Sequence[NewJob]]:
        nobody = replace(jobs[0], id=new_id(), edges=(Edge(new_id()),), unique=None, idempotency=None, guard=None)
        answers = yield from engine.enqueue([*jobs, nobody]).begin()
        known = (Stored.ALREADY, Stored.DUPLICATE, Stored.CONFLICT)
        return [job for job, answer in zip(jobs, answers[:-1], strict=True) if answer.verdict not in known]

    return Plan("strangers", begin)


def shed(engine: Engine, sheds: Sequence[Shed], jobs: Sequence[NewJob], answers: Sequence[Enqueued]) -> Plan[None]:
    """Cancel the least urgent jobs of queues over their caps, new ones and old ones alike; of equals the newest go."""

    def begin() -> Steps[None]:
        for queue, excess in sheds:
            new = [
                (job.priority, job.id)
                for job, answer in zip(jobs, answers, strict=True)
                if job.queue == queue and answer.verdict is Stored.STORED
            ]
            where = Filter(queues=[queue], states=WAITING)
            fresh = {job for _, job in new}
            found = yield from engine.find(where, Page(limit=LOOKED_AT + len(new))).begin()
            # Newest first, so that of equals the newest go: the sort keeps the order of what it finds equal.
            pool = [*reversed(new), *((each.priority, each.id) for each in found if each.id not in fresh)]
            victims: list[JobId] = [job for _, job in sorted(pool, key=lambda each: each[0])[: min(excess.jobs, len(new))]]
            if victims:
                reason = f"shed: queue {queue} is over its cap, {excess.why}"
                cancel = Cancel(reason)
                yield from engine.alter(Filter(ids=victims), cancel, actor=None, limit=len(victims)).begin()

    return Plan("shed", begin)


def _coming(queue: str, jobs: Sequence[NewJob]) -> int:
    return sum(job.queue == queue for job in jobs)


def _refusal(queue: str, why: str, cap: Cap, waited: float | None) -> str:
    if cap.action == "block":
        way = "inside a transaction nothing waits for room" if waited is None else f"no room came within {cap.timeout:g} s"
        return f"queue {queue} is over its cap, and {way}: {why}. Nothing was stored; try again later."
    return f"queue {queue} is over its cap: {why}. Nothing was stored; try again later, or add workers."
