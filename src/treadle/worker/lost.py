"""Why a store does not honour a lease, as far as it can tell: asked when it is too late, for the log."""

from treadle.engine.contract import Engine
from treadle.engine.plan import Plan, Steps
from treadle.model.job import LeaseId
from treadle.model.record import Space

UNKNOWN = "the store does not honour it any more"
RAN_OUT = "the store says it has run out"
TAKEN = "the store does not know it any more: it ran out, and others have taken its jobs back"
EMPTIED = "the store knows neither it nor that this target was ever served: was it emptied, or restored from a backup?"


def why_lost(engine: Engine, lease: LeaseId, target: str) -> Plan[str]:
    """The reason, in words."""

    def begin() -> Steps[str]:
        leases = yield from engine.leases().begin()
        if any(each.id == lease for each in leases):
            return RAN_OUT
        served = yield from engine.read(Space.SERVED, [target]).begin()
        return TAKEN if served else EMPTIED

    return Plan("why_lost", begin)
