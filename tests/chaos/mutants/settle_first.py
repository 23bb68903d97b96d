"""Settle before the run: a job is told to be completed when it is claimed, as an early acknowledgement would."""

import json

from treadle.model.outcome import Completed, Outcome, Settlement
from treadle.worker.inflight import Inflight
from treadle.worker.run import Run

take = Inflight.take


def settle_first(inflight: Inflight, run: Run) -> None:
    """Take a run and tell its outcome at once."""
    take(inflight, run)
    claimed = run.claimed
    outcome = Completed(json.dumps({"attempt": claimed.attempt, "pid": 0}))
    inflight._settler.add(Settlement(claimed.ref, claimed.id, claimed.attempt, outcome, 0.0), run.settings.durability)
    inflight._changed()


def forget(inflight: Inflight, run: Run, outcome: Outcome) -> None:
    """The run is over, and nobody is told."""
    inflight.runs.pop(run.claimed.id, None)
    if run.claimed.id == inflight._suspect:
        inflight._suspect = None


Inflight.take = settle_first
Inflight.ended = forget
