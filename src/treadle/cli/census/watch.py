"""How a census looks while it runs: a picture that changes on a terminal, plain lines elsewhere."""

import sys
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from treadle.app.where import Filter
from treadle.cli.census.tasks import FILES, PACKAGES, app
from treadle.cli.output import colour_wanted, say, span
from treadle.model.filter import Axis
from treadle.model.state import State

if TYPE_CHECKING:
    from rich.console import Group

QUEUES = (PACKAGES, FILES)
_WINDOW = 5.0
_LINE_EVERY = 2.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Where the jobs of one run are. `oldest` is how long each queue's longest waiting job has been due, in seconds."""

    states: dict[str, dict[State, int]]
    oldest: dict[str, float | None]

    def of(self, *states: State) -> int:
        """How many jobs are in one of these states, over all queues."""
        return sum(found.get(state, 0) for found in self.states.values() for state in states)

    @property
    def ended(self) -> int:
        """How many jobs have ended."""
        return self.of(State.COMPLETED, State.DEAD, State.CANCELLED, State.EXPIRED)

    @property
    def total(self) -> int:
        """How many jobs there are."""
        return self.of(*State)


def look(run: str) -> Snapshot:
    """The run's jobs as they are now."""
    states: dict[str, dict[State, int]] = {queue: {} for queue in QUEUES}
    oldest: dict[str, float | None] = dict.fromkeys(QUEUES)
    now = time.time()
    for each in app.client.count(Filter(tag=run), (Axis.QUEUE, Axis.STATE)):
        queue, state = str(each.key[0]), State(str(each.key[1]))
        states.setdefault(queue, {})[state] = each.count
        if state is State.QUEUED and each.oldest is not None:
            oldest[queue] = max(0.0, now - each.oldest.timestamp())
    return Snapshot(states, oldest)


@dataclass(slots=True)
class Pace:
    """Jobs ended a second, over the last few seconds."""

    seen: deque[tuple[float, int]] = field(default_factory=deque[tuple[float, int]])

    def rate(self, ended: int) -> float:
        """Take note of how many have ended by now; the rate since the window began."""
        now = time.monotonic()
        self.seen.append((now, ended))
        while len(self.seen) > 2 and now - self.seen[0][0] > _WINDOW:
            self.seen.popleft()
        began, before = self.seen[0]
        return (ended - before) / (now - began) if now > began else 0.0


class Screen(Protocol):
    """What shows snapshots."""

    def show(self, snapshot: Snapshot, rate: float) -> None:
        """Show where the run is."""
        ...

    def close(self) -> None:
        """Leave the last picture standing."""
        ...


class PlainScreen:
    """A line each few seconds, and a last one."""

    def __init__(self) -> None:
        self._next = 0.0
        self._last = ""
        self._shown = ""

    def show(self, snapshot: Snapshot, rate: float) -> None:
        """Print a line if it is time for one."""
        waiting = ", ".join(f"{queue} {_depth(snapshot, queue)} ({_age(snapshot, queue)})" for queue in QUEUES)
        self._last = (
            f"{snapshot.ended:,} of {snapshot.total:,} jobs ended, {rate:,.0f}/s; queued: {waiting}; "
            f"retrying {snapshot.of(State.RETRYING)}; dead {snapshot.of(State.DEAD)}"
        )
        if time.monotonic() >= self._next:
            self._print()

    def close(self) -> None:
        """Print the last line if it says something new."""
        if self._last != self._shown:
            self._print()

    def _print(self) -> None:
        self._next = time.monotonic() + _LINE_EVERY
        self._shown = self._last
        say(self._last)
        sys.stdout.flush()


class RichScreen:
    """A progress bar over a table of the queues, drawn in place."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        console = Console(no_color=colour_wanted() is False)
        self._live = Live(console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
        self._live.start()

    def show(self, snapshot: Snapshot, rate: float) -> None:
        """Draw the picture anew."""
        self._live.update(_picture(snapshot, rate), refresh=True)

    def close(self) -> None:
        """Leave the picture and give the terminal back."""
        self._live.stop()


def open_screen() -> Screen:
    """The screen that fits where the output goes."""
    if sys.stdout.isatty() and colour_wanted() is not False:
        try:
            return RichScreen()
        except ImportError:
            pass
    return PlainScreen()


def _picture(snapshot: Snapshot, rate: float) -> "Group":
    from rich.columns import Columns
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    total = max(1, snapshot.total)
    left = (total - snapshot.ended) / rate if rate > 0 else None
    eta = f", about {span(left)} left" if left and snapshot.ended < total else ""
    table = Table(box=None, pad_edge=False)
    shown = (State.QUEUED, State.RUNNING, State.RETRYING, State.BLOCKED, State.COMPLETED, State.DEAD)
    for name in ("queue", *(state.value for state in shown), "oldest"):
        table.add_column(name, justify="left" if name == "queue" else "right")
    for queue in QUEUES:
        states = snapshot.states.get(queue, {})
        table.add_row(queue, *(f"{states.get(state, 0):,}" for state in shown), _age(snapshot, queue))
    bar = Columns([ProgressBar(total=total, completed=snapshot.ended, width=36), Text(f"{snapshot.ended:,} of {total:,}")])
    return Group(bar, Text(f"{rate:,.0f} jobs a second{eta}", style="dim"), table)


def _depth(snapshot: Snapshot, queue: str) -> str:
    return f"{snapshot.states.get(queue, {}).get(State.QUEUED, 0):,}"


def _age(snapshot: Snapshot, queue: str) -> str:
    oldest = snapshot.oldest.get(queue)
    return "-" if oldest is None else span(oldest)
