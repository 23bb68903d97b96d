"""Claims of gated jobs in whose way nothing stands: the store judges a whole batch at once, and starts it in one exchange.

Those that something hinders stay as they are, and the claim goes on to judge one by one (`claiming`). Where no limit has been
met, none is weighed.
"""

import json
from collections.abc import Callable
from enum import IntFlag
from operator import itemgetter
from typing import Any

from treadle.engine.admission import MOST_JUDGED
from treadle.engine.plan import Steps
from treadle.engine.postgres.marks import segments
from treadle.engine.postgres.statements import Statements
from treadle.engine.postgres.steps import Anew, Aside, Ask, Gated, Later, Row, Rows, Way, texts
from treadle.model.job import Claimed, Claims, Want

ENOUGH = 100
"""Gated jobs that a claim must have started, and a quarter of those it might have, to leave those be that wait for their turn.

They wait for what is in hand here, most likely. To park them and to call them again takes ten times what looking at them twice
does: where 1,000 keys take turns, a worker was half a second old when it had found out how many it can have in hand.
"""

PATIENCE = 8
"""Claims in a row that leave some be who wait for their turn; the next parks them. Who waits for one that takes its time would
else fill what each claim looks at: with 370 of a line in front, claims of 500 started 130.
"""

_PRIORITY, _SUSPECT, _SEQ = 6, 15, 19


class Flag(IntFlag):
    """What `start` says of a claim: some were not started although it was their turn; some wait for their turn; more gated ones
    stand behind them or are in somebody else's hands; any gated one waits in the queue; nobody may come back to where he stood
    before."""

    HINDERED = 1
    BEHIND = 2
    MORE = 4
    WAITING = 8
    STEADY = 16


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

    `expected` names the limits that have been met in the queue so far: what asks for others is left to be judged. Those that
    wait for their turn are left as they are where many did start (`ENOUGH`).
    """
    cap = min(gated, MOST_JUDGED)
    own = {"queue": want.queue, "take": want.take, "suspects": suspects, "cap": cap, "limits": texts(sorted(expected.limits))}

    def answer(rows: list[Rows], aside: Aside) -> Claims | Anew:
        if not rows[-1]:
            return Claims([], lost=True)
        (flags, others, *_), *started = rows[-1]
        _put_in_order(started)
        behind = bool(flags & Flag.BEHIND)
        mine = sum(row[0] < 0 for row in started)
        if flags & Flag.HINDERED or (behind and (expected.passed >= PATIENCE or mine < max(ENOUGH, cap / 4))):
            found = Gated(Way.HINDERED, frozenset(json.loads(others)) if others else frozenset())
            aside.remember(want.queue, values["tasks"], found)
            return Anew(lambda: go_on(started))
        passed = expected.passed + 1 if behind else 0
        full = flags & Flag.STEADY and not behind and (len(started) == want.take or mine == cap)
        marks = {row[_PRIORITY]: row[_SEQ] for row in started if not row[_SUSPECT]} if full else {}
        aside.remember(
            want.queue, values["tasks"], Gated(Way.CLEAR, marks=marks, passed=passed) if flags & Flag.WAITING else {}
        )
        jobs = [Claimed._make(row[:_SEQ]) for row in started]
        return Claims(jobs, lost=False, more=behind or bool(flags & Flag.MORE))

    own |= segments(expected.marks)
    if not expected.limits:
        return Later([Ask(sql("clear", "walk", "turns", "start"), values | own)], answer)
    parts = (("hold-starts",), ("walk", "weigh", "start"))
    return Later([Ask(sql("clear", *part), values | own) for part in parts], answer)


def _put_in_order(started: Rows) -> None:
    """Sort started jobs as they stood in their queue: by priority, seq and number."""
    started.sort(key=itemgetter(_SEQ))
    if len({row[_SEQ] for row in started}) < len(started):
        started.sort(key=lambda row: (row[_SEQ], abs(row[0])))
    if len({row[_PRIORITY] for row in started}) > 1:
        started.sort(key=itemgetter(_PRIORITY), reverse=True)
