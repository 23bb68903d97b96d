"""What one claim asks of each queue: shares by weight, or the first queue first.

Shares are kept by credit: each claim adds a queue's share of the room to its credit and takes off what it was given, so that
over many claims the starts follow the weights whatever the size of a single claim (deficit round robin, Shreedhar and
Varghese 1995). A queue that had less than its share to give keeps no credit: it was not held back, it was empty.
"""

from collections.abc import Sequence


def ask(weights: Sequence[int], credit: Sequence[float], room: int) -> list[int]:
    """Split `room` among queues by weight and standing credit; the parts add up to `room` and none is negative."""
    total = sum(weights)
    due = [carried + room * weight / total for weight, carried in zip(weights, credit, strict=True)]
    takes = [max(0, int(part)) for part in due]
    # Rounding leaves a few over, old debts take a few too many: settle both where the remainder is largest or smallest.
    while (rest := room - sum(takes)) != 0:
        step = 1 if rest > 0 else -1
        candidates = range(len(takes)) if step > 0 else [index for index, take in enumerate(takes) if take > 0]
        best = max(candidates, key=lambda index: (due[index] - takes[index]) * step)
        takes[best] += step
    return takes


def charge(weights: Sequence[int], credit: Sequence[float], takes: Sequence[int], got: Sequence[int]) -> list[float]:
    """The credit after a claim that asked for `takes` and was given `got`. Nobody carries more than one claim's room."""
    room = sum(takes)
    total = sum(weights)
    given = sum(got)
    after: list[float] = []
    for weight, carried, take, had in zip(weights, credit, takes, got, strict=True):
        if had < take:
            after.append(0.0)
        else:
            after.append(max(-float(room), min(float(room), carried + given * weight / total - had)))
    return after
