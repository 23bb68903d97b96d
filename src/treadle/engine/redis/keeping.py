"""The verbs that keep house: `promote`, `rescue`, `prune`."""

from collections.abc import Sequence

import msgspec

from treadle.engine.alteration import LINES
from treadle.engine.contract import Now
from treadle.engine.plan import Steps, plan
from treadle.engine.redis.steps import Call, encode
from treadle.model.filter import Retention
from treadle.model.job import Promoted, Rescued, Witness, micros

_rescued = msgspec.msgpack.Decoder(list[Rescued]).decode


class Keeping:
    """Each a call that looks at its own index and at nothing else."""

    @plan
    def promote(self, *, limit: int = 1000, now: Now = None) -> Steps[Promoted]:
        """Queue what is due and expire what missed its start-by deadline, `limit` of each."""
        answer: Promoted = yield Call("promote", encode((now, limit)), _promoted)
        return answer

    @plan
    def rescue(self, witnesses: Sequence[Witness] = (), *, delay: float = 1.0, now: Now = None) -> Steps[list[Rescued]]:
        """Take back every job of leases that ran out or that a witness saw end, and remove those leases."""
        answer: list[Rescued] = yield Call("rescue", encode((now, witnesses, micros(delay), delay)), _rescued)
        return answer

    @plan
    def prune(self, retention: Retention, *, limit: int = 1000, now: Now = None) -> Steps[int]:
        """Delete finished jobs older or more than `retention` allows, `limit` at most."""
        ages = [
            False if age is None else micros(age)
            for age in (retention.completed, retention.cancelled, retention.expired, retention.dead, retention.audit)
        ]
        keep: int | bool = False if retention.completed_count is None else retention.completed_count
        answer: int = yield Call("prune", encode((now, limit, ages[0], keep, *ages[1:], LINES * limit)), int)
        return answer


def _promoted(reply: tuple[int, int, bytes | None]) -> Promoted:
    queued, expired, next_due = reply
    return Promoted(queued, expired, None if next_due is None else int(next_due))
