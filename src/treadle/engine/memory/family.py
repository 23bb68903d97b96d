"""What the end of a parent means for the children that wait for it."""

from dataclasses import replace
from enum import Enum

from treadle.engine.memory.row import Row
from treadle.engine.memory.turn import Turn
from treadle.model.job import JobId, OnDead
from treadle.model.state import State


class Fate(Enum):
    """What one edge says, given how its parent stands."""

    WAIT = "wait"
    FREE = "free"
    CANCEL = "cancel"


def fate(parent: Row, on_dead: OnDead) -> Fate:
    """What an edge to this parent means for the child that carries it."""
    if not parent.state.final:
        return Fate.WAIT
    if parent.state is State.COMPLETED or on_dead is OnDead.RUN:
        return Fate.FREE
    if on_dead is OnDead.HOLD and parent.letter_open:
        return Fate.WAIT
    return Fate.CANCEL


def because_of(parent: JobId) -> str:
    """The reason of a child that its parent took along."""
    return f"parent {parent}"


def settle_children(turn: Turn) -> None:
    """Tell the children of all that this turn ended, then the children of those that end by it, round by round."""
    while turn.ended:
        ended, turn.ended = turn.ended, []
        for child in turn.oldest_first(tell_children(turn, ended)):
            turn.enter(child)


def tell_children(turn: Turn, ended: list[Row]) -> set[JobId]:
    """Count these parents down in their children, or cancel them; returns the children that wait for nobody any more."""
    told: set[JobId] = set()
    for parent in ended:
        for child in turn.oldest_first(turn.tables.children.get(parent.id, set())):
            if parent.id in child.waits_for:
                _tell(turn, child, parent)
                told.add(child.id)
    return {each for each in told if is_free(turn.tables.jobs[each])}


def _tell(turn: Turn, child: Row, parent: Row) -> None:
    on_dead = next(edge.on_dead for edge in child.edges if edge.parent == parent.id)
    match fate(parent, on_dead):
        case Fate.FREE:
            turn.tables.put_job(replace(child, waits_for=child.waits_for - {parent.id}))
        case Fate.CANCEL:
            turn.end(child, State.CANCELLED, because_of(parent.id))
        case Fate.WAIT:
            pass


def is_free(row: Row) -> bool:
    """True for a job that is blocked still, though no parent keeps it so."""
    return row.state is State.BLOCKED and not row.waits_for
