"""What a claim costs with nothing else waiting, and with a million jobs behind it."""

import secrets
import statistics
import time

from benchmarks import producing
from treadle import Treadle
from treadle.model.job import Want, WorkerInfo
from treadle.model.outcome import Completed, Settlement

BATCH = 100
ROUNDS = 200
NAME = "benchmarks.target.no_op"


def _claims(url: str) -> float:
    """The median microseconds of a claim of 100, each followed by its settlement."""
    app = Treadle(url)
    engine, session = app.store.engine, app.store.session()
    lease = secrets.token_hex(16)
    session.run(engine.renew(lease, 0, 600.0, worker=WorkerInfo("bench", "here", 0, ("default",), (NAME,), 1)))
    times: list[float] = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        claims = session.run(engine.claim(lease, [Want("default", BATCH, BATCH)], [NAME]))
        times.append(time.perf_counter() - began)
        assert len(claims.jobs) == BATCH
        session.run(engine.settle(lease, [Settlement(job.ref, job.id, job.attempt, Completed(), 0.0) for job in claims.jobs]))
    app.close()
    return statistics.median(times) * 1e6


def measure(url: str, waiting: int) -> tuple[float, float]:
    """Microseconds per claim without and with a backlog of `waiting` jobs."""
    producing.fill(url, "no_op", BATCH * ROUNDS)
    small = _claims(url)
    producing.fill(url, "no_op", waiting + BATCH * ROUNDS)
    return small, _claims(url)
