"""Claims of gated jobs in whose way nothing stands: the store judges a whole batch at once, and starts it in one exchange.

Those that something hinders stay as they are, and the claim goes on to judge one by one (`claiming`).
"""

import json
from collections.abc import Callable
from operator import itemgetter
from typing import Any

from treadle.engine.admission import MOST_JUDGED
from treadle.engine.plan import Steps
from treadle.engine.postgres.marks import segments
from treadle.engine.postgres.statements import Statements
from treadle.engine.postgres.steps import Anew, Aside, Ask, Gated, Later, Row, Rows, Way, texts
from treadle.model.job import Claimed, Claims, Want

_PRIORITY, _SUSPECT, _SEQ, _NUMBER = 6, 15, 19, 25


def claim_clear(
    sql: Statements,
    want: Want,
    values: dict[str, Any],
    suspects: int,
    gated: int,
    expected: Gated,
    go_on: Callable[[list[Row]], Steps[Claims]],
) -> Later:
    """Claim those of the first jobs of a queue that nothing hinders, and `go_on` from there where anything does.

    `expected` names the limits that have been met in the queue so far: what asks for others is left to be judged.
    """
    cap = min(gated, MOST_JUDGED)
    own = {"queue": want.queue, "take": want.take, "suspects": suspects, "cap": cap, "limits": texts(sorted(expected.limits))}

    def answer(rows: list[Rows], aside: Aside) -> Claims | Anew:
        jobs = rows[1]
        if not jobs:
            return Claims([], lost=True)
        hindered, more, waits, others, steady = jobs[0][_SEQ + 1 : _NUMBER]
        started = _in_order(jobs) if jobs[0][0] is not None else []
        if hindered:
            found = Gated(Way.HINDERED, frozenset(json.loads(others)) if others else frozenset())
            aside.remember(want.queue, values["tasks"], found)
            return Anew(lambda: go_on(started))
        full = steady and (len(started) == want.take or sum(row[0] < 0 for row in started) == cap)
        marks = {row[_PRIORITY]: row[_SEQ] for row in started if not row[_SUSPECT]} if full else {}
        aside.remember(want.queue, values["tasks"], Gated(Way.CLEAR, marks=marks) if waits else {})
        return Claims([Claimed._make(row[:_SEQ]) for row in started], lost=False, more=more)

    own |= segments(expected.marks)
    return Later([Ask(sql("claim", part), values | own) for part in ("hold-starts", "start-clear")], answer)


def _in_order(jobs: Rows) -> Rows:
    """Started jobs as they stood in their queue."""
    jobs.sort(key=itemgetter(_SEQ, _NUMBER))
    if len({job[_PRIORITY] for job in jobs}) > 1:
        jobs.sort(key=itemgetter(_PRIORITY), reverse=True)
    return jobs
