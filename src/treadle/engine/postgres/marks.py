"""How far a session has claimed, as a walk over the queue's index: what was claimed long ago is left out."""

from treadle.engine.postgres.steps import Marks, literal, numbers

_ABOVE, _BELOW = 32767, -32768
"""Beyond the priorities there are."""


def segments(marks: Marks) -> dict[str, str]:
    """The parameters :high, :low and :after of a claim: the segments in which it walks the index, in order.

    Before the mark of each priority everything has been claimed. Where `after` is null a segment is all that lies between two
    priorities, else the one priority `high` from that seq on.
    """
    if not marks:
        return {"high": f"{{{_ABOVE}}}", "low": f"{{{_BELOW}}}", "after": "{NULL}"}
    rows: list[tuple[int, int, int | None]] = []
    top = _ABOVE
    for priority in sorted(marks, reverse=True):
        rows += [(top, priority, None), (priority, priority, marks[priority])]
        top = priority
    rows.append((top, _BELOW, None))
    high, low, after = zip(*rows, strict=True)
    return {"high": numbers(high), "low": numbers(low), "after": literal(after)}
