"""What the log says of attempts that fail: whoever watches the worker's terminal sees what becomes a dead letter."""

import logging

from treadle.app.failure import read_record, summary
from treadle.model.job import Claimed
from treadle.model.outcome import Cause, Died, Outcome, Retrying
from treadle.worker.logs import job_fields

log: logging.Logger = logging.getLogger("treadle.worker")


def tell(claimed: Claimed, outcome: Outcome) -> None:
    """Say that an attempt has failed, and what becomes of its job. Of any other end nothing is said."""
    match outcome:
        case Retrying(delay, error):
            said = "job %s (%s) failed at attempt %d, and is tried again in %.3g s: %s"
            why = summary(read_record(error))
            log.info(said, claimed.id, claimed.task, claimed.attempt, delay, why, extra=job_fields(claimed))
        case Died(cause, reason):
            if cause is Cause.INVALID:  # whoever refuses a value may quote it
                reason = f"`treadle dead show {claimed.id}` says why"
            said = "job %s (%s) is a dead letter after attempt %d, %s: %s"
            log.error(said, claimed.id, claimed.task, claimed.attempt, cause, reason, extra=job_fields(claimed))
        case _:
            pass
