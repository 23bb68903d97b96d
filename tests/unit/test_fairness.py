"""Shares of a claim: exact in the long run, whole in each claim, nothing for the empty-handed to save up."""

from hypothesis import given
from hypothesis import strategies as st

from treadle.policy.fairness import ask, charge

weights = st.lists(st.integers(1, 100), min_size=1, max_size=6)


@given(weights, st.integers(1, 1000))
def test_a_claim_is_split_whole(weights: list[int], room: int) -> None:
    takes = ask(weights, [0.0] * len(weights), room)
    assert sum(takes) == room
    assert min(takes) >= 0


@given(weights, st.lists(st.integers(1, 50), min_size=20, max_size=60))
def test_full_queues_are_served_by_weight(weights: list[int], rooms: list[int]) -> None:
    credit = [0.0] * len(weights)
    served = [0] * len(weights)
    for room in rooms:
        takes = ask(weights, credit, room)
        served = [had + take for had, take in zip(served, takes, strict=True)]
        credit = charge(weights, credit, takes, takes)
    total = sum(served)
    for weight, had in zip(weights, served, strict=True):
        # Rounding is carried over as credit, so no queue is ever further from its share than one job per queue.
        assert abs(had - total * weight / sum(weights)) <= len(weights)


def test_one_slot_at_a_time_follows_the_weights_exactly() -> None:
    credit = [0.0, 0.0, 0.0]
    served = [0, 0, 0]
    for _ in range(100):
        takes = ask([60, 30, 10], credit, 1)
        served = [had + take for had, take in zip(served, takes, strict=True)]
        credit = charge([60, 30, 10], credit, takes, takes)
    assert served == [60, 30, 10]


def test_an_empty_queue_saves_up_nothing() -> None:
    credit = [0.0, 0.0]
    for _ in range(50):
        takes = ask([1, 1], credit, 10)
        credit = charge([1, 1], credit, takes, [10, 0])
    assert credit[1] == 0.0
    # When it fills again it gets its share, not its past.
    assert ask([1, 1], credit, 10)[1] <= 10


@given(weights, st.integers(1, 100), st.data())
def test_credit_never_exceeds_one_claim(weights: list[int], room: int, data: st.DataObject) -> None:
    takes = ask(weights, [0.0] * len(weights), room)
    got = [data.draw(st.integers(0, room)) for _ in takes]
    assert all(-room <= credit <= room for credit in charge(weights, [0.0] * len(weights), takes, got))
