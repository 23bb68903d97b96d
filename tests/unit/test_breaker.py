"""The circuit breaker's rule: opens on a run of failures, probes, closes."""

import random

import pytest

from treadle.model.errors import InvalidDuration, InvalidOption
from treadle.policy.breaker import Breaker, Circuit, Seen, judge

S = 1_000_000
RULE = Breaker(3, open_for=10, longest=35)


def told(circuit, run, *attempts):
    for claimed, well in attempts:
        circuit, run = judge(RULE, circuit, run, Seen(claimed, claimed + S, well))
    return circuit, run


def test_it_opens_with_the_last_of_a_run_of_failures():
    assert told(Circuit(), 0, (1, False), (2, False)) == (Circuit(), 2)
    assert told(Circuit(), 2, (3, False)) == (Circuit(3 + S + 10 * S, 1), 0)


def test_a_success_between_ends_the_run():
    assert told(Circuit(), 0, (1, False), (2, False), (3, True), (4, False), (5, False)) == (Circuit(), 2)


@pytest.mark.parametrize("well", [True, False])
def test_what_started_before_it_opened_says_nothing(well):
    circuit = Circuit(100 * S, 1)
    assert told(circuit, 0, (99 * S, well)) == (circuit, 0)


def test_a_probe_that_succeeds_closes_it():
    assert told(Circuit(100 * S, 2), 0, (100 * S, True)) == (Circuit(), 0)


def test_a_probe_that_fails_opens_it_for_twice_as_long_up_to_the_longest():
    circuit, lengths = Circuit(100 * S, 1), []
    for _ in range(4):
        probe = circuit.until
        circuit, _ = told(circuit, 0, (probe, False))
        lengths.append((circuit.until - probe - S) / S)
    assert lengths == [20, 35, 35, 35]
    assert circuit.openings == 5


def test_openings_without_end_stay_bounded():
    assert judge(RULE, Circuit(0, 10_000), 0, Seen(0, 0, False))[0].until == 35 * S


def test_it_opens_only_after_failures_without_a_success_between():
    seed = random.randrange(10**9)
    print(f"seed {seed}")
    draw = random.Random(seed)
    circuit, run, row = Circuit(), 0, 0
    for moment in range(0, 2000 * S, S):
        well = draw.random() < 0.6
        closed = circuit.until is None
        row = 0 if well else row + 1
        circuit, run = judge(RULE, circuit, run, Seen(moment, moment, well))
        if closed:
            assert (circuit.until is not None) == (row >= 3)
        if circuit.until is None or not closed:
            row = run


@pytest.mark.parametrize("words", [{"failures": 0}, {"failures": True}, {"probes": 0}, {"open_for": 0}])
def test_a_breaker_that_cannot_work_is_refused(words):
    with pytest.raises(InvalidOption):
        Breaker(**words)


def test_its_durations_are_durations():
    with pytest.raises(InvalidDuration):
        Breaker(open_for="soon")
    assert Breaker(open_for="1h").longest == 3600
