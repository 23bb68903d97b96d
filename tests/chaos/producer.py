"""A producer: enqueues at a steady rate and writes down each id, first as offered, then as acknowledged.

    python -m chaos.producer NAME SEED RATE LEASE COUNT MENU

It stops after COUNT jobs or when the folder of the run holds a file `enough`, and rests while it holds a file `hold`.
"""

import asyncio
import random
import sys
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

from treadle import StoreError

from . import journal
from .journal import Journal
from .tasks import FOLDER, app, forge, haul, hop, poison

OFFERED = Journal(FOLDER / journal.OFFERED)
ACKNOWLEDGED = Journal(FOLDER / journal.ACKNOWLEDGED)

ENOUGH = FOLDER / "enough"
HOLD = FOLDER / "hold"

BATCH = 5
KINDS = (hop, haul, forge)


class Menu(NamedTuple):
    """What is produced: the share of jobs longer than their lease, of jobs that fail at first, and one poisoned job or none."""

    long: float
    unlucky: float
    poison: bool = False


MENUS = {
    "mixed": Menu(long=0.01, unlucky=0.1),
    "long": Menu(long=0.5, unlucky=0.0),
    "poisoned": Menu(long=0.0, unlucky=0.0, poison=True),
}


def calls(draw: random.Random, menu: Menu, lease: float, count: int) -> list[Any]:
    """So many calls of random kind, length, priority and ill luck."""
    made: list[Any] = []
    for _ in range(count):
        task = draw.choices(KINDS, (5, 3, 2))[0]
        seconds = draw.choice((0.0, draw.uniform(0.02, 0.8)))
        if draw.random() < menu.long:
            seconds = draw.uniform(0.5, 3.0) * lease
        # Most that fail recover; a few use up their three retries.
        failures = draw.choice((1, 1, 1, 2, 2, 2, 3, 9)) if draw.random() < menu.unlucky else 0
        delay = draw.choices((None, 0.5), (9, 1))[0]
        made.append(task.options(priority=draw.choice((-50, 0, 0, 50)), delay=delay).call(seconds, failures))
    return made


def send(draw: random.Random, made: Sequence[Any]) -> None:
    """Store the calls, from a synchronous or an asynchronous caller."""
    if len(made) > 1:
        app.enqueue_many(made)
    elif draw.random() < 0.5:
        made[0].enqueue()
    else:
        asyncio.run(made[0].aenqueue())


def store(draw: random.Random, name: str, made: Sequence[Any]) -> None:
    """Offer, send, and write down what was acknowledged; what is not when the run is over stays without an answer.

    Without an answer nothing is known: it may be stored or not. So the same calls, which keep their ids, are sent again.
    """
    for call in made:
        OFFERED.write(job=call.id, producer=name)
    while True:
        try:
            send(draw, made)
        except StoreError as error:
            print(f"{type(error).__name__}: {error}", flush=True)
            if ENOUGH.exists():
                return
            threading.Event().wait(0.1)
        else:
            break
    for call in made:
        ACKNOWLEDGED.write(job=call.id, producer=name)


def main(name: str, seed: str, rate: str, lease: str, count: str, menu: str) -> None:
    draw = random.Random(f"{seed} {name}")
    pause = threading.Event()
    left = int(count)
    if MENUS[menu].poison:
        store(draw, name, [poison.call()])
    while left > 0 and not ENOUGH.exists():
        if HOLD.exists():
            pause.wait(0.1)
            continue
        made = calls(draw, MENUS[menu], float(lease), min(left, draw.choices((1, BATCH), (8, 2))[0]))
        store(draw, name, made)
        left -= len(made)
        pause.wait(draw.expovariate(float(rate) / len(made)))


if __name__ == "__main__":
    main(*sys.argv[1:])
