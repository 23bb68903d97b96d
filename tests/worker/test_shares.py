"""The shares of queues that are never empty, counted in the starts of one real worker."""

import asyncio
from collections import Counter
from itertools import pairwise

from treadle import Treadle
from treadle.worker.fetcher import MOST
from treadle.worker.worker import Worker
from worker.test_flow_worker import serve

WEIGHTS = {"a": 60, "b": 30, "c": 10}
STARTS = 10_000


def test_full_queues_are_served_by_their_weights_and_none_waits_beyond_the_bound() -> None:
    app = Treadle("memory://shares", allow_volatile=True)
    order: list[str] = []
    enough = asyncio.Event()

    @app.task(name="work")
    async def work(queue: str) -> None:
        order.append(queue)
        if len(order) == STARTS:
            enough.set()

    # Each queue has more than its share of the starts that are looked at, so none of them is ever empty before the last.
    for queue, weight in WEIGHTS.items():
        app.enqueue_many(work.options(queue=queue).call(queue) for _ in range(STARTS * weight // 100 + 2 * MOST))

    async def scene(_: Worker) -> None:
        await asyncio.wait_for(enough.wait(), 60)

    assert serve(app, scene, queues=tuple(WEIGHTS.items())) == 0
    app.close()
    counted = Counter(order[:STARTS])
    for queue, weight in WEIGHTS.items():
        assert abs(counted[queue] - STARTS * weight / 100) <= STARTS / 100
        # Between two starts of a queue lie no more than the shares of the others in one claim.
        places = [-1, *(place for place, name in enumerate(order[:STARTS]) if name == queue), STARTS]
        longest = max(after - before - 1 for before, after in pairwise(places))
        assert longest <= MOST * (100 - weight) / 100, (queue, longest)
