"""Draws docs/states.md from the transition table. `--check` writes nothing and fails when the page is not current."""

import sys
from collections.abc import Iterator
from pathlib import Path

from treadle.model.state import TRANSITIONS, BlockedOn, State, Transition

PAGE = Path(__file__).parent / "states.md"

MEANING: dict[State, str] = {
    State.SCHEDULED: "not yet due",
    State.BLOCKED: f"kept out of its queue by one cause: {', '.join(f'`{cause}`' for cause in BlockedOn)}",
    State.QUEUED: "due, and waiting for a worker",
    State.RUNNING: "in the hands of one worker, under its lease",
    State.RETRYING: "an attempt failed or was lost; the time of the next one is known",
    State.COMPLETED: "the body returned; its result is kept",
    State.DEAD: "gave up; a dead letter tells why, and an operator may replay it",
    State.CANCELLED: "somebody, or a parent, took it back",
    State.EXPIRED: "not started by its start-by deadline",
}

OPENING = """\
# States

<!-- Drawn by docs/draw_states.py from src/treadle/model/state.py; edit those. -->

A job is in exactly one of nine states. Attempts fail; jobs die. Every move between the states is written down once, in
`treadle.model.state.TRANSITIONS`; the tests try each state with each verb and find no other move on any engine.
"""


def arrows() -> Iterator[str]:
    """One arrow for each pair of states, labelled with all the moves that lead along it."""
    moves: dict[tuple[State | None, State], list[str]] = {}
    for each in TRANSITIONS:
        labels = moves.setdefault((each.source, each.target), [])
        if each.move not in labels:
            labels.append(each.move)
    for (source, target), labels in moves.items():
        yield f"    {source or '[*]'} --> {target}: {', '.join(labels)}"


def diagram() -> str:
    """The whole picture, in mermaid's words."""
    return "\n".join(["```mermaid", "stateDiagram-v2", *arrows(), "```"])


def meanings() -> str:
    """The table of states."""
    rows = [f"| `{state}` | {'final' if state.final else 'live'} | {MEANING[state]} |" for state in State]
    return "\n".join(["| state | | the job is |", "|---|---|---|", *rows])


def row(each: Transition) -> str:
    """One line of the table of moves."""
    source = f"`{each.source}`" if each.source else "(new)"
    return f"| {each.move} | `{each.verb}` | {source} | `{each.target}` | {each.when} |"


def moves() -> str:
    """The table of moves, in the order of the code."""
    return "\n".join(["| move | verb | from | to | when |", "|---|---|---|---|---|", *map(row, TRANSITIONS)])


def page() -> str:
    """What docs/states.md must hold."""
    return "\n\n".join([OPENING.rstrip(), meanings(), diagram(), "## Every move", moves()]) + "\n"


def main(arguments: list[str]) -> int:
    """Write the page, or check it; the exit code says whether it is current."""
    if "--check" not in arguments:
        PAGE.write_text(page())
        return 0
    if PAGE.exists() and PAGE.read_text() == page():
        return 0
    sys.stderr.write(f"{PAGE} is not current: run python docs/draw_states.py\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
