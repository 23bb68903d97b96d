"""What the random machine may choose from: one throw of the dice decides a whole command.

Hypothesis sees one number per command, so its runs grow long; it shrinks a failure to the fewest commands.
"""

import random
from collections.abc import Sequence
from typing import Any

import hypothesis.strategies as st

from model.flowing import Dice, flow, record
from treadle.model.filter import Annotate, Cancel, Change, Erase, Filter, Prioritise, Replay, Resolve, Retention
from treadle.model.job import Edge, JobId, Micros, NewJob, OnDead, Want
from treadle.model.outcome import Cancelled, Cause, Completed, Crashed, Died, Expired, Outcome, Released, Retrying, Snoozed
from treadle.model.record import Guard, Space, Write
from treadle.model.state import State

DICE = st.integers(0, 2**32 - 1).map(random.Random)

QUEUES = ("red", "blue")
TASKS = ("work", "other")
TAGS = ("a", "b")
KEYS = ("k", "l")
DELAYS = (0.0, 1.0, 2.0, 5.0)


def perhaps(dice: Dice, chance: float, values: Sequence[Any]) -> Any:
    """One of the values, or more often None."""
    return dice.choice(values) if dice.random() < chance else None


def new_job(dice: Dice, job: JobId, parents: Sequence[JobId], now: Micros) -> NewJob:
    """A job that waits for up to three of the parents offered, or twice for one; it may ask more of others."""
    chosen = dice.choices(parents, k=dice.choice((0, 0, 0, 1, 2, 3))) if parents else []
    if dice.random() < 0.01:
        chosen.append("nobody")
    task = dice.choice((*TASKS, "work"))
    delay = perhaps(dice, 0.25, DELAYS)
    return NewJob(
        job,
        task,
        args=dice.choice(("{}", "[1]")),
        queue=dice.choice(QUEUES),
        priority=dice.choice((0, 0, 0, -1, 1)),
        delay=delay,
        run_at=perhaps(dice, 0.1, [now + ahead for ahead in (-5_000_000, -1, 0, 1, 2_000_000)]) if delay is None else None,
        start_within=perhaps(dice, 0.15, (0.0, 1.0, 5.0)),
        version=dice.choice((1, 1, 2)),
        options=perhaps(dice, 0.1, ("{}",)),
        headers=perhaps(dice, 0.1, ("{}",)),
        tags=tuple(dice.sample(TAGS, dice.choice((0, 0, 1, 2)))),
        key=perhaps(dice, 0.2, KEYS),
        edges=tuple(Edge(parent, dice.choice(list(OnDead))) for parent in chosen),
        max_crashes=dice.choice((1, 2, 3)),
        guard=Guard(guarded(dice, now)) if dice.random() < 0.1 else None,
        **flow(dice, task),
    )


def guarded(dice: Dice, now: Micros) -> Write:
    """What must be written in the same step: how far a schedule has come, or anything that changes who may start."""
    if dice.random() < 0.3:
        return record(dice, now)._replace(expect=dice.choice((None, 0, 1, 2)))
    return Write(Space.SCHEDULE, dice.choice("xy"), dice.choice(("1", "1", None)), dice.choice((None, None, 0, 1, 2)))


def wants(dice: Dice) -> list[Want]:
    """Most often both queues; sometimes none, one twice, one that is not there, or nothing of one."""
    queues = dice.choice((QUEUES, QUEUES, QUEUES[::-1], QUEUES[:1], ("red", "blue", "red"), ("blue", "none"), ()))
    return [Want(queue, dice.randint(0, 4), dice.randint(0, 8)) for queue in queues]


def outcome(dice: Dice) -> Outcome:
    """Any way an attempt can end."""
    delay = dice.choice(DELAYS)
    ends: list[Outcome] = [
        Completed(dice.choice((None, "7"))),
        Completed("8"),
        Retrying(delay, '{"type": "E"}'),
        Snoozed(delay),
        Released(dice.choice((0.0, delay)), dice.choice((None, '{"type": "R"}'))),
        Died(dice.choice(list(Cause)), "broken", dice.choice(("one", "two")), dice.choice((None, "{}"))),
        Cancelled(dice.choice(("", "own"))),
        Crashed(dice.choice(("", "signal 9")), delay),
        Expired(),
    ]
    return dice.choice(ends)


def change(dice: Dice) -> Change:
    """Any change an operator can make."""
    changes: list[Change] = [
        Cancel(dice.choice(("", "stop"))),
        Replay(dice.choice((0.0, *DELAYS)), dice.choice((None, "[1]")), dice.choice((None, "again"))),
        Replay(),
        Resolve(dice.choice((None, "known"))),
        Annotate("seen"),
        Erase(),
        Prioritise(dice.choice((-1, 0, 1, 2))),
        Prioritise(dice.choice((-100, -1, 0, 1, 100))),
    ]
    return dice.choice(changes)


def retention(dice: Dice) -> Retention:
    """Short lives for the finished, or none."""
    ages = (None, 0.0, 1.0, 5.0, 60.0)
    return Retention(
        completed=dice.choice(ages),
        completed_count=dice.choice((None, 0, 2, 5)),
        cancelled=dice.choice(ages),
        expired=dice.choice(ages),
        dead=dice.choice(ages),
        audit=dice.choice(ages),
    )


def job_filter(dice: Dice, jobs: Sequence[JobId], leases: Sequence[str], now: int) -> Filter:
    """A filter of up to three fields, most often by id."""
    fields: dict[str, Any] = {
        "ids": dice.choices([*jobs, "nobody"], k=dice.randint(0, 3)),
        "states": dice.sample(list(State), dice.randint(0, 4)),
        "queues": dice.sample(QUEUES, dice.randint(0, 2)),
        "tasks": dice.sample(TASKS, dice.randint(0, 2)),
        "tag": dice.choice(TAGS),
        "key": dice.choice(KEYS),
        "status": dice.choice(("open", "replayed", "resolved")),
        "fingerprint": dice.choice(("one", "")),
        "lease": dice.choice((*leases, "nobody")),
        "enqueued_before": now - dice.choice((0, 1_000_000)),
        "enqueued_after": now - dice.choice((1, 1_000_000)),
        "finished_before": now - dice.choice((-1, 0, 1_000_000)),
    }
    names = ["ids"] if dice.random() < 0.5 else dice.sample(sorted(fields), dice.choice((0, 1, 1, 2, 3)))
    return Filter(**{name: fields[name] for name in names})
